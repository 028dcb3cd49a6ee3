"""What is counted on one photo, at its own size: all scores of a data set follow from these numbers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kseg.errors import DataError
from kseg.evaluation.boundary import count_boundary
from kseg.evaluation.objects import count_objects
from kseg.evaluation.thresholds import BINS, count_probabilities
from kseg.logits import decide
from kseg.objectives.overlap import check_threshold

STRIP_PIXELS = 1 << 18
"""Pixels looked at together: what is made of them stays small beside a large photo's logits."""


@dataclass(frozen=True, eq=False)
class PhotoCounts:
    """Sums over the counted pixels of one photo; S scored classes out of K ids.

    Attributes:
        name: The photo's.
        height: Of the photo, in pixels.
        width: Likewise.
        confusion: int64 (K, K), rows truth, columns prediction.
        bands: int64 (3, S), the first answer of ``count_boundary``.
        contours: int64 (4, S), its second.
        objects: int64 (S, sizes, 4), see ``count_objects``.
        histogram: int64 (2, 100), see ``count_probabilities``; None for several classes.
        probabilities: float64 (100,), likewise.
    """

    name: str
    height: int
    width: int
    confusion: np.ndarray
    bands: np.ndarray
    contours: np.ndarray
    objects: np.ndarray
    histogram: np.ndarray | None
    probabilities: np.ndarray | None


def count_photo(
    name: str, truth: np.ndarray, logits: np.ndarray, *, threshold: float = 0.5, ignore_class: int = 255
) -> PhotoCounts:
    """Compare what the network says of a photo with its mask.

    Args:
        name: names the photo in errors and tables.
        truth: uint8 (H, W) of class ids.
        logits: float32 (H, W, C), C = 1 for one class against everything else.
        threshold: of the probability, for C = 1.
        ignore_class: id of the pixels that count nowhere; no class's.

    Raises:
        DataError: the sizes differ, the mask holds an unknown id, or a logit is not a number.
        ConfigError: the threshold is not strictly between 0 and 1.
    """
    num_ids = max(2, logits.shape[-1])
    _check(name, truth, logits, num_ids, ignore_class)
    predicted = decide(logits, check_threshold(threshold))
    counted = truth != ignore_class
    filled = np.where(counted, truth, predicted)
    bands, contours, objects = [], [], []
    for scored in range(1 if logits.shape[-1] == 1 else 0, num_ids):
        of_truth, of_prediction = ((ids == scored).view(np.uint8) for ids in (filled, predicted))
        of_bands, of_contours = count_boundary(of_truth, of_prediction, counted)
        bands.append(of_bands)
        contours.append(of_contours)
        objects.append(count_objects((truth == scored).view(np.uint8), of_prediction))
    histogram, probabilities = _histogram(truth, logits, counted) if logits.shape[-1] == 1 else (None, None)
    return PhotoCounts(
        name=name,
        height=truth.shape[0],
        width=truth.shape[1],
        confusion=_confusion(truth, predicted, counted, num_ids),
        bands=np.stack(bands, axis=1),
        contours=np.stack(contours, axis=1),
        objects=np.stack(objects),
        histogram=histogram,
        probabilities=probabilities,
    )


def _check(name: str, truth: np.ndarray, logits: np.ndarray, num_ids: int, ignore_class: int) -> None:
    if truth.shape != logits.shape[:-1]:
        raise DataError(
            f"{name}: a mask of {truth.shape} pixels does not fit logits of shape {logits.shape}; "
            "bring the logits to the photo's own size first"
        )
    if truth.size == 0:
        raise DataError(f"{name}: the mask has no pixels")
    unknown = (truth >= num_ids) & (truth != ignore_class)
    if unknown.any():
        raise DataError(
            f"{name}: the mask holds ids {np.unique(truth[unknown]).tolist()}, which are neither one of the {num_ids} "
            f"classes (0 to {num_ids - 1}) nor ignore_class ({ignore_class}); name them in data.mask_values"
        )
    if np.isnan(logits.min()):
        raise DataError(f"{name}: a logit is not a number (NaN); the network's weights, or the photo, are broken")


def _confusion(truth: np.ndarray, predicted: np.ndarray, counted: np.ndarray, num_ids: int) -> np.ndarray:
    """Pixels by truth (rows) and prediction (columns): int64 (K, K)."""
    pairs = np.zeros(num_ids * num_ids, np.int64)
    for rows in _strips(truth.shape):
        pixels = counted[rows]
        pair = truth[rows][pixels].astype(np.intp) * num_ids + predicted[rows][pixels]
        pairs += np.bincount(pair, minlength=pairs.size)
    return pairs.reshape(num_ids, num_ids)


def _histogram(truth: np.ndarray, logits: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``count_probabilities`` of a photo, strip by strip."""
    histogram, probabilities = np.zeros((2, BINS), np.int64), np.zeros(BINS)
    for rows in _strips(truth.shape):
        pixels = counted[rows]
        of_strip, sums = count_probabilities(truth[rows][pixels], logits[rows][pixels])
        histogram += of_strip
        probabilities += sums
    return histogram, probabilities


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of a photo, about STRIP_PIXELS at a time."""
    step = max(1, STRIP_PIXELS // shape[1])
    return (slice(first, first + step) for first in range(0, shape[0], step))
