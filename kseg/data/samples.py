"""A sample is a picture, uint8 (H, W, 3) RGB, and its mask, uint8 (h, w) class ids, both upright.

A source is a list of names and a way to load each.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from kseg.data.splits import Split


class Sample(NamedTuple):
    """A picture, uint8 (H, W, 3) RGB, and its mask, uint8 (h, w) class ids, of the same aspect."""

    picture: np.ndarray
    mask: np.ndarray


class Source(Protocol):
    """A finite, ordered list of samples."""

    names: Sequence[str]
    skipped: dict[str, str]
    """Samples that were left out when the source was opened, and why."""
    split: Split | None
    """Which of its samples train and which validate, by position, where the source itself says so."""
    sound: bool
    """Whether every sample is known to load: drawn on the spot, or looked at when it was prepared."""

    def load(self, index: int) -> Sample:
        """Read one sample; may be called from several threads. Raises DataError naming the file."""
