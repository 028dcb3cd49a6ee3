"""Bands and contours against slow definitions, the metrics by hand, the photo's border, ignored pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kseg.evaluation.boundary import band, contour, count_boundary, f_scores

SEED = st.integers(0, 2**32 - 1)
SIDE = st.integers(1, 40)
LONG = st.integers(1, 500)
"""Long enough for a tolerance of several pixels."""


def blobs(seed: int, *shape: int) -> np.ndarray:
    """Two masks that are much alike, in regions of random size, now and then empty or full: uint8 (2, *shape)."""
    dice = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(dice.normal(size=shape), dice.uniform(0, 4))
    other = noise + 0.3 * ndimage.gaussian_filter(dice.normal(size=shape), dice.uniform(0, 4))
    cut = np.quantile(noise, dice.choice([0, 0.1, 0.5, 0.9, 1]))
    return np.stack([noise > cut, other > cut]).astype(np.uint8)


def slow_band(mask: np.ndarray, width: int) -> np.ndarray:
    """As the authors have it: a frame of zeros, erosion again and again, the frame off, and the difference."""
    framed = np.pad(mask, 1)
    for _ in range(width):
        framed = ndimage.binary_erosion(framed, np.ones((3, 3)))
    return mask.astype(bool) & ~framed[1:-1, 1:-1]


def slow_contour(mask: np.ndarray) -> np.ndarray:
    """Pixel by pixel."""
    height, width = mask.shape
    line = np.zeros(mask.shape, bool)
    for y, x in zip(*np.nonzero(mask), strict=True):
        beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        line[y, x] = any(0 <= v < height and 0 <= u < width and not mask[v, u] for v, u in beside)
    return line


def slow_met(pixels: np.ndarray, line: np.ndarray, tolerance: float) -> int:
    """How many pixels have one of the line within the tolerance, by scipy's exact distances."""
    return int((ndimage.distance_transform_edt(~line)[pixels] <= tolerance).sum()) if line.any() else 0


@given(SEED, SIDE, SIDE, st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_band_is_the_authors(seed, height, width, steps):
    mask = blobs(seed, height, width)[0]
    got = band(mask, steps)
    assert np.array_equal(got, slow_band(mask, steps))
    chessboard = ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1]
    assert np.array_equal(got, (mask > 0) & (chessboard <= steps))


@given(SEED, SIDE, SIDE)
@settings(deadline=None, max_examples=40)
def test_contour_is_what_lies_beside_another_pixel(seed, height, width):
    mask = blobs(seed, height, width)[0]
    assert np.array_equal(contour(mask), slow_contour(mask))


@given(SEED, SIDE, LONG, st.sampled_from([0, 0.02, 0.5, 1]))
@settings(deadline=None, max_examples=80)
def test_counts_are_those_of_the_slow_definitions(seed, height, width, ignored):
    truth, predicted = blobs(seed, height, width)
    counted = np.random.default_rng(seed).random(truth.shape) >= ignored
    truth = np.where(counted, truth, predicted)
    bands, contours = count_boundary(truth, predicted, counted)

    diagonal = math.hypot(height, width)
    ring, other = (slow_band(mask, max(1, round(0.02 * diagonal))) & counted for mask in (truth, predicted))
    assert bands.tolist() == [(ring & other).sum(), ring.sum(), other.sum()]

    line, drawn = slow_contour(truth), slow_contour(predicted)
    assert contours.tolist() == [
        slow_met(line & counted, drawn, 0.0075 * diagonal),
        (line & counted).sum(),
        slow_met(drawn & counted, line, 0.0075 * diagonal),
        (drawn & counted).sum(),
    ]


def test_bands_by_hand():
    # A photo of 30 x 40 has a diagonal of 50: the band is 1 pixel wide. A square of 10 x 10 has a band of
    # 100 - 8 * 8 = 36 pixels, and so has the same square one column to the right. Of the two bands, the upper and
    # the lower rows share 9 pixels each; and the left side of the second, where the first is wide inside, none but
    # its ends.
    truth, predicted = np.zeros((2, 30, 40), np.uint8)
    truth[10:20, 10:20] = predicted[10:20, 11:21] = 1
    bands, contours = count_boundary(truth, predicted, np.ones(truth.shape, bool))
    assert bands.tolist() == [18, 36, 36]
    # Contours are 36 pixels, too, and the tolerance is 0.375 pixels: only what coincides is met, the same 18.
    assert contours.tolist() == [18, 36, 18, 36]
    assert f_scores(contours) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("height", "width", "apart", "met"),
    # 0.75 % of 1000 is 7.5 pixels; of 2000 it is 15, and 15 is within it
    [(600, 800, 7, True), (600, 800, 8, False), (1200, 1600, 15, True), (1200, 1600, 16, False)],
)
def test_tolerance(height, width, apart, met):
    truth, predicted = np.zeros((2, height, width), np.uint8)
    truth[:, 100] = predicted[:, 100 + apart] = 1
    _, contours = count_boundary(truth, predicted, np.ones(truth.shape, bool))
    assert contours.tolist() == [met * height, height, met * height, height]


@pytest.mark.parametrize(
    ("height", "width", "down", "right", "met"),
    [
        # the tolerance is 37.5 pixels, and its square 1406.25: 26² + 27² = 1405, 25² + 28² = 1409
        (3000, 4000, 26, 27, True),
        (3000, 4000, 25, 28, False),
        # its square is 0.0075² * (160² + 880²) = 45 = 3² + 6², whose root OpenCV rounds up
        (160, 880, 3, 6, True),
    ],
)
def test_distances_are_exact(height, width, down, right, met):
    truth, predicted = np.zeros((2, height, width), np.uint8)
    truth[100, 100] = predicted[100 + down, 100 + right] = 1
    _, contours = count_boundary(truth, predicted, np.ones(truth.shape, bool))
    assert contours.tolist() == [met, 1, met, 1]


def test_the_photos_border_ends_a_band_and_is_no_contour():
    full = np.ones((30, 40), np.uint8)
    bands, contours = count_boundary(full, full, np.ones(full.shape, bool))
    assert bands.tolist() == 3 * [30 * 40 - 28 * 38]
    assert contours.tolist() == [0, 0, 0, 0]


def test_an_ignored_region_has_no_outline():
    # The left half is the class, in truth and prediction; columns 15 to 24 are ignored, with the edge in them.
    mask = np.zeros((30, 40), np.uint8)
    mask[:, :20] = 1
    counted = np.ones(mask.shape, bool)
    counted[:, 15:25] = False
    bands, contours = count_boundary(mask, mask, counted)
    assert contours.tolist() == [0, 0, 0, 0]
    # what is left of the band is along the photo's border: a column of 30, and two rows of 14 more
    assert bands.tolist() == 3 * [30 + 2 * 14]


def test_f_by_hand():
    # 3 of 4 true pixels are met, 1 of 2 predicted ones: 2 * 3/4 * 1/2 / (3/4 + 1/2) = 3/5
    assert f_scores(np.array([3, 4, 1, 2])) == pytest.approx(3 / 5)
    cases = np.array([[0, 5, 0, 5], [0, 5, 0, 0], [0, 0, 0, 5], [0, 0, 0, 0], [5, 5, 4, 4]])
    assert np.array_equal(f_scores(cases.T), [0, 0, 0, math.nan, 1], equal_nan=True)
