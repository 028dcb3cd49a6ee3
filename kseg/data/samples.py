"""A sample is a picture, uint8 (H, W, 3) RGB, and its mask, uint8 (h, w) class ids, both upright.

A source is a list of names and a way to load each. A size is (height, width).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from kseg.data.splits import Split

Size = tuple[int, int]
"""(height, width)."""


class Sample(NamedTuple):
    """A picture, uint8 (H, W, 3) RGB, and its mask, uint8 (h, w) class ids, of the same aspect."""

    picture: np.ndarray
    mask: np.ndarray


class View(NamedTuple):
    """How a network sees photos: all at one ``size``, to which they come by ``resize``, "stretch" or "pad"."""

    size: tuple[int, int]
    resize: str = "stretch"


class Original(NamedTuple):
    """What a source has of a sample.

    Attributes:
        picture: uint8 (h, w, 3), RGB: of the photo's own size, or reduced, so far as no view of it suffers.
        mask: uint8, class ids, of any size of the same aspect.
        size: The photo's own.
    """

    picture: np.ndarray
    mask: np.ndarray
    size: tuple[int, int]

    @classmethod
    def whole(cls, picture: np.ndarray, mask: np.ndarray) -> "Original":
        """With a picture of the photo's own size."""
        return cls(picture, mask, (picture.shape[0], picture.shape[1]))


class Source(Protocol):
    """A finite, ordered list of samples."""

    names: Sequence[str]
    skipped: dict[str, str]
    """Samples that were left out when the source was opened, and why."""
    split: Split | None
    """Which of its samples train and which validate, by position, where the source itself says so."""
    sound: bool
    """Whether every sample is known to load: drawn on the spot, or looked at when it was prepared."""

    def load(self, index: int, view: View | None = None) -> Original:
        """Read one sample, for a view or whole; called from several threads. Raises DataError naming the file."""
