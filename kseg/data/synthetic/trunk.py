"""The trunk as a surface: its outline from any side, and places on its front.

Units are the person's stature; places on the spine run from 0, the hips, to 1, the base of the neck.
"""

from dataclasses import dataclass

import numpy as np

from kseg.data.synthetic.pose import Build, Skeleton, flat
from kseg.data.synthetic.shapes import smooth_line

# The torso: place on the spine (0 hips, 1 base of the neck), half width, half depth.
TORSO = np.array([
    (-0.16, 0.078, 0.066), (0.00, 0.089, 0.074), (0.18, 0.080, 0.066), (0.34, 0.073, 0.060), (0.55, 0.086, 0.070),
    (0.72, 0.098, 0.074), (0.82, 0.101, 0.062), (0.89, 0.090, 0.052), (0.945, 0.060, 0.044), (1.00, 0.034, 0.034),
])  # fmt: skip


@dataclass(frozen=True)
class Trunk:
    """A body's trunk, from its proportions and its joints."""

    build: Build
    bones: Skeleton

    def outline(self, start: float, stop: float, extra: float) -> tuple[np.ndarray, np.ndarray]:
        """Left and right edges (n, 2) of the torso between two places on the spine, ``extra`` wider than bare."""
        build, bones = self.build, self.bones
        inner = TORSO[(TORSO[:, 0] > start) & (TORSO[:, 0] < stop), 0]
        places = np.array([start, *inner, stop])
        width = np.interp(places, TORSO[:, 0], TORSO[:, 1]) * build.girth
        depth = np.interp(places, TORSO[:, 0], TORSO[:, 2]) * build.girth
        waist = np.exp(-(((places - 0.25) / 0.22) ** 2))
        width *= 1 + build.curve * np.interp(places, (0.1, 0.4, 0.9), (0.07, -0.08, -0.07)) + 0.3 * build.belly * waist
        depth *= 1 + build.belly * waist
        width *= np.interp(places, (0.4, 0.8), (1, build.shoulders / build.girth**0.4))
        # The spine bends between hips and neck like the curve that leaves along the lower axis.
        spine = bones.pelvis + np.outer(places, bones.neck - bones.pelvis)
        spine += np.outer(waist * 0.35 * build.belly * 0.07, bones.torso[2])
        right, forward = (flat(bones.torso[k]) for k in (0, 2))
        direction = flat(bones.neck - bones.pelvis)
        across = np.array([-direction[1], direction[0]]) / max(1e-6, float(np.hypot(*direction)))
        half = np.hypot(width * (right @ across), depth * (forward @ across)) + extra
        edge = half[:, None] * across
        return flat(spine) - edge, flat(spine) + edge

    def wrap(self, start: float, stop: float, extra: float) -> np.ndarray:
        """The outline (n, 2) of a band around the trunk."""
        left, right = self.outline(start, stop, extra)
        return np.concatenate([smooth_line(left, 4), smooth_line(right, 4)[::-1]])

    def front(self, points: list[tuple[float, float]]) -> np.ndarray:
        """Points (n, 2) on the chest, each given as half widths from the middle and a place on the spine."""
        x, place = np.array(points, float).T
        width = np.interp(place, TORSO[:, 0], TORSO[:, 1]) * self.build.girth
        depth = np.interp(place, TORSO[:, 0], TORSO[:, 2]) * self.build.girth * np.sqrt(np.maximum(0, 1 - x * x))
        bones = self.bones
        spine = bones.pelvis + np.outer(place, bones.neck - bones.pelvis)
        return flat(spine + np.outer(x * width, bones.torso[0]) + np.outer(depth, bones.torso[2]))
