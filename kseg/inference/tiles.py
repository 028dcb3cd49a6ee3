"""A network on pictures too large for it at once: tile by tile, and no seam where tiles meet.

Neighbouring tiles overlap. In the middle of the overlap one fades into the other; what lies further out, where a tile
does not know what is beyond its edge, is not used. Rows are given as soon as they are done, so that the memory needed
grows with the width of the picture and not with its height.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from kseg.errors import DataError
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

    A picture of no more than a tile is judged in one pass. ``tile`` and ``overlap`` are multiples of 32, the first at
    least three times the second, so that no pixel belongs to more than two tiles of a row. Raises DataError if they
    are not.
    """
    if tile < max(STRIDE, 3 * overlap) or overlap < 0 or tile % STRIDE or overlap % STRIDE:
        raise DataError(
            f"tiles of {tile} pixels that share {overlap}: both have to be multiples of {STRIDE}, and a tile at least "
            f"three times what it shares, such as {TILE} and {OVERLAP}"
        )
    return _judged_in_tiles(network, picture, tile, overlap)


def _judged_in_tiles(network: Network, picture: np.ndarray, tile: int, overlap: int) -> Iterator[np.ndarray]:
    height, width = picture.shape[:2]
    picture = continued(picture)
    rows, columns = (Cover(side, tile, overlap) for side in picture.shape[:2])
    fading = np.zeros(0)
    for number, top in enumerate(rows.starts):
        begin, end = rows.begins[number], rows.ends[number]
        band = _judge_band(network, picture[top : top + rows.tile], columns)[begin - top : end - top, :width]
        band *= rows.weights(number)[begin - top : end - top, None, None]
        if number:
            band[: len(fading)] += fading
        done = len(band) if number == rows.last else rows.begins[number + 1] - begin
        fading = band[done:].copy()
        yield band[:done][: max(0, height - begin)]


def _judge_band(network: Network, band: np.ndarray, columns: "Cover") -> np.ndarray:
    """The logits of a row of tiles: uint8 (h, W, 3) -> float32 (h, W, C)."""
    judged: list[np.ndarray] = []
    for number, left in enumerate(columns.starts):
        logits = network(band[None, :, left : left + columns.tile])[0]
        judged = judged or [np.zeros((*band.shape[:2], logits.shape[-1]), np.float32)]
        judged[0][:, left : left + columns.tile] += logits * columns.weights(number)[:, None]
    return judged[0]


def continued(picture: np.ndarray) -> np.ndarray:
    """A picture whose sides are multiples of ``STRIDE``, by repeating the last row and column."""
    height, width = picture.shape[:2]
    missing = (-height % STRIDE, -width % STRIDE)
    return np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") if any(missing) else picture


class Cover:
    """A side of so many pixels, covered by tiles that overlap; all numbers are multiples of ``STRIDE``.

    So is where tiles begin: a network that halves its picture five times says the same of a moved picture only if it
    was moved by so much.

    Attributes:
        tile: Pixels of each.
        starts: Where each begins, evenly spread.
        begins, ends: From where to where each is used.
        last: The number of the last one.
    """

    def __init__(self, side: int, tile: int, overlap: int) -> None:
        sides, tiles, overlaps = side // STRIDE, min(tile, side) // STRIDE, overlap // STRIDE
        self.tile = tiles * STRIDE
        self.last = -(-(sides - tiles) // (tiles - overlaps)) if sides > tiles else 0
        self.starts = [round(number * (sides - tiles) / max(1, self.last)) * STRIDE for number in range(self.last + 1)]
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
            weights *= self._risen(positions - self.begins[number])
        if number < self.last:
            weights *= 1 - self._risen(positions - self.begins[number + 1])
        return weights.astype(np.float32)

    def _risen(self, distance: np.ndarray) -> np.ndarray:
        """A smooth step from 0 to 1 over the pixels that fade: half a period of a cosine."""
        progress: np.ndarray = distance / self._fade if self._fade else distance > 0
        step: np.ndarray = 0.5 - 0.5 * np.cos(np.pi * np.clip(progress, 0, 1))
        return step
