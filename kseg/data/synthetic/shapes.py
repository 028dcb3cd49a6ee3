"""Outlines: every function returns points float64 (n, 2), x to the right and y down."""

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

Point = Sequence[float] | np.ndarray


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
    return points + (x, y)


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
    corners = np.repeat([(x1 - radius, y1 - radius), (x0 + radius, y1 - radius),
                         (x0 + radius, y0 + radius), (x1 - radius, y0 + radius)], 6, axis=0)  # fmt: skip
    angles = np.concatenate([np.linspace(a, a + np.pi / 2, 6) for a in np.arange(4) * np.pi / 2])
    return corners + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def smooth(points: Iterable[Point], steps: int = 5) -> np.ndarray:
    """The closed curve through all points, (n * steps, 2)."""
    knots = np.asarray(list(points), float)
    stacked = np.stack([np.roll(knots, 1, 0), knots, np.roll(knots, -1, 0), np.roll(knots, -2, 0)])
    return np.einsum("sk,knd->nsd", _catmull_rom(steps), stacked).reshape(-1, 2)


def smooth_line(points: Iterable[Point], steps: int = 5) -> np.ndarray:
    """The open curve through all points, ((n - 1) * steps + 1, 2)."""
    knots = np.asarray(list(points), float)
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    stacked = np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]])
    curve = np.einsum("sk,knd->nsd", _catmull_rom(steps), stacked).reshape(-1, 2)
    return np.concatenate([curve, knots[-1:]])


def limb(
    points: np.ndarray, radii: Sequence[float], caps: tuple[bool, bool] = (True, True)
) -> list[np.ndarray]:
    """A tube through ``points`` (n, 2): one trapezium a bone and a disc a joint.

    ``caps`` says whether the first and the last end are round; a flat end is a cuff or a hem.
    """
    shapes = []
    steps = np.diff(points, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    for i, (step, length) in enumerate(zip(steps, lengths, strict=True)):
        if length > 1e-6:
            across = np.array([-step[1], step[0]]) / length
            p, q = points[i], points[i + 1]
            a, b = across * radii[i], across * radii[i + 1]
            shapes.append(np.array([p + a, q + b, q - b, p - a]))
    first, last = 0 if caps[0] else 1, len(points) if caps[1] else len(points) - 1
    shapes += [_unit_circle(16) * radii[i] + points[i] for i in range(first, last)]
    return shapes


def along(
    points: np.ndarray, radii: Sequence[float], start: float, stop: float
) -> tuple[np.ndarray, list[float]]:
    """The part of a tube between two places, counted in bones from 0 to n - 1."""
    places = [start, *[float(i) for i in range(len(points)) if start < i < stop], stop]
    bones = np.arange(len(points))
    xy = np.stack([np.interp(places, bones, points[:, k]) for k in range(2)], axis=1)
    return xy, [float(r) for r in np.interp(places, bones, radii)]
