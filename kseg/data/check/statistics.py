"""What the masks of a data set hold, the weights that follow from it, and the sizes of its pictures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kseg.data.check.examined import Examined
from kseg.data.survey import class_weights
from kseg.errors import DataError
from kseg.settings import DataSettings

IGNORED = "ignored"


class ClassRow(NamedTuple):
    """One class, or the ignored pixels.

    Attributes:
        name: Of the class.
        pixels: Of all usable masks.
        share: Of all pixels.
        pictures: That show it.
        balanced: About the weight in the loss by ``training.class_weights = "balanced"``. This one is of all usable
            masks at their own size; training counts its own samples only, at the network's size. None if it or another
            class is absent.
        median: About that by ``"median"``, likewise.
    """

    name: str
    pixels: int
    share: float
    pictures: int
    balanced: float | None = None
    median: float | None = None


def class_rows(samples: Sequence[Examined], data: DataSettings) -> list[ClassRow]:
    """A row for each class; the ignored pixels come last, if there are any."""
    names = (*data.class_ids, IGNORED)
    usable = [sample.pixels for sample in samples if sample.usable and sample.pixels is not None]
    counts = np.stack(usable) if usable else np.zeros((0, len(names)), np.int64)
    pixels, pictures = counts.sum(axis=0), (counts > 0).sum(axis=0)
    total = max(1, int(pixels.sum()))
    weights: dict[str, Sequence[float | None]] = {}
    for kind in ("balanced", "median"):
        try:
            weights[kind] = (*class_weights(counts[:, :-1], kind, data.class_ids), None)
        except DataError:  # a class is absent; that is a finding
            weights[kind] = [None] * len(names)
    rows = [
        ClassRow(name, int(count), int(count) / total, int(seen), balanced, median)
        for name, count, seen, balanced, median in zip(
            names, pixels, pictures, weights["balanced"], weights["median"], strict=True
        )
    ]
    return rows if rows[-1].pixels else rows[:-1]


def size_statistics(samples: Sequence[Examined]) -> dict[str, Any]:
    """Smallest, median and largest width, height and aspect (width / height); and how masks compare with photos."""
    sizes = np.array([sample.size for sample in samples if sample.size], np.int64).reshape(-1, 2)
    masked = [(sample.size, sample.mask_size) for sample in samples if sample.size and sample.mask_size]
    quantities = {"width": sizes[:, 1], "height": sizes[:, 0], "aspect": sizes[:, 1] / sizes[:, 0]}
    return {
        "pictures": len(sizes),
        **{name: _range(values) for name, values in quantities.items()},
        "masks smaller than their picture": sum(mask[0] < size[0] for size, mask in masked),
        "masks larger than their picture": sum(mask[0] > size[0] for size, mask in masked),
    }


def _range(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    return {"smallest": values.min().item(), "median": float(np.median(values)), "largest": values.max().item()}
