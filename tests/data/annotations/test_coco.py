import numpy as np
import pytest
from outlines import ORIENTATION, filled, make_picture, settings, write_json
from PIL import Image, ImageOps
from pycocotools import mask as pycocotools

from kseg.data.annotations.coco import CocoSource
from kseg.errors import ConfigError, DataError

CATEGORIES = [{"id": 7, "name": "person"}, {"id": 9, "name": "tie"}]
BACKGROUND = {"tie": "background"}


def box(left, top, right, bottom):
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(segmentation, category=7, image=1, **more):
    return {"id": 3, "image_id": image, "category_id": category, "segmentation": segmentation} | more


def listing(*annotations, images=None, **more):
    images = images or [{"id": 1, "file_name": "a.png", "height": 6, "width": 6}]
    return {"images": images, "categories": CATEGORIES, "annotations": annotations} | more


def opened(root, content, **given):
    write_json(root / "instances.json", content)
    given = {"mask_values": BACKGROUND} | given
    return CocoSource(settings(root, annotations="instances.json", **given))


@pytest.fixture
def root(tmp_path):
    make_picture(tmp_path / "images" / "a.png")
    return tmp_path


def mask_of(root, *annotations, **given):
    return opened(root, listing(*annotations), **given).load(0).mask


def test_pictures_are_listed_by_name_and_one_without_annotations_is_background(root):
    make_picture(root / "images" / "sub" / "b.png", 8, 6)
    images = [{"id": "x", "file_name": "sub/b.png", "height": 8, "width": 6}, {"id": 1, "file_name": "a.png"}]
    source = opened(root, listing(annotation(box(1, 2, 4, 5)), images=images))
    assert source.names == [f"{root.name}/a", f"{root.name}/sub/b"]
    assert (source.split, source.sound, source.skipped) == (None, False, {})
    np.testing.assert_array_equal(source.load(0).mask, filled((2, 1, 5, 4, 1)))
    picture, mask, _ = source.load(1)
    assert picture.shape == (8, 6, 3)
    np.testing.assert_array_equal(mask, np.zeros((8, 6)))
    assert mask.dtype == np.uint8


def test_the_smaller_lies_above_the_larger_and_a_crowd_below_all(root):
    annotations = [
        annotation(box(2, 2, 4, 4), category=9),
        annotation(box(1, 1, 5, 5)),
        annotation({"size": [6, 6], "counts": [0, 12, 24]}, iscrowd=1),  # smaller than the person
    ]
    expected = filled((0, 0, 6, 2, 255), (1, 1, 5, 5, 1), (2, 2, 4, 4, 0))
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        np.testing.assert_array_equal(mask_of(root, *(annotations[index] for index in order)), expected)
    found = mask_of(root, *annotations, mask_values={"tie": "person", "crowd": "background"})
    np.testing.assert_array_equal(found, filled((1, 1, 5, 5, 1)))


def test_of_the_same_size_the_later_lies_above(root):
    classes = {"classes": ("background", "person", "tie"), "mask_values": {}}
    found = mask_of(root, annotation(box(0, 0, 3, 3)), annotation(box(1, 1, 4, 4), category=9), **classes)
    np.testing.assert_array_equal(found, filled((0, 0, 3, 3, 1), (1, 1, 4, 4, 2)))


def test_the_parts_of_one_annotation_are_one_region(root):
    parts = annotation(box(0, 0, 3, 3) + box(2, 2, 5, 5))
    hole = annotation(box(1, 1, 4, 4), category=9)  # of 9 pixels; the parts have 17
    np.testing.assert_array_equal(mask_of(root, parts, hole), filled((0, 0, 3, 3, 1), (2, 2, 5, 5, 1), (1, 1, 4, 4, 0)))


@pytest.mark.parametrize("compressed", [False, True])
def test_runs_go_column_by_column(root, compressed):
    # 7 outside: the first column and a pixel; 3 inside: rows 1 to 3 of the second; the rest is outside.
    runs = {"size": [6, 6], "counts": [7, 3, 26]}
    if compressed:
        runs = pycocotools.frPyObjects(runs, 6, 6)
        runs["counts"] = runs["counts"].decode()
    np.testing.assert_array_equal(mask_of(root, annotation(runs)), filled((1, 1, 4, 2, 1)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_with_the_picture_whose_stored_size_is_stated(tmp_path, orientation):
    make_picture(tmp_path / "images" / "a.png", 6, 8, orientation)
    content = listing(annotation(box(1, 0, 4, 2)), images=[{"id": 1, "file_name": "a.png", "height": 6, "width": 8}])
    picture, mask, _ = opened(tmp_path, content).load(0)
    stored = Image.fromarray(filled((0, 1, 2, 4, 1), size=(6, 8)))
    if orientation >= 5:  # else the sizes are the same, and people have drawn on the upright picture
        stored.getexif()[ORIENTATION] = orientation
        stored = ImageOps.exif_transpose(stored)
    np.testing.assert_array_equal(mask, np.asarray(stored))
    assert mask.shape == picture.shape[:2]


def test_outlines_of_the_upright_picture_stay(tmp_path):
    make_picture(tmp_path / "images" / "a.png", 6, 8, 6)
    for size in ({"height": 8, "width": 6}, {}):
        content = listing(annotation(box(1, 0, 4, 2)), images=[{"id": 1, "file_name": "a.png", **size}])
        found = opened(tmp_path, content).load(0).mask
        np.testing.assert_array_equal(found, filled((0, 1, 2, 4, 1), size=(8, 6)))


@pytest.mark.parametrize("stated", [(6, 8), (12, 12), ("6", "6"), (float("nan"), 6), ([6], {})])
def test_a_size_that_fits_neither_is_an_error(root, stated):
    images = [{"id": 1, "file_name": "a.png", "height": stated[0], "width": stated[1]}]
    source = opened(root, listing(annotation(box(1, 0, 4, 2)), images=images))
    with pytest.raises(DataError, match=r"instances\.json: states .* x .* for .*a\.png, which is 6 x 6;"):
        source.load(0)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "has no segmentation"),
        ([], "has no segmentation"),
        ("x", "has no segmentation"),
        ({"counts": [36]}, "has no segmentation"),
        ([[1, 1, 4, 4]], "outline of 2 points"),
        ([[1, 1, 4, 4, 5]], "no pairs of numbers"),
        ([[1, 1, 4, 4, "x", 5]], "no pairs of numbers"),
        ([1, 1, 4, 4, 4, 5], "no pairs of numbers"),
        ([[1, 1, 4, 4, 1e300, 5]], "far outside the picture of 6 x 6"),
        ([[1, 1, 4, 4, 10**400, 5]], "no pairs of numbers"),
        ([[1, 1, 4, 4, float("nan"), 5]], "not finite"),
        ({"size": [8, 6], "counts": [48]}, r"\[8, 6\], not \[6, 6\]"),
        ({"size": [6, 6], "counts": [10**15]}, "fill 1000000000000000 pixels"),
        ({"size": [6, 6], "counts": "1"}, "fill 1 pixels"),
        ({"size": [6, 6], "counts": "1o\xff"}, "none of COCO's"),
        ({"size": [6, 6], "counts": {}}, "no whole numbers"),
    ],
)
def test_regions_that_cannot_be_drawn_name_the_annotation_when_loaded(root, segmentation, message):
    source = opened(root, listing(annotation(segmentation)))
    with pytest.raises(DataError, match=rf"instances\.json: a\.png: annotation 3: .*{message}"):
        source.load(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no sound JSON"),
        ("[" * 100_000, "brackets in brackets"),
        ("[1]", "has no list images"),
        ('{"images": [], "categories": {}}', "has no list categories"),
        ("9" * 5000, "no sound JSON"),
        (listing(images=[{"id": 1}]), r"images\[0\] has no id or no file_name"),
        (listing(images=[{"id": [], "file_name": "a.png"}]), r"images\[0\] has no id"),
        (listing(images=[{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]), "have the id 1;"),
        (listing(images=[{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.jpg"}]), "have the name a,"),
        (listing(images=[{"id": 1, "file_name": "../../x.png"}]), r"x\.png' leads out of"),
        (listing(images=[{"id": 1, "file_name": "/etc/x.png"}]), "leads out of"),
        (listing(images=[{"id": 1, "file_name": "..\\x.png"}]), "leads out of"),
        (listing(images=[{"id": 1, "file_name": "C:\\x.png"}]), "leads out of"),
        (listing(images=[{"id": 1, "file_name": 5}]), "leads out of"),
        (listing(images=[{"id": 1, "file_name": ""}]), "leads out of"),
        (listing(categories=[{"id": 7}]), r"categories\[0\] has no id or no name"),
        (listing(categories=[*CATEGORIES, {"id": 9, "name": "x"}]), "two categories have the id 9"),
        (listing({"id": 3, "image_id": 1, "caption": "x"}), r"annotations\[0\] has no image_id or no category_id"),
        (listing(annotation([], category=8)), "annotation 3 has the category_id 8, which is not listed"),
        (listing(annotation([], image=2)), "annotation 3 has the image_id 2, which is not listed"),
    ],
)
def test_a_file_that_is_not_coco_is_refused_when_opened(root, content, message):
    with pytest.raises(DataError, match=rf"instances\.json: .*{message}"):
        opened(root, content)


def test_bytes_that_are_no_text_and_missing_files_are_named(root):
    with pytest.raises(DataError, match=r"instances\.json: cannot be read: No such file"):
        CocoSource(settings(root, annotations="instances.json"))
    (root / "instances.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"instances\.json: no sound JSON"):
        CocoSource(settings(root, annotations="instances.json"))
    with pytest.raises(ConfigError, match=r"data\.annotations: .* coco .*; there are instances\.json"):
        CocoSource(settings(root))
    with pytest.raises(ConfigError, match="--data DIR"):
        CocoSource(settings(root).model_copy(update={"roots": ()}))


def test_missing_pictures_are_an_error_or_left_out(root):
    images = [{"id": n, "file_name": name} for n, name in enumerate(("a.png", "b.png", "x" * 300 + ".png", "n\0.png"))]
    with pytest.raises(DataError, match=r"b\.png: no such picture, and .*\(3 such pictures\); .*on_bad_sample"):
        opened(root, listing(images=images))
    source = opened(root, listing(images=images), on_bad_sample="skip")
    assert source.names == [f"{root.name}/a"]
    assert "no such picture" in source.skipped[f"{root.name}/b"]


def test_unknown_labels_are_counted_over_all_roots(root):
    other = root / "other"
    make_picture(other / "images" / "a.png")
    for folder in (root, other):
        write_json(folder / "instances.json", listing(annotation(box(0, 0, 2, 2), category=9)))
    data = settings(root, annotations="instances.json").model_copy(update={"roots": (root, other)})
    with pytest.raises(DataError, match=r"unknown labels tie \(2\); known are background, person; .*\"tie\" = \"backg"):
        CocoSource(data)
    source = CocoSource(data.model_copy(update={"mask_values": {"other": "background"}}))
    assert source.names == [f"{root.name}/a", "other/a"]
    with pytest.raises(ConfigError, match=r"\"Tie\" is no label of .*did you mean tie"):
        CocoSource(data.model_copy(update={"mask_values": {"other": 0, "Tie": 0}}))


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own, with NumPy 2
def test_the_mask_is_that_of_pycocotools_for_random_polygons(root):
    dice = np.random.default_rng(1)
    rings = [(dice.random(10) * 6).round(2).tolist() for _ in range(30)]
    for ring in rings:
        made = pycocotools.merge(pycocotools.frPyObjects([ring], 6, 6))
        np.testing.assert_array_equal(mask_of(root, annotation([ring])), pycocotools.decode(made))
