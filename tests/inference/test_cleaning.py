import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from kseg.errors import ConfigError
from kseg.inference.cleaning import Cleaning

MASKS = st.integers(0, 3).flatmap(
    lambda highest: arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, highest)
    )
)
HALVES = st.sampled_from([0.0, 0.03, 0.1, 0.3, 1.0])


def drawn(text):
    """A mask from a picture of digits; a dot is background."""
    return np.array([[int(sign.replace(".", "0")) for sign in line] for line in text.split()], np.uint8)


def regions(inside, corners):
    """The connected sets of pixels of a bool (H, W) array, by walking from neighbour to neighbour."""
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)] + [(-1, -1), (-1, 1), (1, -1), (1, 1)] * corners
    left, found = set(zip(*map(list, np.nonzero(inside)), strict=True)), []
    while left:
        region, front = set(), [left.pop()]
        while front:
            row, column = front.pop()
            region.add((row, column))
            near = {(row + down, column + right) for down, right in steps} & left
            left -= near
            front += near
        found.append(region)
    return found


def with_class(mask, class_id):
    return regions(mask == class_id, corners=True)


BLOTS = drawn("""
    11....2
    11..2..
    ..1.2..
    .......
    1..2222
""")


def test_nothing_is_done_by_default():
    np.testing.assert_array_equal(Cleaning()(BLOTS), BLOTS)


def test_the_largest_region_of_every_class_stays():
    expected = drawn("""
        11.....
        11.....
        ..1....
        .......
        ...2222
    """)
    np.testing.assert_array_equal(Cleaning(largest=True)(BLOTS), expected)


def test_small_regions_become_background():
    """3 of 35 pixels stay, 2 do not: the bound lies between, at 2.5."""
    expected = drawn("""
        11....2
        11..2..
        ..1.2..
        .......
        ...2222
    """)
    np.testing.assert_array_equal(Cleaning(min_region=1.5 / 35)(BLOTS)[4], expected[4])
    expected = drawn("""
        11.....
        11.....
        ..1....
        .......
        ...2222
    """)
    np.testing.assert_array_equal(Cleaning(min_region=2.5 / 35)(BLOTS), expected)
    np.testing.assert_array_equal(Cleaning(min_region=1)(BLOTS), np.zeros_like(BLOTS))
    full = np.ones((4, 4), np.uint8)
    np.testing.assert_array_equal(Cleaning(min_region=1)(full), full)  # as large as the bound is not smaller


HOLES = drawn("""
    .11111....
    1.1.11....
    11111..22.
    ....22..2.
    333323.32.
    3..2222222
    3..3......
    3333......
""")


def test_enclosed_background_takes_the_class_with_the_longest_border():
    """Holes of one pixel in row 1; one of four in rows 5 and 6, with seven sides to class 3 and one to class 2."""
    expected = drawn("""
        .11111....
        1111115555
        1111155225
        5555225525
        3333235325
        3332222222
        3333......
        3333......
    """)
    expected[expected == 5] = 0
    np.testing.assert_array_equal(Cleaning(fill_holes=5 / 80)(HOLES), expected)
    # fewer than the bound are filled, not as many
    np.testing.assert_array_equal(Cleaning(fill_holes=4 / 80)(HOLES)[5], HOLES[5])
    np.testing.assert_array_equal(Cleaning(fill_holes=4 / 80)(HOLES)[1], expected[1])


def test_of_equal_borders_the_smaller_id_is_taken():
    mask = drawn("""
        .2.
        1.2
        .1.
    """)
    filled = Cleaning(fill_holes=0.5)(mask)
    assert filled[1, 1] == 1
    assert (filled != mask).sum() == 1  # the corners lie at the photo's edge


def test_a_speck_is_dropped_and_its_place_filled():
    mask = drawn("""
        1111
        1211
        1.11
        1111
    """)
    tidy = Cleaning(min_region=2 / 16, fill_holes=3 / 16)
    np.testing.assert_array_equal(tidy(mask), np.ones((4, 4)))


def test_smoothing_straightens_an_edge():
    """Five votes inside: in row 2, column 1 has two for class 1, column 2 three. Column 5 has two of four: it stays."""
    mask = drawn("""
        ......
        ...1..
        .1.1.1
        111111
        11.111
        111111
    """)
    expected = drawn("""
        ......
        ......
        ..1111
        111111
        111111
        111111
    """)
    np.testing.assert_array_equal(Cleaning(smooth=1)(mask), expected)


def slow_majority(mask, radius):
    """Pixel by pixel, in Python's integers."""
    smoothed = mask.copy()
    for row, column in np.ndindex(*mask.shape):
        votes = [0] * 256
        for other in np.ndindex(*mask.shape):
            if (other[0] - row) ** 2 + (other[1] - column) ** 2 <= radius**2:
                votes[mask[other]] += 1
        if votes[mask[row, column]] < max(votes):
            smoothed[row, column] = votes.index(max(votes))
    return smoothed


@given(mask=MASKS, radius=st.sampled_from([0.5, 1, 1.5, 2, 3.7, 7, 20]))
@settings(deadline=None, max_examples=40)
def test_smoothing_is_a_majority(mask, radius):
    np.testing.assert_array_equal(Cleaning(smooth=radius)(mask), slow_majority(mask, radius))


@pytest.mark.parametrize("radius", [6, 11.5])
def test_large_discs_count_exactly(radius):
    """OpenCV may sum them by a Fourier transform; SciPy adds pixel by pixel, in integers."""
    mask = np.random.default_rng(8).integers(0, 2, (50, 70), np.uint8)
    reach = np.arange(-int(radius), int(radius) + 1)
    disc = (reach[:, None] ** 2 + reach**2 <= radius**2).astype(int)
    ones, whole = (ndimage.convolve(part.astype(int), disc, mode="constant") for part in (mask, np.ones_like(mask)))
    expected = np.where(2 * ones == whole, mask, 2 * ones > whole)
    assert (2 * ones == whole).any()
    np.testing.assert_array_equal(Cleaning(smooth=radius)(mask), expected)


@given(mask=MASKS, share=HALVES, largest=st.booleans())
@settings(deadline=None, max_examples=150)
def test_regions_that_stay_are_those_large_enough(mask, share, largest):
    before = mask.copy()
    cleaned = Cleaning(min_region=share, largest=largest)(mask)
    np.testing.assert_array_equal(mask, before)
    for class_id in (1, 2, 3):
        large = [region for region in with_class(mask, class_id) if len(region) >= share * mask.size]
        stay = with_class(cleaned, class_id)
        assert all(region in large for region in stay)
        if largest:
            assert [len(region) for region in stay] == sorted(map(len, large))[-1:]
        else:
            assert len(stay) == len(large)


@given(mask=MASKS, share=HALVES)
@settings(deadline=None, max_examples=150)
def test_holes_are_filled_and_nothing_else_changes(mask, share):
    filled = Cleaning(fill_holes=share)(mask)
    height, width = mask.shape
    expected = mask.copy()
    for region in regions(mask == 0, corners=False):
        edge = any(row in (0, height - 1) or column in (0, width - 1) for row, column in region)
        if edge or len(region) >= share * mask.size:
            continue
        border = [0] * 4
        for row, column in region:
            for neighbour in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                border[mask[neighbour]] += neighbour not in region
        for pixel in region:
            expected[pixel] = border.index(max(border))
    np.testing.assert_array_equal(filled, expected)


@given(mask=MASKS, share=HALVES, holes=HALVES, largest=st.booleans())
@settings(deadline=None, max_examples=100)
def test_tidy_stays_tidy(mask, share, holes, largest):
    tidy = Cleaning(min_region=share, fill_holes=holes, largest=largest)
    once = tidy(mask)
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(tidy(once), once)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fill_holes": 2}, "fill_holes: 2 is no share"),
        ({"min_region": -0.1}, "min_region: -0.1"),
        ({"min_region": float("nan")}, "min_region: nan"),
        ({"smooth": -1}, "smooth: -1"),
        ({"smooth": float("inf")}, "smooth: inf"),
    ],
)
def test_numbers_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        Cleaning(**settings)
