"""Outlines: every function returns points float64 (n, 2), x to the right and y down."""

from collections.abc import Iterable, Sequence
from functools import cache

import cv2
import numpy as np

Point = Sequence[float] | np.ndarray
# Turns a step to the side: (x, y) becomes (-y, x).
QUARTER = np.array([(0.0, 1.0), (-1.0, 0.0)])
# Directions along four quarter circles, (24, 2): the corner at the right and below first, then around.
CORNERS = np.concatenate([np.linspace(0, np.pi / 2, 6) + k * np.pi / 2 for k in range(4)])
CORNERS = np.stack([np.cos(CORNERS), np.sin(CORNERS)], axis=1)


@cache
def _unit_circle(n: int) -> np.ndarray:
    angles = np.linspace(0.0, 2.0 * np.pi, n, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    circle.setflags(write=False)
    return circle


@cache
def _catmull_rom(steps: int) -> np.ndarray:
    """Weights (steps, 4) of four neighbouring control points for the curve between the middle two."""
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[:, None]
    powers = np.concatenate([np.ones_like(t), t, t**2, t**3], axis=1)
    basis = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], float)
    weights = powers @ basis
    weights.setflags(write=False)
    return weights


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0, n: int = 20) -> np.ndarray:
    """An ellipse; ``angle`` in radians turns its x axis towards its y axis."""
    points = _unit_circle(n) * (rx, ry)
    if angle:
        points = points @ turn(angle).T
    return points + np.array([x, y])


def turn(angle: float) -> np.ndarray:
    """The (2, 2) matrix that turns x towards y by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """An upright rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def rounded(x0: float, y0: float, x1: float, y1: float, radius: float) -> np.ndarray:
    """An upright rectangle with round corners."""
    radius = min(radius, abs(x1 - x0) / 2, abs(y1 - y0) / 2)
    inner = np.array([(x1 - radius, y1 - radius), (x0 + radius, y1 - radius),
                      (x0 + radius, y0 + radius), (x1 - radius, y0 + radius)])  # fmt: skip
    return np.repeat(inner, 6, axis=0) + radius * CORNERS


def smooth(points: Iterable[Point], steps: int = 5) -> np.ndarray:
    """The closed curve through all points, (n * steps, 2)."""
    knots = np.asarray(list(points), float)
    return _curve(np.concatenate([knots[-1:], knots, knots[:2]]), steps)


def smooth_line(points: Iterable[Point], steps: int = 5) -> np.ndarray:
    """The open curve through all points, ((n - 1) * steps + 1, 2)."""
    knots = np.asarray(list(points), float)
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    return np.concatenate([_curve(padded, steps), knots[-1:]])


def _curve(padded: np.ndarray, steps: int) -> np.ndarray:
    """Each stretch between the middle two of four consecutive points, ((n - 3) * steps, 2)."""
    n = len(padded) - 3
    neighbours = np.stack([padded[k : k + n] for k in range(4)], axis=1)
    curve: np.ndarray = (_catmull_rom(steps) @ neighbours).reshape(-1, 2)
    return curve


def limb(points: np.ndarray, radii: Sequence[float], caps: tuple[bool, bool] = (True, True)) -> list[np.ndarray]:
    """A tube through ``points`` (n, 2): one trapezium a bone and a disc a joint.

    ``caps`` says whether the first and the last end are round; a flat end is a cuff or a hem.
    """
    widths = np.asarray(radii)[:, None]
    steps = points[1:] - points[:-1]
    ahead = steps / (np.sqrt((steps**2).sum(axis=1, keepdims=True)) + 1e-9)
    across = ahead @ QUARTER
    bones = _ribbons(points[:-1], points[1:], across * widths[:-1], across * widths[1:])
    # A joint that hardly bends needs no disc.
    bends = (ahead[:-1] * ahead[1:]).sum(axis=1) < 0.995
    kept = [i for i, is_kept in enumerate((caps[0], *bends.tolist(), caps[1])) if is_kept]
    joints = _unit_circle(16) * widths[kept, None] + points[kept, None]
    return [*bones, *joints]


def tips(starts: np.ndarray, ends: np.ndarray, radius: float) -> list[np.ndarray]:
    """Straight tubes of one thickness, open where they start and round where they end, (n, 2) each."""
    steps = ends - starts
    across = steps @ QUARTER * (radius / (np.sqrt((steps**2).sum(axis=1, keepdims=True)) + 1e-9))
    return [*_ribbons(starts, ends, across, across), *(_unit_circle(16) * radius + ends[:, None])]


def _ribbons(p: np.ndarray, q: np.ndarray, near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Trapeziums (n, 4, 2) from ``p`` to ``q`` that reach ``near`` and ``far`` to both sides."""
    corners = np.empty((len(p), 4, 2))
    corners[:, 0], corners[:, 1], corners[:, 2], corners[:, 3] = p + near, q + far, q - far, p - near
    return corners


def hull(points: np.ndarray) -> np.ndarray:
    """The convex outline around points (n, 2)."""
    outline: np.ndarray = cv2.convexHull(points.astype(np.float32))[:, 0].astype(float)
    return outline


def along(points: np.ndarray, radii: Sequence[float], start: float, stop: float) -> tuple[np.ndarray, list[float]]:
    """The part of a tube between two places, counted in bones from 0 to n - 1."""
    places = [start, *[float(i) for i in range(len(points)) if start < i < stop], stop]
    bones = np.arange(len(points))
    xy = np.stack([np.interp(places, bones, points[:, k]) for k in range(2)], axis=1)
    return xy, [float(r) for r in np.interp(places, bones, radii)]
