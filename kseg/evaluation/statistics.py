"""How far a score may be chance: photos drawn again, and two networks compared photo by photo.

The bootstrap draws as many photos as there are, with replacement, and computes the score anew; the middle 95 % of
these scores are its interval (the percentile method; Efron, "Bootstrap methods: another look at the jackknife",
Annals of Statistics 7, 1979). It says how the score would move with other photos of the same kind; not with
another training.
"""

import math

import numpy as np
from scipy import stats

RESAMPLES = 2000
SEED = 20
"""The same draws in every evaluation: a repeated one gives the same interval, and two networks get the same photos."""

COVERED = 0.95


def resample(photos: int) -> np.ndarray:
    """How often each photo is drawn: float64 (resamples, photos), of whole numbers."""
    drawn = np.random.default_rng(SEED).integers(photos, size=(RESAMPLES, photos))
    drawn += photos * np.arange(RESAMPLES)[:, None]
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * photos).reshape(RESAMPLES, photos).astype(np.float64)


def resampled_sums(times: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums over the photos drawn: int64 (R, ...) from int64 (N, ...); exact below 2**53."""
    sums = times @ counts.reshape(len(counts), -1).astype(np.float64)
    return sums.astype(np.int64).reshape(-1, *counts.shape[1:])


def resampled_means(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means over the photos drawn, float64 (R,), from float64 (N,); NaN is left out, and where only NaN is, 1.

    The rule is ``mean_defined``'s, in ``kseg.objectives.overlap``; here photos have weights.
    """
    defined = ~np.isnan(values)
    number = times @ defined.astype(np.float64)
    return np.where(number > 0, times @ np.where(defined, values, 0) / np.maximum(number, 1), 1.0)


def interval(samples: np.ndarray) -> tuple[float, float]:
    """Between which values the middle 95 % of the resampled scores, (R,), lie."""
    low, high = np.quantile(samples, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)


def signed_rank_p_value(differences: np.ndarray) -> float:
    """How probable differences, (N,), at least as one-sided as these are, if either sign were as likely.

    Two-sided; Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945. Zeros are left
    out; 1 where nothing is left.
    """
    differences = differences[(differences != 0) & ~np.isnan(differences)]
    if differences.size == 0:
        return 1.0
    p_value = float(stats.wilcoxon(differences).pvalue)
    return 1.0 if math.isnan(p_value) else p_value
