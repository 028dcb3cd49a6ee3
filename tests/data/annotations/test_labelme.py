import base64
import io

import numpy as np
import pytest
from outlines import filled, make_picture, settings, write_json
from PIL import Image

from kseg.data.annotations.labelme import LabelmeSource
from kseg.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path):
    make_picture(tmp_path / "images" / "a.jpg")
    return tmp_path


def shape(points, kind="polygon", label="person", **more):
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, "group_id": None} | more


def page(*shapes, **more):
    return {"version": "5.4.1", "imagePath": "..\\a.jpg", "imageData": None, "shapes": shapes} | more


def opened(root, content, **given):
    write_json(root / "images" / "a.json", content)
    return LabelmeSource(settings(root, **given))


def mask_of(root, *shapes, **given):
    return opened(root, page(*shapes, imageHeight=6, imageWidth=6), **given).load(0).mask


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


SQUARE = [[1, 1], [4, 1], [4, 4], [1, 4]]


def test_later_shapes_lie_above_earlier_ones(root):
    shapes = [shape(SQUARE), shape([[3, 3], [6, 6]], "rectangle", "hole")]
    mapping = {"mask_values": {"hole": "background"}}
    np.testing.assert_array_equal(mask_of(root, *shapes, **mapping), filled((1, 1, 4, 4, 1), (3, 3, 6, 6, 0)))
    np.testing.assert_array_equal(mask_of(root, *shapes[::-1], **mapping), filled((1, 1, 4, 4, 1)))
    assert not mask_of(root).any()


def test_each_kind_by_hand(root):
    expected = filled((1, 1, 4, 4, 1))
    del (untyped := shape(SQUARE))["shape_type"]
    for one in (
        untyped,
        shape(SQUARE, "oriented_rectangle"),
        shape([[4, 1], [1, 4]], "rectangle"),
        shape([[1, 1], [3, 3]], "mask", mask=png(np.full((3, 3), True))),
        shape([[0.6, 0.6], [3.4, 3.4]], "mask", mask=png(np.full((3, 3), 1, np.uint8))),
        # centres at most 1.5 from the middle of pixel (2, 2): all its neighbours, for the diagonal is 1.414
        shape([[2.5, 2.5], [4, 2.5]], "circle"),
    ):
        np.testing.assert_array_equal(mask_of(root, one), expected)
    mask = shape([[4, 0], [5, 1]], "mask", mask=png(np.array([[True, False], [False, True]])))
    np.testing.assert_array_equal(mask_of(root, mask), filled((0, 4, 1, 5, 1), (1, 5, 2, 6, 1)))


def test_points_are_passed_over_and_lines_are_of_no_class(root):
    marks = [shape([[1, 1]], "point", "nose"), shape([[1, 1], [2, 2]], "points", "eyes")]
    np.testing.assert_array_equal(mask_of(root, shape(SQUARE), *marks), filled((1, 1, 4, 4, 1)))
    line = shape([[1, 1], [2, 2]], "linestrip")
    with pytest.raises(DataError, match=r"a\.json: a\.jpg: shape 2, a linestrip of person: it has no area"):
        mask_of(root, shape(SQUARE), line)
    for value in ("ignore", "background"):
        found = mask_of(root, shape(SQUARE), line | {"label": "path"}, mask_values={"path": value})
        np.testing.assert_array_equal(found, filled((1, 1, 4, 4, 1)))


def test_files_may_lie_in_a_folder_of_their_own(root):
    write_json(root / "json" / "a.json", page(shape(SQUARE)))
    source = LabelmeSource(settings(root, annotations="json"))
    assert source.names == [f"{root.name}/a"]
    np.testing.assert_array_equal(source.load(0).mask, filled((1, 1, 4, 4, 1)))


def test_the_mask_is_turned_with_the_picture_whose_stored_size_is_stated(tmp_path):
    make_picture(tmp_path / "images" / "a.jpg", 6, 8, orientation=8)
    stored = filled((1, 1, 4, 4, 1), size=(6, 8))
    found = opened(tmp_path, page(shape(SQUARE), imageHeight=6, imageWidth=8)).load(0).mask
    np.testing.assert_array_equal(found, stored.T[::-1])  # a quarter turn to the left
    found = opened(tmp_path, page(shape(SQUARE), imageHeight=8, imageWidth=6)).load(0).mask
    np.testing.assert_array_equal(found, filled((1, 1, 4, 4, 1), size=(8, 6)))
    with pytest.raises(DataError, match=r"a\.json: states 8 x 8 .* which is 6 x 8"):
        opened(tmp_path, page(shape(SQUARE), imageHeight=8, imageWidth=8)).load(0)


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (shape([[1, 1], [2, 2]]), "a polygon of person: an outline of 2 points"),
        (shape(None), "no pairs of numbers"),
        (shape([[1, 1], [2, 2], [float("nan"), 3]]), "not finite"),
        (shape([[1, 1], [2, 2], [99, 3]]), r"\(99, 3\), far outside"),
        (shape([[1, 1]], "rectangle"), "1 points, not two"),
        (shape([[1, 1], [1, 1]], "circle"), "radii 0 and 0"),
        (shape(SQUARE, "star"), "a star of person: it has no area that is known here"),
        (shape(SQUARE, ["x"]), "it has no area that is known here"),
        (shape([[1, 1], [3, 3]], "mask"), "no PNG in base64"),
        (shape([[1, 1], [3, 3]], "mask", mask="####"), "no PNG in base64"),
        (shape([[1, 1], [3, 3]], "mask", mask=png(np.full((3, 3), True))[:60]), "no PNG in base64"),
        (shape([[1, 1], [3, 3]], "mask", mask=png(np.full((2, 3), True))), "not of 3 x 3 pixels"),
        (shape([[1, 1], [1e300, 3]], "mask", mask="x"), "is it one of another picture"),
        (shape([[3, 3], [1, 1]], "mask", mask="x"), "is it one of another picture"),
    ],
)
def test_shapes_that_cannot_be_drawn_are_named_when_loaded(root, one, message):
    source = opened(root, page(one))
    with pytest.raises(DataError, match=rf"a\.json: a\.jpg: shape 1, .*({message})"):
        source.load(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no sound JSON"),
        ("[" * 100_000, "brackets in brackets"),
        ({"images": []}, "has no list shapes"),
        ([], "has no list shapes"),
        (page(1), "shape 1 has no label"),
        (page(shape(SQUARE), {"points": []}), "shape 2 has no label"),
    ],
)
def test_files_that_are_not_labelmes_are_errors_or_their_pictures_left_out(root, content, message):
    make_picture(root / "images" / "b.jpg")
    write_json(root / "images" / "b.json", page(shape(SQUARE)))
    with pytest.raises(DataError, match=rf"a\.json: .*{message}"):
        opened(root, content)
    source = opened(root, content, on_bad_sample="skip")
    assert source.names == [f"{root.name}/b"]
    assert message in source.skipped[f"{root.name}/a"]


def test_missing_files_and_unknown_labels_are_errors(root):
    with pytest.raises(DataError, match=r"a\.jpg: has no .*a\.json; save one"):
        LabelmeSource(settings(root))
    with pytest.raises(DataError, match=r"unknown labels Person \(2\) \(did you mean person\?\)"):
        opened(root, page(shape(SQUARE, label="Person"), shape(SQUARE, label="Person")))
    with pytest.raises(ConfigError, match=r"\"persn\" is no label .*did you mean person"):
        opened(root, page(shape(SQUARE)), mask_values={"persn": "person"})
    opened(root, page(shape(SQUARE)), mask_values={"bicycle": "background"})
