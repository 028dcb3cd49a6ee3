"""Resampling against doing it photo by photo, intervals against known answers and scipy's, Wilcoxon by enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kseg.evaluation.statistics import (
    RESAMPLES,
    interval,
    resample,
    resampled_means,
    resampled_sums,
    signed_rank_p_value,
)


def test_as_many_photos_are_drawn_as_there_are():
    times = resample(30)
    assert times.shape == (RESAMPLES, 30)
    assert (times.sum(axis=1) == 30).all()
    # each photo is drawn once on average; left out with (29/30)**30 = 0.362
    assert times.mean(axis=0) == pytest.approx(np.ones(30), abs=0.1)
    assert (times == 0).mean() == pytest.approx((29 / 30) ** 30, abs=0.01)
    assert np.array_equal(times, resample(30))
    assert resample(1).tolist() == RESAMPLES * [[1]]


def test_sums_and_means_are_those_of_the_photos_drawn():
    dice = np.random.default_rng(1)
    counts = dice.integers(0, 10**12, (6, 2, 3))
    values = np.array([0.2, math.nan, 0.5, 0.9, math.nan, 0.1])
    times = resample(6)[:200]
    times[0] = [0, 2, 0, 0, 4, 0]  # nothing but NaN
    sums, means = resampled_sums(times, counts), resampled_means(times, values)
    assert (sums.shape, sums.dtype) == ((200, 2, 3), np.int64)
    for number, row in enumerate(times.astype(int)):
        drawn = np.repeat(np.arange(6), row)
        assert sums[number].tolist() == counts[drawn].sum(axis=0).tolist()
        assert means[number] == pytest.approx(1 if number == 0 else np.nanmean(values[drawn]))


def test_interval_is_the_middle_of_the_samples():
    assert interval(np.random.default_rng(2).permutation(np.arange(1001.0))) == pytest.approx((25, 975))


def test_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(3).beta(5, 2, 60)
    low, high = interval(resampled_means(resample(60), values))
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    width = expected.high - expected.low
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.06 * width)


def test_intervals_cover_the_truth_as_often_as_they_say():
    # A photo's union has 1 to 1000 pixels; each is in the intersection with a chance that is the photo's own and
    # does not depend on the union's size, Beta(6, 2), whose mean is 3/4. So the data set's Jaccard index is 3/4.
    dice, trials, photos = np.random.default_rng(5), 400, 80
    times = resample(photos)
    covered = np.zeros(2)
    for _ in range(trials):
        union = dice.integers(1, 1001, photos)
        hit = dice.binomial(union, dice.beta(6, 2, photos))
        sums = resampled_sums(times, np.stack([hit, union], axis=1))
        for index, samples in enumerate((sums[:, 0] / sums[:, 1], resampled_means(times, hit / union))):
            low, high = interval(samples)
            covered[index] += low <= 0.75 <= high
    # 95 % of 400, give or take three standard deviations of 1.1 %; percentile intervals are a little narrow
    assert covered / trials == pytest.approx(np.full(2, 0.95), abs=0.035)


@given(st.lists(st.integers(-9, 9).filter(bool), min_size=1, max_size=9, unique_by=abs))
def test_p_value_is_that_of_all_signs(whole):
    # Ranks without ties: the share of all 2**n ways to sign them whose sum is at least as far from the middle.
    differences = np.array(whole) / 10
    ranks = np.abs(differences).argsort().argsort() + 1
    sums = [abs(np.dot(signs, ranks)) for signs in itertools.product((-1, 1), repeat=len(ranks))]
    expected = np.mean(np.array(sums) >= abs(np.dot(np.sign(differences), ranks)))
    assert signed_rank_p_value(differences) == pytest.approx(expected)
    with_more = np.concatenate([differences, [0.0, math.nan]])
    assert signed_rank_p_value(with_more) == pytest.approx(expected)


def test_p_value_by_hand():
    # five photos, all better: 2 of the 2**5 ways to sign the ranks are as one-sided
    assert signed_rank_p_value(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 32)


@pytest.mark.parametrize("differences", [[], [0.0], [0.0] * 40, [0.3], [-0.3], [math.nan, 0.0]])
def test_nothing_can_be_said_of_nothing(differences):
    assert signed_rank_p_value(np.array(differences)) == 1


@pytest.mark.parametrize("differences", [[0.1] * 40, [0.1, -0.1], [0.25, 0.25, -0.5, 0.0], [0.1, -0.1] * 30])
def test_ties_do_no_harm(differences):
    assert 0 < signed_rank_p_value(np.array(differences)) <= 1
