"""A network on pictures too large for it at once: tile by tile, and no seam where tiles meet.

Neighbouring tiles overlap. In the middle of the overlap one fades into the other; what lies further out, where a tile
does not know what is beyond its edge, is not used. Rows are given as soon as they are done, so that the memory needed
grows with the width of the picture and not with its height.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from kseg.settings import STRIDE

Network = Callable[[np.ndarray], np.ndarray]
"""uint8 (B, H, W, 3), H and W multiples of ``STRIDE`` -> float32 logits (B, H, W, C)."""

TILE = 768
"""Side of a tile, in pixels."""

OVERLAP = 192
"""Pixels that neighbouring tiles share, at least; half of them fade from one to the other."""


def judge_in_tiles(
    network: Network, picture: np.ndarray, tile: int = TILE, overlap: int = OVERLAP
) -> Iterator[np.ndarray]:
    """The logits of a uint8 (H, W, 3) picture, from top to bottom: float32 (rows, W, C), H rows in all.

    A picture of no more than a tile is judged in one pass. ``tile`` is a multiple of 32 and at least three times
    ``overlap``, so that no pixel belongs to more than two tiles of a row.
    """
    height, width = picture.shape[:2]
    rows, columns = Cover(height, tile, overlap), Cover(width, tile, overlap)
    fading = np.zeros(0)
    for number, top in enumerate(rows.starts):
        band = _judge_band(network, picture[top : top + tile], columns)
        begin, end = rows.begins[number] - top, rows.ends[number] - top
        down = rows.weights(number)[begin:end, None, None]
        band = band[begin:end]
        band *= down
        if number:
            band[: len(fading)] += fading
        given = len(band) if number == rows.last else rows.begins[number + 1] - top - begin
        fading = band[given:].copy()
        yield band[:given]


def _judge_band(network: Network, band: np.ndarray, columns: "Cover") -> np.ndarray:
    """The logits of a row of tiles: uint8 (h, W, 3) -> float32 (h, W, C)."""
    height, width = band.shape[:2]
    judged: np.ndarray | None = None
    for number, left in enumerate(columns.starts):
        part = band[:, left : left + columns.tile]
        logits = network(continued(part)[None])[0, :height, : part.shape[1]]
        if columns.last == 0:
            return logits.copy()
        if judged is None:
            judged = np.zeros((height, width, logits.shape[-1]), np.float32)
        begin, end = columns.begins[number], columns.ends[number]
        across = columns.weights(number)[begin - left : end - left, None]
        judged[:, begin:end] += logits[:, begin - left : end - left] * across
    assert judged is not None
    return judged


def continued(picture: np.ndarray) -> np.ndarray:
    """A picture whose sides are multiples of ``STRIDE``, by repeating the last row and column."""
    height, width = picture.shape[:2]
    missing = (-height % STRIDE, -width % STRIDE)
    return np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else picture


class Cover:
    """A side of so many pixels, covered by tiles that overlap.

    Attributes:
        tile: Pixels of each.
        starts: Where each begins, evenly spread.
        begins, ends: From where to where each is used.
        last: The number of the last one.
    """

    def __init__(self, side: int, tile: int, overlap: int) -> None:
        count = 1 if side <= tile else -(-(side - overlap) // (tile - overlap))
        self.tile = min(tile, side)
        self.last = count - 1
        self.starts = [round(number * (side - self.tile) / max(1, self.last)) for number in range(count)]
        self._fade = overlap // 2
        fades = [(later + earlier + self.tile - self._fade) // 2 for earlier, later in pairwise(self.starts)]
        self.begins = [0, *fades]
        self.ends = [*(begin + self._fade for begin in fades), side]

    def weights(self, number: int) -> np.ndarray:
        """How much a tile counts at each of its pixels: float32 (tile,); those of all tiles add up to 1 everywhere."""
        start = self.starts[number]
        positions = np.arange(start, start + self.tile) + 0.5
        weights = np.ones(self.tile)
        if number > 0:
            weights *= _risen((positions - self.begins[number]) / max(1, self._fade))
        if number < self.last:
            weights *= 1 - _risen((positions - self.begins[number + 1]) / max(1, self._fade))
        return weights.astype(np.float32)


def _risen(progress: np.ndarray) -> np.ndarray:
    """A smooth step from 0 to 1 between 0 and 1: half a period of a cosine."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(progress, 0, 1))
