import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from kseg.data.loading import Loader
from kseg.data.samples import Original
from kseg.data.survey import class_weights, count_pixels, repeat_factors
from kseg.errors import DataError


class Made:
    """Masks given as arrays."""

    def __init__(self, masks):
        self.masks = masks
        self.names = [str(index) for index in range(len(masks))]
        self.skipped = {}
        self.split = None
        self.sound = True

    def load(self, index, view=None):
        mask = self.masks[index]
        return Original.whole(np.zeros((*mask.shape, 3), np.uint8), mask)


def test_pixels_are_counted_per_sample_and_ignored_ones_are_not():
    masks = [np.zeros((32, 32), np.uint8) for _ in range(3)]
    masks[1][:2] = 1
    masks[2][0] = 255
    counts = count_pixels(Loader(Made(masks), (32, 32), cache=False), [1, 2], 3)
    assert counts.tolist() == [[960, 64, 0], [992, 0, 0]]


@given(st.lists(st.lists(st.integers(1, 50), min_size=3, max_size=3), min_size=1, max_size=6))
@settings(deadline=None, max_examples=30)
def test_balanced_weights_are_those_of_scikit_learn(counts):
    counts = np.array(counts)
    pixels = np.repeat([0, 1, 2], counts.sum(axis=0))
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=pixels)
    assert class_weights(counts, "balanced", "abc") == pytest.approx(tuple(expected))


def test_median_frequency_by_hand():
    # Class 0: 80 + 50 of 200 pixels; class 1: 20 of 100, since only the first shows it; class 2: 50 of 100.
    counts = np.array([[80, 20, 0], [50, 0, 50]])
    # frequencies 0.65, 0.2, 0.5; their median is 0.5
    assert class_weights(counts, "median", "abc") == pytest.approx((0.5 / 0.65, 2.5, 1.0))


def test_a_class_that_is_nowhere_has_no_weight():
    with pytest.raises(DataError, match=r"no training sample shows b, d, which.*as numbers"):
        class_weights(np.array([[5, 0, 1, 0]]), "balanced", "abcd")


def test_repeat_factors_by_hand():
    # Class 0 is in all four, class 1 in one of four, class 2 in two of four, class 3 in none.
    counts = np.array([[9, 1, 0, 0], [9, 0, 1, 0], [9, 0, 1, 0], [9, 0, 0, 0]])
    # share 0.36: sqrt(0.36 / 0.25) = 1.2 for the one that shows class 1; class 2 is not rare
    assert repeat_factors(counts, 0.36) == pytest.approx([1.2, 1, 1, 1])
    # share 1: sqrt(1 / 0.25) = 2 and sqrt(1 / 0.5)
    assert repeat_factors(counts, 1.0) == pytest.approx([2, 2**0.5, 2**0.5, 1])
