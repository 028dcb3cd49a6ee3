"""One class against everything else: what another threshold would give, and whether probabilities can be believed.

Both follow from one histogram per photo. A pixel's bin is the number of thresholds 0.01, 0.02 … 0.99 that its
probability is above: bin b holds the probabilities in (b/100, (b + 1)/100].
"""

import math
from typing import Any

import numpy as np

from kseg.logits import as_probabilities, log_odds
from kseg.objectives import overlap
from kseg.objectives.overlap import Counts

BINS = 100
THRESHOLDS = np.arange(1, BINS) / BINS
CUTS = np.array([log_odds(threshold) for threshold in THRESHOLDS.tolist()], np.float32)
"""In float32, as one threshold is when logits are compared with it: both decide alike, to the last bit."""

COARSE = 10
"""Bins of the reliability diagram."""


def count_probabilities(truth: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Histogram of the counted pixels of a photo, or of a part of it.

    Args:
        truth: uint8 (N,), 1 for the class and 0 for all else.
        logits: float32 (N, 1).

    Returns:
        Pixels by truth and bin, int64 (2, 100), and the sum of probabilities by bin, float64 (100,).
    """
    bins = np.searchsorted(CUTS, logits[:, 0])  # how many cuts are below: equality is not above
    pixels = np.bincount(bins + BINS * truth.astype(np.intp), minlength=2 * BINS).reshape(2, BINS)
    return pixels, np.bincount(bins, as_probabilities(logits)[:, 0], BINS)


def sweep(histograms: np.ndarray) -> dict[str, Any]:
    """Scores at every threshold from the photos' histograms, int64 (N, 2, 100).

    Returns:
        Lists of 99 under "threshold", "jaccard", "dice", "precision", "recall" (over the data set) and
        "jaccard_per_image"; under "best", the threshold of the highest "jaccard", of equal ones the nearest to
        0.5 (then the smaller), and that value.
    """
    # pixels in bin t and higher are above threshold t/100: (N, 2, 99)
    above = histograms[..., ::-1].cumsum(axis=-1)[..., -2::-1]
    truth = np.broadcast_to(histograms[:, 1].sum(axis=-1, keepdims=True), above[:, 1].shape)
    photos = Counts(above[:, 1], truth, above.sum(axis=1))  # (N, 99) each
    # mean_defined over a single class: where it is neither there nor predicted, the rule for empty classes gives 1
    dataset = Counts(*(c.sum(axis=0)[:, None] for c in photos))
    scores = {name: np.asarray(overlap.mean_defined(overlap.score(name, dataset))) for name in overlap.TVERSKY_WEIGHTS}
    per_photo = np.asarray(overlap.mean_defined(overlap.score("jaccard", Counts(*(c[..., None] for c in photos)))))
    is_image = histograms.any(axis=(1, 2))
    scores["jaccard_per_image"] = np.asarray(overlap.mean_defined(per_photo[is_image].T))
    jaccard = scores["jaccard"]
    ties = np.flatnonzero(jaccard == jaccard.max())
    best = ties[np.abs(2 * (ties + 1) - BINS).argmin()]
    return {
        "threshold": THRESHOLDS.tolist(),
        **{name: values.tolist() for name, values in scores.items()},
        "best": {"threshold": float(THRESHOLDS[best]), "jaccard": float(jaccard[best])},
    }


def reliability(histogram: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Reliability diagram and expected calibration error, over pixels.

    In each of ten bins of the probability of the class, its mean ("confidence") and how often the class is there
    ("frequency"); NaN for a bin without pixels. The error is the mean of their distance, weighted by pixels
    (Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017; there, for the
    probability of the predicted class).

    Args:
        histogram: int64 (2, 100), of the whole data set.
        probabilities: float64 (100,), their sums by bin.
    """
    there = histogram[1].reshape(COARSE, -1).sum(axis=1)
    pixels = histogram.sum(axis=0).reshape(COARSE, -1).sum(axis=1)
    sums = probabilities.reshape(COARSE, -1).sum(axis=1)
    bins = [
        {
            "from": index / COARSE,
            "to": (index + 1) / COARSE,
            "confidence": float(sums[index] / number) if number else math.nan,
            "frequency": float(there[index] / number) if number else math.nan,
            "pixels": number,
        }
        for index, number in enumerate(pixels.tolist())
    ]
    total = int(pixels.sum())
    return {"bins": bins, "ece": float(np.abs(sums - there).sum()) / total if total else math.nan}
