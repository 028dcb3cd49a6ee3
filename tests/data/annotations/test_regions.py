import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outlines import distance, even_odd
from pycocotools import mask as coco

from kseg.data.annotations import regions
from kseg.errors import DataError

SIZE = 24, 36
POINT = st.tuples(st.floats(-2, 38), st.floats(-2, 26))
SQUARE = [(1, 1), (4, 1), (4, 4), (1, 4)]


def test_a_polygon_by_hand():
    # The centre of pixel (row, column) is at (column + 0.5, row + 0.5): x + y < 4 of the centres is row + column < 3.
    triangle = regions.polygons([np.array([(0, 0), (4, 0), (0, 4.0)])], (4, 4))
    rows, columns = np.indices((4, 4))
    np.testing.assert_array_equal(triangle & (rows + columns != 3), rows + columns < 3)
    expected = np.zeros((6, 6), bool)
    expected[1:4, 1:4] = True
    np.testing.assert_array_equal(regions.polygons([np.array(SQUARE, float)], (6, 6)), expected)


@given(st.lists(POINT, min_size=3, max_size=8))
@settings(deadline=None, max_examples=60)
def test_polygons_hold_the_centres_that_even_and_odd_gives(ring):
    ring = np.array(ring).round(3)
    clear = distance(ring, SIZE) > 0.45  # pycocotools draws edges on a grid of a fifth of a pixel
    found = regions.polygons([ring], SIZE)
    np.testing.assert_array_equal(found[clear], even_odd(ring, SIZE)[clear])


def test_polygons_are_joined_and_cut_off_at_the_picture():
    first, second = np.array([(-0.5, -0.5), (3, -0.5), (3, 3), (-0.5, 3)]), np.array([(2, 2), (5, 2), (5, 5), (2, 5.0)])
    expected = np.zeros((6, 6), bool)
    expected[:3, :3] = expected[2:5, 2:5] = True
    np.testing.assert_array_equal(regions.polygons([first, second], (6, 6)), expected)


@given(POINT, POINT, st.floats(-200, 200))
@settings(deadline=None, max_examples=30)
def test_a_turned_rectangle_holds_what_is_inside_when_turned_back(first, second, rotation):
    first, second = np.array(first) / 4 + (14, 8), np.array(second) / 4 + (12, 9)
    middle, half = (first + second) / 2, np.abs(first - second) / 2
    y, x = np.mgrid[0.5 : SIZE[0], 0.5 : SIZE[1]]
    back = (x - middle[0] + 1j * (y - middle[1])) * np.exp(-1j * np.radians(rotation))
    beyond = np.maximum(np.abs(back.real) - half[0], np.abs(back.imag) - half[1])
    clear = np.abs(beyond) > 0.7
    found = regions.rectangle(first, second, rotation, SIZE)
    np.testing.assert_array_equal(found[clear], beyond[clear] < 0)


@given(POINT, st.floats(0.5, 30), st.floats(0.5, 30), st.floats(-200, 200))
@settings(deadline=None, max_examples=30)
def test_an_ellipse_holds_the_centres_whose_distances_to_its_foci_add_up_to_less_than_its_longer_axis(
    centre, along, across, rotation
):
    y, x = np.mgrid[0.5 : SIZE[0], 0.5 : SIZE[1]]
    turn = np.exp(1j * np.radians(rotation + (90 if across > along else 0)))
    focus = np.sqrt(abs(along**2 - across**2)) * turn
    offset = x - centre[0] + 1j * (y - centre[1])
    total, axis = np.abs(offset - focus) + np.abs(offset + focus), 2 * max(along, across)
    clear = np.abs(total - axis) > 1e-6
    found = regions.ellipse(np.array(centre), np.array([along, across]), rotation, SIZE)
    np.testing.assert_array_equal(found[clear], total[clear] < axis)


def test_runs_by_hand():
    found = regions.runs([1, 2, 2, 1], (2, 3))
    np.testing.assert_array_equal(found, [[False, True, True], [False, False, True]])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1, 2], r"fill 3 pixels; there are 3 x 2 = 6"),
        ([1, 2**62, 2**62, 2**62, 2**62], "runs that fill"),
        ([-1, 7], "no whole numbers"),
        ([1.5, 4.5], "no whole numbers"),
        ([], "no whole numbers"),
        (["6"], "no whole numbers"),
        ([10**30], "no whole numbers"),
        ([[6]], "no whole numbers"),
        ([[6], 1], "no whole numbers"),
        (None, "no whole numbers"),
    ],
)
def test_runs_that_do_not_fill_the_picture_are_refused(lengths, message):
    with pytest.raises(DataError, match=message):
        regions.runs(lengths, (2, 3))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_compressed_runs_are_read_as_pycocotools_writes_them(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    if seed % 2:
        mask = np.sort(mask, axis=0)  # long runs
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    np.testing.assert_array_equal(regions.runs(regions.run_lengths(text), (width, height)).T, mask)


def test_compressed_runs_by_hand():
    # 2, 3, 1, then 7 = 3 + 4 and 40 = 1 + 39: 39 is 7, with more to follow (32), and 1. Last, 2 = 7 - 5, and -5 is 27.
    text = bytes(ord("0") + number for number in (2, 3, 1, 4, 32 + 7, 1, 27))
    np.testing.assert_array_equal(regions.run_lengths(text), [2, 3, 1, 7, 40, 2])


@pytest.mark.parametrize("text", [b"", b"/", b"\xff", b"1p", b"p", b"o" * 12 + b"1"])
def test_text_that_is_no_compressed_runs_is_refused(text):
    with pytest.raises(DataError, match="none of COCO's"):
        regions.run_lengths(text)


@pytest.mark.parametrize(
    "coordinates",
    [None, "x", [1, 2, 3], [[1, 2], [3]], [[1, 2, 3]], [1, None], [1, 10**400], [float("nan"), 1], [1, float("inf")]],
)
def test_points_that_are_no_finite_pairs_are_refused(coordinates):
    with pytest.raises(DataError, match=r"no pairs of numbers|not finite"):
        regions.points(coordinates)


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        ([(1, 1), (4, 4)], "of 2 points; it takes three"),
        ([(1, 1), (4, 4), (1e9, 1)], r"\(1e\+09, 1\), far outside the picture of 36 x 24"),
        ([(1, 1), (4, 4), (1, -4)], "far outside"),
        ([(1, 1), (4, 4), (1, 29)], "far outside"),
        ([(0, 0), (36, 24)] * 60_000, "4320000 pixels' length; the limit is 2,000,000"),
    ],
)
def test_outlines_that_cannot_be_drawn_are_refused(ring, message):
    with pytest.raises(DataError, match=message):
        regions.polygons([np.array(SQUARE, float), np.array(ring, float)], SIZE)


def test_an_outline_that_leaves_the_picture_a_little_is_cut_off():
    ring = np.array([(-3, -3), (39, -3), (39, 27), (-3, 27.0)])
    assert regions.polygons([ring], SIZE).all()


def test_a_place_outside_the_picture_is_refused():
    assert regions.place(1, 2, (3, 4), SIZE) == (slice(1, 4), slice(2, 6))
    for top, left, extent in ((-1, 0, (2, 2)), (0, -1, (2, 2)), (23, 0, (2, 2)), (0, 35, (2, 2)), (3, 3, (0, 2))):
        with pytest.raises(DataError, match="is it one of another picture"):
            regions.place(top, left, extent, SIZE)


def test_an_ellipse_without_extent_is_refused():
    with pytest.raises(DataError, match="radii 0 and 3"):
        regions.ellipse(np.zeros(2), np.array([0, 3.0]), 0, SIZE)
    assert not regions.ellipse(np.zeros(2), np.array([1e-310, 3.0]), 0, SIZE).any()
