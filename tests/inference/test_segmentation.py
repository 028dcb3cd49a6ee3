import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from kseg.errors import DataError
from kseg.inference import segmentation
from kseg.inference.cleaning import Cleaning
from kseg.inference.segmentation import Segmentation
from kseg.palette import OKABE_ITO

MASKS = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 2))
CLASSES = ("background", "cat", "dog")


def of(mask, probabilities=None, picture=None, classes=CLASSES):
    """A segmentation with what is not given made up."""
    if probabilities is None:
        probabilities = np.eye(len(classes), dtype=np.float32)[mask]
    picture = np.zeros((*mask.shape, 3), np.uint8) if picture is None else picture
    return Segmentation(picture, mask, probabilities, classes, several=probabilities.shape[-1] > 1)


def person(probabilities, picture=None):
    """One class against everything else, from float32 (H, W)."""
    probabilities = np.asarray(probabilities, np.float32)
    return of((probabilities > 0.5).astype(np.uint8), probabilities[..., None], picture, ("background", "person"))


def noise(*shape):
    return np.random.default_rng(shape[0]).integers(0, 256, shape, np.uint8)


def within(ring, row, column):
    """Whether the centre of a pixel is inside a ring: edges crossed on the way to the right (Shimrat 1962)."""
    x, y, crossed = column + 0.5, row + 0.5, 0
    for (x0, y0), (x1, y1) in zip(ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True):
        if (y0 > y) != (y1 > y):
            crossed += x < x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return crossed % 2 == 1


def area(ring):
    """Gauss's shoelace formula."""
    x, y = ring.T.astype(float)
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


@given(mask=MASKS)
@settings(deadline=None, max_examples=200)
def test_polygons_drawn_again_are_the_mask(mask):
    redrawn = np.zeros_like(mask)
    for name, polygons in of(mask).polygons(tolerance=0).items():
        for polygon in polygons:
            assert polygon.outer.dtype == np.int32
            inside = np.array(
                [
                    within(polygon.outer, *place) and not any(within(hole, *place) for hole in polygon.holes)
                    for place in np.ndindex(*mask.shape)
                ]
            ).reshape(mask.shape)
            assert (redrawn[inside] == 0).all()
            redrawn[inside] = CLASSES.index(name)
            assert area(polygon.outer) - sum(map(area, polygon.holes)) == inside.sum()
            for ring in (polygon.outer, *polygon.holes):  # axis by axis, and at every point a turn
                steps = np.sign(np.roll(ring, -1, axis=0) - ring)
                assert (np.abs(steps).sum(axis=1) == 1).all()
                assert (steps != np.roll(steps, 1, axis=0)).any(axis=1).all()
    np.testing.assert_array_equal(redrawn, mask)


def test_a_frame_with_an_island_by_hand():
    mask = np.zeros((7, 8), np.uint8)
    mask[1:7, 1:7] = 2
    mask[2:6, 2:6] = 0
    mask[3, 4] = 2
    found = of(mask).polygons(tolerance=0)
    assert found["cat"] == []
    frame, island = sorted(found["dog"], key=lambda polygon: -area(polygon.outer))
    assert sorted(map(tuple, frame.outer.tolist())) == [(1, 1), (1, 7), (7, 1), (7, 7)]
    assert [sorted(map(tuple, hole.tolist())) for hole in frame.holes] == [[(2, 2), (2, 6), (6, 2), (6, 6)]]
    assert sorted(map(tuple, island.outer.tolist())) == [(4, 3), (4, 4), (5, 3), (5, 4)]
    assert island.holes == ()


def disc(radius=40):
    rows, columns = np.ogrid[:100, :120]
    return ((rows - 50) ** 2 + (columns - 60) ** 2 < radius**2).astype(np.uint8)


@pytest.mark.parametrize("tolerance", [0.8, 2.0, 5.0])
def test_tolerance_saves_points_and_stays_near(tolerance):
    segmented = of(disc())
    (exact,), (near,) = segmented.polygons(tolerance=0)["cat"], segmented.polygons(tolerance)["cat"]
    assert 3 <= len(near.outer) < len(exact.outer) / 2
    starts, ends = near.outer.astype(float), np.roll(near.outer, -1, axis=0).astype(float)
    for point in exact.outer:
        along = np.clip(((point - starts) * (ends - starts)).sum(1) / ((ends - starts) ** 2).sum(1), 0, 1)
        assert np.linalg.norm(starts + along[:, None] * (ends - starts) - point, axis=1).min() <= tolerance + 1e-6


def test_what_is_smaller_than_the_tolerance_is_left_out():
    mask = disc()
    mask[50, 60] = 0
    mask[0, 0] = 1
    (polygon,) = of(mask).polygons(tolerance=3)["cat"]
    assert polygon.holes == ()
    exact = of(mask).polygons(tolerance=0)["cat"]
    assert sorted((area(p.outer), len(p.holes)) for p in exact) == [(1, 0), (disc().sum(), 1)]


def decoded(code):
    """COCO's uncompressed run-length code, pixel by pixel down the columns."""
    (height, width), mask, position, value = code["size"], {}, 0, 0
    for length in code["counts"]:
        for _ in range(length):
            mask[position % height, position // height] = value
            position += 1
        value = 1 - value
    assert position == height * width
    return np.array([mask[place] for place in np.ndindex(height, width)]).reshape(height, width)


@given(mask=MASKS, seed=st.integers(0, 9))
@settings(deadline=None, max_examples=100)
def test_coco_gives_the_mask_back_object_by_object(mask, seed):
    probabilities = np.random.default_rng(seed).dirichlet([1, 1, 1], mask.shape).astype(np.float32)
    coco = json.loads(json.dumps(of(mask, probabilities).to_coco()))
    again = np.zeros_like(mask)
    for found in coco["annotations"]:
        assert all(count > 0 for count in found["segmentation"]["counts"][1:])
        inside = decoded(found["segmentation"]) == 1
        rows, columns = np.nonzero(inside)
        left, top, width, height = found["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
        assert found["area"] == inside.sum()
        score = sum(map(float, probabilities[inside, found["category_id"]])) / inside.sum()
        assert found["score"] == pytest.approx(score, abs=1e-6)
        assert (again[inside] == 0).all()
        again[inside] = found["category_id"]
    np.testing.assert_array_equal(again, mask)
    outlines = of(mask).polygons(tolerance=0)
    for class_id in (1, 2):  # connected in the same way
        objects = [found for found in coco["annotations"] if found["category_id"] == class_id]
        assert len(objects) == len(outlines[CLASSES[class_id]])


def test_coco_by_hand():
    """Down the columns: 1 outside, 2 inside (column 0), 0 + 1 outside, ...; the second object is one pixel."""
    probabilities = [[0.2, 0.1, 0.9], [0.6, 0.7, 0.1], [0.8, 0.2, 0.3]]
    coco = person(probabilities).to_coco(image_id=7, file_name="a.jpg", start_id=30)
    assert coco["images"] == [{"id": 7, "width": 3, "height": 3, "file_name": "a.jpg"}]
    assert coco["categories"] == [{"id": 1, "name": "person"}]
    scores = [found.pop("score") for found in coco["annotations"]]
    np.testing.assert_allclose(sorted(scores), [(0.6 + 0.7 + 0.8 + 0.9) / 4], rtol=1e-6)
    (found,) = coco["annotations"]  # the corner connects
    assert found == {
        "id": 30,
        "image_id": 7,
        "category_id": 1,
        "segmentation": {"size": [3, 3], "counts": [1, 2, 1, 1, 1, 1, 2]},
        "area": 4,
        "bbox": [0, 0, 3, 3],
        "iscrowd": 0,
    }
    assert "file_name" not in person(probabilities).to_coco()["images"][0]


def test_a_full_mask_begins_with_no_pixel_outside():
    (found,) = of(np.ones((2, 3), np.uint8)).to_coco()["annotations"]
    assert found["segmentation"]["counts"] == [0, 6]


def slow_alpha(probability):
    """Opaque from 0.9 up, transparent below 0.1, and in proportion between."""
    return round(255 * min(1.0, max(0.0, (float(probability) - 0.1) / 0.8)))


def test_a_cutout_has_a_soft_edge():
    probabilities = np.random.default_rng(1).uniform(0, 1, (9, 11)).astype(np.float32)
    probabilities[0, :5] = 0, 0.1, 0.5, 0.9, 1
    picture = noise(9, 11, 3)
    cut = person(probabilities, picture).cutout()
    assert cut.dtype == np.uint8
    np.testing.assert_array_equal(cut[..., :3], picture)
    expected = np.vectorize(slow_alpha)(probabilities)
    np.testing.assert_allclose(cut[..., 3].astype(int), expected, atol=1)  # 127.5 goes either way
    assert (cut[..., 3] == expected).mean() > 0.97
    assert cut[0, :5, 3].tolist() in ([0, 0, 127, 255, 255], [0, 0, 128, 255, 255])


def test_with_more_classes_all_but_the_background_is_cut_out():
    probabilities = np.random.default_rng(2).dirichlet([1, 1, 1], (6, 5)).astype(np.float32)
    cut = of(probabilities.argmax(axis=-1).astype(np.uint8), probabilities).cutout()
    expected = np.vectorize(slow_alpha)(probabilities[..., 1] + probabilities[..., 2])
    np.testing.assert_allclose(cut[..., 3].astype(int), expected, atol=1)


def slow_over(cut, behind):
    """Each level by itself: alpha of the cut-out, the rest of what is behind."""
    alpha = cut[..., 3:].astype(np.float64) / 255
    return alpha * cut[..., :3] + (1 - alpha) * behind


def test_a_colour_behind():
    segmented = person(np.random.default_rng(3).uniform(0, 1, (12, 10)), noise(12, 10, 3))
    expected = slow_over(segmented.cutout(), np.array([10, 200, 30]))
    np.testing.assert_allclose(segmented.on_background((10, 200, 30)).astype(float), expected, atol=0.51)
    np.testing.assert_array_equal(
        segmented.on_background(np.array([10, 200, 30])), segmented.on_background((10, 200, 30))
    )


@pytest.mark.parametrize(("shape", "rows", "columns"), [((20, 60), (0, 20), (15, 45)), ((60, 30), (20, 40), (0, 30))])
def test_a_picture_behind_covers_from_its_middle(shape, rows, columns):
    """The photo is 20 x 30: of a wide picture both sides go, of a high one top and bottom."""
    behind = noise(*shape, 3)
    segmented = person(np.zeros((20, 30)), noise(20, 30, 3))
    np.testing.assert_array_equal(segmented.on_background(behind), behind[slice(*rows), slice(*columns)])
    doubled = behind.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(segmented.on_background(doubled), behind[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 4)])
def test_any_size_of_picture_covers(shape):
    segmented = person(np.zeros((20, 30)))
    np.testing.assert_array_equal(segmented.on_background(np.full((*shape, 3), 77, np.uint8)), 77)


@pytest.mark.parametrize(
    "background",
    [
        "blurred",
        (1, 2),
        (0, 0, 256),
        (-1, 0, 0),
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 3)),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_what_is_no_background_is_refused(background):
    with pytest.raises(DataError, match="background"):
        person(np.zeros((4, 4))).on_background(background)


def test_the_blurred_background_has_nothing_of_the_person():
    """Red in front of blue stripes: not a trace of red outside, and of the stripes little is left.

    Twice as wide as what is blurred: a stripe's two columns become one.
    """
    picture = np.zeros((300, 1024, 3), np.uint8)
    picture[:, ::2, 2] = 255
    there = np.zeros((300, 1024), np.float32)
    there[60:240, 200:500] = 1
    there[60:240, 195:200] = 0.5  # half a person is half in front of it
    picture[there > 0] = 255, 0, 0
    behind = person(there, picture).on_background("blur").astype(int)
    np.testing.assert_array_equal(behind[there == 1], picture[there == 1])
    blur = behind[there == 0]
    assert blur[:, 0].max() <= 128  # only from where the person is half transparent
    assert blur[:, 2].min() > 60
    sharp = np.where(there > 0, 1, 0).astype(np.float32)
    blur = person(sharp, picture).on_background("blur")[there == 0]
    assert blur[:, 0].max() == 0
    np.testing.assert_allclose(blur[:, 2].astype(float), 127.5, atol=12)


def slow_blur(picture, weights, deviation):
    """Normalised convolution, every pixel with every pixel, mirrored at the edge as often as needed."""
    height, width = weights.shape
    reach = int(4 * deviation) + 1
    padding = ((reach, reach), (reach, reach))
    colours = np.pad(picture.astype(float) * weights[..., None], (*padding, (0, 0)), "reflect")
    weights = np.pad(weights.astype(float), padding, "reflect")
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * deviation**2))
    blurred = np.zeros((height, width, 3))
    for row, column in np.ndindex(height, width):
        there = slice(row, row + 2 * reach + 1), slice(column, column + 2 * reach + 1)
        blurred[row, column] = (kernel[..., None] * colours[there]).sum((0, 1)) / (kernel * weights[there]).sum()
    return blurred


def test_the_blur_is_the_normalised_convolution():
    picture = noise(60, 80, 3)
    probabilities = np.random.default_rng(4).uniform(0, 1, (60, 80))
    segmented = person(probabilities, picture)
    cut = segmented.cutout()
    behind = slow_blur(picture, 1 - cut[..., 3] / 255, segmentation.BLUR * 80)
    np.testing.assert_allclose(segmented.on_background("blur").astype(float), slow_over(cut, behind), atol=1)


def test_a_person_everywhere_stays_as_it_is():
    picture = noise(30, 40, 3)
    np.testing.assert_array_equal(person(np.ones((30, 40)), picture).on_background("blur"), picture)


def test_the_overlay_tints_every_class_but_the_background():
    mask = np.zeros((40, 60), np.uint8)
    mask[5:35, 5:25], mask[5:35, 30:50] = 1, 2
    picture = np.full((40, 60, 3), 100, np.uint8)
    tinted = of(mask, picture=picture).overlay(strength=0.25)
    for class_id, place in ((1, (20, 15)), (2, (20, 40))):
        expected = 0.75 * 100 + 0.25 * np.array(OKABE_ITO)[class_id - 1]
        np.testing.assert_allclose(tinted[place], expected, atol=1)
    assert tinted[20, 55].tolist() == [100, 100, 100]


@pytest.mark.parametrize("size", [(48, 64), (480, 640), (2400, 1600), (30, 400), (400, 30)])
def test_the_legend_fits_and_grows_with_the_photo(size):
    """Its colours and its white are where the photo was black, in the lower left corner and nowhere else."""
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 8, -(size[1] // 8) :] = 2
    segmented = of(mask)
    plain, shown = segmented.overlay(), segmented.overlay(legend=True)
    assert shown.shape == plain.shape
    rows, columns = np.nonzero((plain != shown).any(axis=-1))
    assert (rows.max(), columns.min()) == (size[0] - 1, 0)
    drawn = shown[rows, columns]
    dog, cat = np.array(OKABE_ITO)[1], np.array(OKABE_ITO)[0]
    assert (drawn == dog).all(axis=-1).sum() > 0.02 * len(rows)
    assert not (drawn == cat).all(axis=-1).any()  # there is none
    height = rows.max() + 1 - rows.min()
    if min(size) >= 400:
        assert height == pytest.approx(max(26, min(size) / 24), abs=2)
    np.testing.assert_array_equal(of(np.zeros(size, np.uint8)).overlay(legend=True), 0)


def test_a_long_legend_fits_a_low_photo():
    """Seven lines in 48 pixels: each class's colour is there, the first on top."""
    names = ("background", *"abcdefg")
    mask = np.zeros((48, 160), np.uint8)
    mask[0, -7:] = np.arange(1, 8)
    segmented = of(mask, np.zeros((48, 160, 8), np.float32), classes=names)
    legend = segmented.overlay(legend=True)[:, :80]
    tops = [np.nonzero((legend == colour).all(axis=-1))[0].min() for colour in OKABE_ITO]
    assert tops == sorted(set(tops))


@pytest.mark.parametrize("size", [(30, 40), (1500, 3000)])
def test_a_notebook_shows_the_overlay(size):
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2, size[1] // 2 :] = 1
    picture = np.full((*size, 3), (200, 100, 50), np.uint8)
    with Image.open(io.BytesIO(of(mask, picture=picture)._repr_png_())) as image:
        assert image.format == "PNG"
        assert image.size == ((40, 30) if size == (30, 40) else (1024, 512))
        shown = np.asarray(image)
    assert shown[2, 2].tolist() == [200, 100, 50]
    expected = 0.45 * np.array([200, 100, 50]) + 0.55 * np.array(OKABE_ITO)[0]
    np.testing.assert_allclose(shown[shown.shape[0] // 4, -shown.shape[1] // 4], expected, atol=1)


def test_coverage_and_how_it_presents_itself():
    mask = np.zeros((10, 20), np.uint8)
    mask[:5, :4] = 2
    mask[9, :10] = 255  # of no class
    assert of(mask, np.zeros((10, 20, 3), np.float32)).coverage == {"background": 0.85, "cat": 0.0, "dog": 0.1}
    assert repr(of(mask, np.zeros((10, 20, 3), np.float32))) == "Segmentation(20 x 10: background 85.0%, dog 10.0%)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"picture": np.zeros((4, 6, 3), np.uint8)}, "picture of shape"),
        ({"probabilities": np.zeros((4, 5, 2), np.float32)}, "probabilities of shape"),
        ({"probabilities": np.zeros((4, 5, 1), np.float32)}, "probabilities of shape"),
        ({"picture": np.zeros((4, 5, 3), np.float32)}, "picture of float32"),
        ({"mask": np.zeros((4, 5), np.int64)}, "mask of int64"),
        ({"probabilities": None, "several": False}, "3 classes, and only one probability"),
    ],
)
def test_arrays_that_do_not_belong_together(change, message):
    given = {
        "picture": np.zeros((4, 5, 3), np.uint8),
        "mask": np.zeros((4, 5), np.uint8),
        "probabilities": np.zeros((4, 5, 3), np.float32),
        "classes": CLASSES,
        "several": True,
    }
    Segmentation(**given)
    with pytest.raises(DataError, match=message):
        Segmentation(**(given | change))


def test_a_first_class_that_is_no_background_is_a_class_like_the_others():
    mask = np.zeros((6, 8), np.uint8)
    mask[:, 5:] = 1
    mask[0, 0] = 1
    found = of(mask, classes=("sky", "road"))
    assert [len(polygons) for polygons in found.polygons().values()] == [1, 1]
    assert [*found.polygons(tolerance=0)] == ["sky", "road"]
    coco = found.to_coco()
    assert coco["categories"] == [{"id": 0, "name": "sky"}, {"id": 1, "name": "road"}]
    assert sorted((found["category_id"], found["area"]) for found in coco["annotations"]) == [(0, 29), (1, 1), (1, 18)]
    for refused in (
        found.cutout,
        lambda: found.on_background("blur"),
        lambda: found.cleaned(Cleaning(largest=True)),
        lambda: found.cleaned(Cleaning(min_region=0.1)),
        lambda: found.cleaned(Cleaning(fill_holes=0.1)),
    ):
        with pytest.raises(DataError, match="where there is a background; class 0 of this network is sky"):
            refused()
    assert found.cleaned(Cleaning(smooth=1)).mask[0, 0] == 0


def test_two_classes_may_have_a_probability_each_or_one_together():
    mask = np.array([[0, 1]], np.uint8)
    picture = np.zeros((1, 2, 3), np.uint8)
    both, one = np.array([[[0.9, 0.1], [0.2, 0.8]]], np.float32), np.array([[[0.1], [0.8]]], np.float32)
    classes = ("background", "person")
    cut = Segmentation(picture, mask, both, classes, several=True).cutout()
    np.testing.assert_array_equal(cut, Segmentation(picture, mask, one, classes).cutout())
    for probabilities, several in ((both, False), (one, True)):
        with pytest.raises(DataError, match="probabilities of shape"):
            Segmentation(picture, mask, probabilities, classes, several=several)
