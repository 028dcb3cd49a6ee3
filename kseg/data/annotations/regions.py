"""Which pixels an outline holds: bool (H, W).

Coordinates are in pixels and continuous: x to the right, y downwards, (0, 0) the upper left corner of the first pixel,
whose centre is (0.5, 0.5). A size is (height, width). What lies outside the picture is cut off.
"""

from typing import Any

import numpy as np

from kseg.data.samples import Size
from kseg.errors import DataError

OUTSIDE = 0.1
"""Of the longer side: a point may lie this far outside the picture, as tools leave it. Farther out, the outline is of
another picture, or of this one at another size or turned."""

LONGEST = 2_000_000
"""Pixels along an outline. pycocotools needs some 80 bytes for each, and crashes the process where it gets none."""


def points(coordinates: Any) -> np.ndarray:
    """x and y of points, float64 (N, 2), from pairs or from one flat list. Raises DataError if they are no numbers."""
    try:
        found = np.asarray(coordinates, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DataError("coordinates that are no pairs of numbers; draw it anew, or remove it") from None
    if found.ndim == 1 and found.size % 2 == 0:
        found = found.reshape(-1, 2)
    if found.ndim != 2 or found.shape[1] != 2:
        raise DataError("coordinates that are no pairs of numbers; draw it anew, or remove it")
    if not np.isfinite(found).all():
        raise DataError("a coordinate that is not finite; draw it anew, or remove it")
    return found


def polygons(rings: list[np.ndarray], size: Size) -> np.ndarray:
    """The union of polygons, float64 (N, 2) each, closed by themselves; where one crosses itself, by even and odd.

    A pixel belongs to a polygon if its centre does, to a fifth of a pixel, as in all of COCO's own tools
    (pycocotools). Raises DataError if a polygon has under three points, or points far outside the picture.
    """
    from pycocotools import mask as coco

    for ring in rings:
        _require_sound(ring, size)
    joined = coco.merge(coco.frPyObjects([ring.ravel() for ring in rings], *size))
    return runs(run_lengths(joined["counts"]), size[::-1]).T


def rectangle(first: np.ndarray, second: np.ndarray, rotation: float, size: Size) -> np.ndarray:
    """Between two opposite corners, turned about its middle by ``rotation`` degrees, clockwise as seen."""
    (left, top), (right, bottom) = first, second
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    middle = corners.mean(axis=0)
    return polygons([middle + (corners - middle) @ _turn(rotation).T], size)


def ellipse(centre: np.ndarray, radii: np.ndarray, rotation: float, size: Size) -> np.ndarray:
    """The pixels whose centre is in an ellipse; ``radii``, along x and y, before it is turned as a rectangle is."""
    if not (radii > 0).all():
        raise DataError(f"an ellipse with the radii {radii[0]:g} and {radii[1]:g}; draw it anew, or remove it")
    y, x = np.ogrid[0.5 : size[0], 0.5 : size[1]]
    y, x = y - centre[1], x - centre[0]
    (cosine, sine), _ = _turn(-rotation)
    with np.errstate(over="ignore"):  # of a radius next to nothing: infinitely far outside
        return np.hypot((cosine * x + sine * y) / radii[0], (cosine * y - sine * x) / radii[1]) <= 1


def place(top: int, left: int, extent: Size, size: Size) -> tuple[slice, slice]:
    """The rows and columns of a part of the picture. Raises DataError if it does not lie in it."""
    bottom, right = top + extent[0], left + extent[1]
    if not (0 <= top < bottom <= size[0] and 0 <= left < right <= size[1]):
        raise DataError(
            f"a mask of rows {top} to {bottom} and columns {left} to {right}, in a picture of {size[1]} x {size[0]} "
            "(width x height); is it one of another picture?"
        )
    return slice(top, bottom), slice(left, right)


def patch(pixels: np.ndarray, where: tuple[slice, slice], size: Size) -> np.ndarray:
    """bool (h, w) pixels, put in their place."""
    whole = np.zeros(size, bool)
    whole[where] = pixels
    return whole


def runs(lengths: Any, size: Size) -> np.ndarray:
    """Pixels row by row, bool ``size``, from the lengths of runs that are outside, inside, outside, ...

    Raises DataError unless they are whole numbers that fill the size.
    """
    try:
        counts = np.asarray(lengths)
        whole = counts.ndim == 1 and counts.dtype.kind in "iu" and counts.min(initial=0) >= 0
    except ValueError:
        whole = False
    if not whole:
        raise DataError("runs whose lengths are no whole numbers; draw it anew, or remove it")
    filled, wanted = int(counts.sum(dtype=np.float64)), size[0] * size[1]
    if filled != wanted:
        raise DataError(
            f"runs that fill {filled} pixels; there are {size[1]} x {size[0]} = {wanted}; draw it anew, or remove it"
        )
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size)


def run_lengths(text: bytes) -> np.ndarray:
    """Of COCO's compressed runs, column by column, int64 (N,), as ``rleToString`` of its ``maskApi.c`` writes them.

    A character, counted from ``"0"``, has five bits of a number, the lowest first, and a sixth if more follow; the
    highest bit is the sign. From the fourth number on, what stands there is the difference to the last but one.
    pycocotools itself fills a picture that the runs do not fill with whatever is in the memory; hence the numbers, for
    ``runs`` to check. Raises DataError if the text is no such thing.
    """
    bits = np.frombuffer(text, np.uint8).astype(np.int64) - ord("0")
    last = bits & 32 == 0
    starts = np.flatnonzero(np.append(True, last)[:-1])
    digits = np.diff(starts, append=len(bits))
    if not len(bits) or not last[-1] or bits.min() < 0 or bits.max() > 63 or digits.max() > 12:
        raise DataError("compressed runs that are none of COCO's; draw it anew, or remove it")
    shifts = 5 * (np.arange(len(bits)) - np.repeat(starts, digits))
    negative = bits[last] >> 4 & 1
    lengths = np.add.reduceat((bits & 31) << shifts, starts) - (negative << 5 * digits)
    lengths[1::2] = lengths[1::2].cumsum()
    lengths[2::2] = lengths[2::2].cumsum()
    return lengths


def _require_sound(ring: np.ndarray, size: Size) -> None:
    if len(ring) < 3:
        raise DataError(f"an outline of {len(ring)} points; it takes three; draw it anew, or remove it")
    slack = OUTSIDE * max(size)
    far = ((ring < -slack) | (ring > np.array(size[::-1]) + slack)).any(axis=1)
    if far.any():
        x, y = ring[far.argmax()]
        raise DataError(
            f"a point at ({x:g}, {y:g}), far outside the picture of {size[1]} x {size[0]} (width x height); "
            "is it of another picture, or of this one at another size or turned?"
        )
    length = np.abs(np.diff(ring, axis=0, append=ring[:1])).max(axis=1).sum()
    if length > LONGEST:
        raise DataError(f"an outline of {length:.0f} pixels' length; the limit is {LONGEST:,}; draw it anew, simpler")


def _turn(degrees: float) -> np.ndarray:
    """The rotation that takes x towards y: clockwise as seen, for y points downwards."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([(cosine, -sine), (sine, cosine)])
