import numpy as np
import pytest
from outlines import filled, make_picture, settings, write_json
from PIL import Image

from kseg.data.annotations.names import LabelNames
from kseg.data.annotations.panoptic import PanopticSource, Segment, panoptic_values
from kseg.errors import ConfigError, DataError

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 200, "name": "sky"}]
PERSON, CROWD, SKY = 26, 300, 70000
"""Ids that take one, two and three of the colours: 26; 44 + 1 * 256; 112 + 17 * 256 + 1 * 65536."""


def ids():
    return filled((0, 0, 6, 6, 1), (1, 1, 5, 3, 2), (3, 3, 6, 6, 3), (0, 5, 1, 6, 4))


def stored(labels=(0, SKY, PERSON, CROWD, 0)):
    return np.array(labels)[ids()]


def as_colours(numbers):
    return np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)


SEGMENTS = [Segment(PERSON, "person"), Segment(CROWD, "person", crowd=True), Segment(SKY, "sky")]
EXPECTED = filled((1, 1, 5, 3, 1), (3, 3, 6, 6, 255), (0, 5, 1, 6, 255))


@pytest.mark.parametrize("panoptic", [stored(), as_colours(stored())])
def test_segments_become_classes_and_crowds_and_void_are_ignored(panoptic):
    found = panoptic_values(panoptic, SEGMENTS, LabelNames(["person"], {"sky": "background"}))
    np.testing.assert_array_equal(found, EXPECTED)
    assert found.dtype == np.uint8


def test_crowds_and_void_are_what_the_settings_say():
    names = LabelNames(["sky", "person"], {"crowd": "person", "void": "sky"})
    found = panoptic_values(stored(), SEGMENTS, names)
    np.testing.assert_array_equal(found, filled((1, 1, 5, 3, 1), (3, 3, 6, 6, 1)))


def test_pixels_of_no_segment_are_an_error_and_segments_of_no_pixel_are_none():
    names = LabelNames(["person"], {"sky": "background"})
    panoptic_values(stored(), [*SEGMENTS, Segment(5, "sky")], names)
    with pytest.raises(DataError, match=r"ids of no segment: 300 \(9 pixels\)"):
        panoptic_values(stored(), [SEGMENTS[0], SEGMENTS[2]], names)
    with pytest.raises(DataError, match="2 segments with the id 26"):
        panoptic_values(stored(), [*SEGMENTS, SEGMENTS[0]], names)
    with pytest.raises(DataError, match="1 segments with the id 0"):
        panoptic_values(stored(), [*SEGMENTS, Segment(0, "sky")], names)
    with pytest.raises(DataError, match="unknown labels dog"):
        panoptic_values(stored(), [*SEGMENTS, Segment(5, "dog")], names)
    panoptic_values(stored(), [*SEGMENTS, Segment(10**30, "sky")], names)


@pytest.fixture
def root(tmp_path):
    make_picture(tmp_path / "images" / "a.jpg")
    write_png(tmp_path / "masks" / "a.png", stored())
    return tmp_path


def write_png(path, numbers):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(as_colours(numbers)).save(path)


def segment(number, category, **more):
    return {"id": number, "category_id": category, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1]} | more


SEGMENTS_INFO = [segment(PERSON, 1), segment(CROWD, 1, iscrowd=1), segment(SKY, 200)]


def listing(**changes):
    return {
        "images": [{"id": 5, "file_name": "a.jpg", "height": 6, "width": 6}],
        "categories": CATEGORIES,
        "annotations": [{"image_id": 5, "file_name": "a.png", "segments_info": SEGMENTS_INFO}],
    } | changes


def opened(root, content, **given):
    write_json(root / "panoptic.json", content)
    return PanopticSource(settings(root, annotations="panoptic.json", mask_values={"sky": "background"}, **given))


def test_a_folder_of_png_files_is_read(root):
    source = opened(root, listing())
    assert source.names == [f"{root.name}/a"]
    np.testing.assert_array_equal(source.load(0).mask, EXPECTED)


def test_the_png_is_turned_with_a_picture_whose_stored_size_is_stated(tmp_path):
    make_picture(tmp_path / "images" / "a.jpg", 6, 8, orientation=6)
    write_png(tmp_path / "masks" / "a.png", np.pad(stored(), ((0, 0), (0, 2))))
    images = [{"id": 5, "file_name": "a.jpg", "height": 6, "width": 8}]
    picture, mask, _ = opened(tmp_path, listing(images=images)).load(0)
    assert picture.shape == (8, 6, 3)
    # orientation 6: a quarter turn clockwise; the last row becomes the first column
    np.testing.assert_array_equal(mask[:, 0], [*EXPECTED[5], 255, 255])
    np.testing.assert_array_equal(mask[:, 5], [*EXPECTED[0], 255, 255])


def test_a_png_of_another_size_and_a_broken_one_are_errors(root):
    source = opened(root, listing())
    write_png(root / "masks" / "a.png", stored()[:4])
    with pytest.raises(DataError, match=r"panoptic\.json: a\.jpg: .*a\.png is 6 x 4 \(width x height\), .* 6 x 6"):
        source.load(0)
    (root / "masks" / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.png: not a picture"):
        source.load(0)
    write_png(root / "masks" / "a.png", stored() + 1)
    with pytest.raises(DataError, match=r"a\.png: ids of no segment: 70001 \(18 pixels\), 301"):
        source.load(0)


def test_missing_annotations_and_png_files_are_errors_or_left_out(root):
    images = [{"id": 5, "file_name": "a.jpg"}, {"id": 6, "file_name": "b.jpg"}]
    make_picture(root / "images" / "b.jpg")
    with pytest.raises(DataError, match=r"panoptic\.json: has no segments for .*b\.jpg"):
        opened(root, listing(images=images))
    assert opened(root, listing(images=images), on_bad_sample="skip").names == [f"{root.name}/a"]
    (root / "masks" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png: no such file, .* data\.masks"):
        opened(root, listing())


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ([{"image_id": 5, "file_name": "a.png"}], r"annotations\[0\] has no image_id, file_name or segments_info"),
        ([{"image_id": 5, "file_name": "../a.png", "segments_info": []}], "leads out of"),
        ([{"image_id": 6, "file_name": "a.png", "segments_info": []}], "image_id 6, which is not listed"),
        ([{"image_id": 5, "file_name": "a.png", "segments_info": []}] * 2, "two annotations have the image_id 5"),
        ([{"image_id": 5, "file_name": "a.png", "segments_info": [{"id": 2}]}], r"\[0\]: a segment has no id"),
        ([{"image_id": 5, "file_name": "a.png", "segments_info": [segment("x", 1)]}], r"\[0\]: a segment has no id"),
        ([{"image_id": 5, "file_name": "a.png", "segments_info": [segment(3, 9)]}], "segment 3 has the category_id 9"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_when_opened(root, annotations, message):
    with pytest.raises(DataError, match=rf"panoptic\.json: .*{message}"):
        opened(root, listing(annotations=annotations))


def test_the_annotations_must_be_named(root):
    with pytest.raises(ConfigError, match=r"data\.annotations: data\.source = panoptic needs"):
        PanopticSource(settings(root))
