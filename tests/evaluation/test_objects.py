"""Things in the truth against scipy's components, at the limits of sizes, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kseg.evaluation.objects import count_objects, describe_objects


def slow(truth, predicted):
    table = np.zeros((3, 4), int)
    labels, number = ndimage.label(truth, np.ones((3, 3)))
    for label in range(1, number + 1):
        thing = labels == label
        pixels, hit = int(thing.sum()), int((thing & (predicted > 0)).sum())
        size = 0 if pixels < 32 * 32 else 1 if pixels < 96 * 96 else 2
        table[size] += [1, pixels, hit, hit > pixels / 2]
    return table


@given(st.integers(0, 2**32 - 1), st.integers(1, 150), st.integers(1, 150))
@settings(deadline=None, max_examples=40)
def test_components_are_scipys(seed, height, width):
    dice = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(dice.normal(size=(height, width)), dice.uniform(0, 12))
    truth = (noise > np.quantile(noise, dice.choice([0.1, 0.5, 1]))).astype(np.uint8)
    predicted = dice.integers(0, 2, truth.shape, np.uint8)
    assert np.array_equal(count_objects(truth, predicted), slow(truth, predicted))


def test_by_hand():
    truth = np.zeros((200, 300), np.uint8)
    predicted = truth.copy()
    truth[0, 0] = truth[1, 1] = 1  # joined at a corner: one thing of 2 pixels, of which exactly half is found
    predicted[0, 0] = 1
    truth[10:41, 10:43] = 1  # 31 * 33 = 1023: small; 2 of its 3 thirds are found
    predicted[10:41, 10:32] = 1
    truth[50:82, 10:42] = 1  # 32 * 32: medium; missed
    truth[50:145, 100:197] = predicted[50:145, 100:197] = 1  # 95 * 97 = 9215: medium; found
    truth[100:196, 200:296] = 1  # 96 * 96: large; a quarter is found
    predicted[100:148, 200:248] = 1
    predicted[0, 250:] = 1  # invented: no matter here
    table = count_objects(truth, predicted)
    assert table.tolist() == [
        [2, 2 + 1023, 1 + 31 * 22, 1],
        [2, 1024 + 9215, 9215, 1],
        [1, 96 * 96, 48 * 48, 0],
    ]
    small, medium, large = describe_objects(table)
    assert small == {"size": "small", "from": 0, "to": 1024, "count": 2, "recall": 683 / 1025, "found": 1 / 2}
    assert (medium["from"], medium["to"], medium["recall"]) == (1024, 9216, pytest.approx(9215 / 10239))
    assert large == {"size": "large", "from": 9216, "to": None, "count": 1, "recall": 1 / 4, "found": 0}


def test_nothing_there():
    empty = np.zeros((20, 30), np.uint8)
    table = count_objects(empty, 1 - empty)
    assert not table.any()
    assert all(math.isnan(size["recall"]) and math.isnan(size["found"]) for size in describe_objects(table))
