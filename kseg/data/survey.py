"""What the masks of the training samples hold, and what follows from it for the training."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import Literal

import numpy as np

from kseg.data.loading import Loader
from kseg.errors import DataError


def count_pixels(
    loader: Loader,
    indices: Sequence[int],
    num_ids: int,
    track: Callable[[Iterable[np.ndarray]], Iterable[np.ndarray]] = iter,
) -> np.ndarray:
    """Pixels of each class id in each sample's mask, at the network's size: int64 (N, num_ids).

    ``track`` wraps the counts as they come, to show progress.
    """

    def count(index: int) -> np.ndarray:
        return np.bincount(loader.load(index).mask.ravel(), minlength=256)[:num_ids]

    with ThreadPoolExecutor(cpu_count()) as threads:
        return np.stack(list(track(threads.map(count, indices))))


def class_weights(counts: np.ndarray, kind: Literal["balanced", "median"], names: Sequence[str]) -> tuple[float, ...]:
    """A weight for each of the K named classes, from pixels int64 (N, K): the rarer, the larger.

    ``balanced``: all pixels / (K * the class's pixels), so that all classes weigh the same together.
    ``median``: the median of all frequencies / the class's, where its frequency is its share of the pixels of those
    samples that show it (Eigen and Fergus 2015, "median frequency balancing").

    Raises DataError if no sample shows a class.
    """
    pixels = counts.sum(axis=0)
    if not pixels.all():
        missing = ", ".join(name for name, count in zip(names, pixels, strict=True) if not count)
        raise DataError(
            f"training.class_weights: no training sample shows {missing}, which thus has no {kind} weight; "
            "add such samples, or give the weights as numbers"
        )
    if kind == "balanced":
        weights = pixels.sum() / (len(pixels) * pixels)
    else:
        seen_in = ((counts > 0) * counts.sum(axis=1, keepdims=True)).sum(axis=0)
        frequencies = pixels / seen_in
        weights = np.median(frequencies) / frequencies
    return tuple(float(weight) for weight in weights)


def repeat_factors(counts: np.ndarray, share: float) -> np.ndarray:
    """How many times an epoch each sample should come, so that rare classes are seen more: float64 (N,), at least 1.

    max over the sample's classes of max(1, sqrt(share / f)), where f is the share of the samples that show the class
    ("repeat factor sampling", Gupta, Dollar and Girshick 2019, LVIS).
    """
    there = counts > 0
    frequencies = np.maximum(there.mean(axis=0), 1 / len(counts))
    factors = np.maximum(1, np.sqrt(share / frequencies))
    return np.where(there, factors, 1).max(axis=1)
