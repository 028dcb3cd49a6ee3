"""From counts to scores: of each photo, of all of them, and of any resample of them.

Formulas, means over classes and the rule for empty classes are those of ``kseg.objectives.overlap``.
"""

import numpy as np

from kseg.objectives import overlap
from kseg.objectives.overlap import Counts


def areas(confusion: np.ndarray, scored: slice = slice(None)) -> Counts:
    """Areas by class id, int64 (..., S), from counts by truth and prediction, int64 (..., K, K)."""
    diagonal = np.diagonal(confusion, axis1=-2, axis2=-1)
    return Counts(*(c[..., scored] for c in (diagonal, confusion.sum(axis=-1), confusion.sum(axis=-2))))


def by_class(confusion: np.ndarray, bands: np.ndarray, scored: slice) -> dict[str, np.ndarray]:
    """Every overlap score of every class: float64 (..., S) by name, NaN for the empty class.

    Args:
        confusion: int64 (..., K, K), rows truth, columns prediction.
        bands: int64 (..., 3, S): of the bands, the pixels in both, in the truth's, in the prediction's.
        scored: which of the K ids are the S scored classes.
    """
    classes = areas(confusion, scored)
    scores = {name: np.asarray(overlap.score(name, classes)) for name in overlap.TVERSKY_WEIGHTS}
    of_bands = Counts(*np.moveaxis(bands, -2, 0))
    return scores | {"boundary_iou": np.asarray(overlap.score("jaccard", of_bands))}


def over_classes(confusion: np.ndarray, bands: np.ndarray, scored: slice) -> dict[str, np.ndarray]:
    """Means over the scored classes, and the share of right pixels: float64 (...,) by name; 1 with nothing to mean.

    Args:
        confusion: int64 (..., K, K), rows truth, columns prediction.
        bands: int64 (..., 3, S): of the bands, the pixels in both, in the truth's, in the prediction's.
        scored: which of the K ids are the S scored classes.
    """
    means = {name: mean(values) for name, values in by_class(confusion, bands, scored).items()}
    boundary_iou = means.pop("boundary_iou")
    accuracy = mean(np.asarray(overlap.accuracy(areas(confusion)))[..., None])
    return means | {"pixel_accuracy": accuracy, "boundary_iou": boundary_iou}


def mean(values: np.ndarray) -> np.ndarray:
    """``mean_defined`` in NumPy: float64 (...,) from float64 (..., S)."""
    return np.asarray(overlap.mean_defined(values))
