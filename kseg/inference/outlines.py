"""The shapes of regions as numbers: outlines along the corners of pixels, and COCO's run lengths."""

from typing import NamedTuple

import cv2
import numpy as np


class Polygon(NamedTuple):
    """An outline and the outlines of the holes in it, each int32 (N, 2), x and y, not closed by its first point.

    Points lie on the corners of pixels, not on their centres: the pixel in row 0 and column 0 is the square from
    (0, 0) to (1, 1), and the area inside the outline, less its holes, is the number of pixels.
    """

    outer: np.ndarray
    holes: tuple[np.ndarray, ...]


def outline(inside: np.ndarray, tolerance: float) -> list[Polygon]:
    """The outlines of a bool (H, W) region's parts, which touch over corners, too.

    ``tolerance``: see ``Segmentation.polygons``.
    """
    left, top, across, down = cv2.boundingRect(inside.astype(np.uint8))
    if not across:
        return []
    # OpenCV's outlines run through the centres of pixels. On a mask of twice the size, each pixel being four, they pass
    # every corner of a pixel on the inside, within half a pixel: rounding finds it.
    doubled = inside[top : top + down, left : left + across].astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parents = hierarchy[0, :, 3].tolist()
    rings = [_simplified(_corners(contour[:, 0]) + np.array([left, top]), tolerance) for contour in contours]
    holes: dict[int, list[np.ndarray]] = {}
    for ring, parent in zip(rings, parents, strict=True):
        if parent >= 0 and len(ring) >= 3:
            holes.setdefault(parent, []).append(ring)
    return [
        Polygon(ring, tuple(holes.get(number, ())))
        for number, (ring, parent) in enumerate(zip(rings, parents, strict=True))
        if parent < 0 and len(ring) >= 3
    ]


def _corners(contour: np.ndarray) -> np.ndarray:
    """The corners of pixels that an outline on the doubled mask turns at: int32 (N, 2)."""
    points = (contour + 1) // 2
    return points[(points != np.roll(points, 1, axis=0)).any(axis=1)]


def _simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """A ring with fewer points, nowhere further off than the tolerance: int32 (N, 2)."""
    ring = ring.astype(np.int32)
    return cv2.approxPolyDP(ring[:, None], tolerance, True)[:, 0] if tolerance > 0 else ring


def run_lengths(positions: np.ndarray, size: int) -> list[int]:
    """COCO's run-length code of the ascending ``positions`` of ``size``: lengths outside, inside, outside, ..."""
    last = np.flatnonzero(np.diff(positions) > 1)
    starts = positions[np.concatenate([[0], last + 1])]
    ends = positions[np.concatenate([last, [-1]])] + 1
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=size).tolist()
    return counts if counts[-1] else counts[:-1]
