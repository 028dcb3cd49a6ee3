"""A skeleton in space: how bodies stand, and where that puts their joints.

Axes: x to the picture's right, y down, z towards the viewer; one unit is the person's stature.
"""

from dataclasses import dataclass

import numpy as np

from kseg.data.synthetic.palette import Rng

# Shares of an adult's stature (7.3 heads high), from the proportions taught in figure drawing.
LEG = (0.245, 0.235)  # thigh, shin
ARM = (0.165, 0.140)  # upper arm, forearm; the hand adds 0.09
SPINE = 0.310  # hips to the base of the neck
FOOT = 0.105  # ankle to toes
SHOULDERS, HIPS = 0.090, 0.048  # from the middle to a joint
# The camera looks down a little: what is nearer appears this much lower.
PITCH = 0.14
PROJECTION = np.array([(1, 0), (0, 1), (0, PITCH)], float)


@dataclass(frozen=True)
class Pose:
    """Joint angles in degrees, all within what people can do.

    An arm is (forward, outward, bend of the elbow, twist: the bend goes forward at 0, outward at 90, inward at -90),
    a leg is (forward, outward, bend of the knee). ``views`` are the headings, seen from which the pose reads well:
    0 faces the viewer, 90 faces to the right. ``seat``: the hips rest on something.
    """

    arms: tuple[tuple[float, float, float, float], tuple[float, float, float, float]]
    legs: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0, 4, 3), (0, 4, 3))
    lean: float = 0.0
    tilt: float = 0.0
    views: tuple[float, float] = (-60, 60)
    weight: float = 1.0
    seat: bool = False
    airborne: float = 0.0


DOWN = (5.0, 10.0, 12.0, -20.0)
POSES: dict[str, Pose] = {
    "standing": Pose((DOWN, DOWN), weight=2.5, views=(-100, 100)),
    "at ease": Pose((DOWN, (-8, 46, 84, -82)), ((4, 10, 12), (-2, 3, 0)), tilt=3, weight=1.5),
    "hands on hips": Pose(((-8, 46, 84, -82), (-8, 46, 84, -82)), ((0, 9, 2), (0, 9, 2))),
    "in pockets": Pose(((-12, 14, 38, -40), (-12, 14, 38, -40)), ((2, 6, 4), (-2, 4, 2)), weight=1.5),
    "walking": Pose(((26, 6, 22, 0), (-24, 8, 14, 0)), ((-20, 2, 20), (24, 2, 5)), 3, views=(30, 115), weight=2.5),
    "strolling": Pose(((14, 8, 20, -20), (-12, 9, 12, 0)), ((-10, 3, 18), (14, 3, 4)), 2, views=(-50, 50), weight=1.5),
    "running": Pose(((46, 8, 95, -10), (-48, 12, 85, 0)), ((-24, 2, 72), (58, 2, 76)), 12, views=(45, 110), weight=1.2),
    "waving": Pose((DOWN, (5, 78, 92, 90)), ((0, 5, 3), (0, 4, 2)), tilt=-2, weight=1.6),
    "cheering": Pose(((5, 142, 22, 90), (5, 150, 16, 90)), ((0, 9, 4), (0, 9, 4)), weight=1.2),
    "arms wide": Pose(((0, 88, 6, 90), (0, 84, 8, 90)), ((0, 8, 2), (0, 8, 2))),
    "pointing": Pose((DOWN, (10, 86, 4, 0)), ((0, 6, 3), (2, 5, 5)), weight=0.8),
    "arms crossed": Pose(((22, 14, 102, -58), (28, 14, 104, -60)), ((0, 5, 2), (3, 8, 8)), weight=1.2),
    "telephoning": Pose((DOWN, (18, 26, 138, -24)), ((0, 4, 2), (4, 6, 8)), weight=1.2),
    "thinking": Pose(((20, 8, 88, -72), (30, 4, 132, -12)), ((0, 5, 2), (3, 6, 8))),
    "reading": Pose(((24, 8, 88, -28), (24, 8, 88, -28)), views=(-75, 75), lean=4),
    "reaching": Pose(((78, 8, 14, 0), (64, 8, 30, 0)), ((-6, 3, 2), (12, 3, 8)), 8, views=(40, 100), weight=0.7),
    "bending": Pose(((42, 6, 12, 0), (34, 6, 10, 0)), ((-4, 3, 4), (6, 4, 8)), 66, views=(65, 105), weight=0.9),
    "squatting": Pose(((62, 10, 34, 0), (58, 8, 40, -20)), ((104, 12, 128), (98, 10, 126)), 26, views=(35, 100)),
    "kneeling": Pose(((24, 8, 40, -30), (36, 8, 50, 0)), ((88, 5, 92), (-6, 4, 84)), 4, views=(35, 100), weight=0.8),
    "lunging": Pose(((5, 84, 6, 0), (0, 80, 10, 90)), ((52, 5, 56), (-34, 6, 8)), 2, views=(40, 95), weight=0.7),
    "sitting": Pose(((34, 10, 42, -20), (30, 10, 40, -24)), ((84, 7, 82), (80, 8, 84)), 2,
                    views=(25, 95), weight=1.8, seat=True),
    "sitting, leaning in": Pose(((46, 10, 62, -30), (50, 8, 70, -30)), ((84, 12, 84), (86, 12, 80)), 28,
                                views=(40, 95), weight=0.8, seat=True),
    "dancing": Pose(((4, 128, 36, 90), (10, 52, 62, -40)), ((18, 16, 40), (-2, 12, 4)), 2, 9, weight=1.2),
    "jumping": Pose(((20, 132, 28, 90), (10, 120, 30, 90)), ((38, 14, 66), (14, 16, 52)), 4, airborne=0.09),
    "side stretch": Pose(((0, 162, 22, 90), (-4, 42, 70, -82)), ((0, 14, 2), (0, 14, 2)), tilt=16, weight=0.7),
}  # fmt: skip


@dataclass(frozen=True)
class Build:
    """A body's proportions, as factors of an adult of middle weight.

    ``heads`` is the stature in heads, ``legs`` and ``girth`` scale lengths and widths, ``curve`` runs from -1
    (broad shoulders) to 1 (broad hips), ``belly`` is added depth.
    """

    heads: float
    legs: float
    girth: float
    shoulders: float
    curve: float
    belly: float

    @classmethod
    def random(cls, rng: Rng, child: bool) -> "Build":
        """Anyone: thin to heavy, and children with their larger heads."""
        girth = float(np.clip(rng.normal(1.0, 0.14), 0.78, 1.42))
        belly = max(0.0, girth - 1.0) * rng.uniform(0.2, 1.0)
        if child:
            return cls(rng.uniform(5.0, 6.1), rng.uniform(0.86, 0.93), girth * 1.06, 0.92, 0.0, belly)
        return cls(rng.uniform(6.7, 7.5), rng.uniform(0.97, 1.04), girth, rng.uniform(0.93, 1.1),
                   rng.uniform(-1, 1), belly)  # fmt: skip


@dataclass(frozen=True)
class Skeleton:
    """Joints (3,) or, for pairs, (2, 3): first the side at the picture's left when facing the viewer.

    ``torso`` and ``head`` hold axes as rows (3, 3): the body's right-of-picture, down and forward directions.
    """

    torso: np.ndarray
    head: np.ndarray
    heading: float
    pelvis: np.ndarray
    neck: np.ndarray
    shoulders: np.ndarray
    elbows: np.ndarray
    wrists: np.ndarray
    hips: np.ndarray
    knees: np.ndarray
    ankles: np.ndarray
    toes: np.ndarray
    hands: np.ndarray

    @property
    def lowest(self) -> float:
        """The height, downwards, of what stands on the ground."""
        return float(max(flat(self.ankles)[:, 1].max() + 0.03, flat(self.toes)[:, 1].max() + 0.015))


def flat(points: np.ndarray) -> np.ndarray:
    """Points in space (..., 3) as seen in the picture (..., 2)."""
    seen: np.ndarray = points @ PROJECTION
    return seen


def axes(heading: float, lean: float = 0.0, tilt: float = 0.0) -> np.ndarray:
    """Rows: right, down and forward of something that leans forward, tilts sideways, then turns; radians."""
    (cl, sl), (ct, st), (ch, sh) = ((np.cos(a), np.sin(a)) for a in (lean, tilt, heading))
    tilted = np.array([(ct, st, 0), (-st, ct, 0), (0, 0, 1)])
    leaned = np.array([(1, 0, 0), (0, cl, -sl), (0, sl, cl)])
    turned = np.array([(ch, 0, -sh), (0, 1, 0), (sh, 0, ch)])
    turned_all: np.ndarray = tilted @ leaned @ turned
    return turned_all


@dataclass(frozen=True)
class HeadView:
    """Where a head is: ``centre`` (3,) and ``size`` in the body's units, ``axes`` (3, 3) as rows."""

    centre: np.ndarray
    axes: np.ndarray
    size: float

    @classmethod
    def of(cls, bones: Skeleton, heads: float) -> "HeadView":
        """The head on top of a skeleton's neck."""
        size = 1.0 / heads
        centre = bones.neck - bones.torso[1] * 0.03 - bones.head[1] * (size * 0.44) + bones.head[2] * (size * 0.08)
        return cls(centre, bones.head, size)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Points of the head (n, 3) in the picture (n, 2)."""
        return flat(self.centre + (points * self.size) @ self.axes)

    def facing(self, direction: np.ndarray) -> float:
        """How much a direction of the head points to the viewer, from -1 to 1."""
        return float((direction @ self.axes)[2] / np.linalg.norm(direction))


def pose_skeleton(rng: Rng, pose: Pose, build: Build, heading: float) -> Skeleton:
    """The joints of one body in a pose, every angle a little different each time. ``heading`` in degrees."""
    heading, lean = np.radians(heading), np.radians(pose.lean + rng.normal(0, 2))
    tilt = np.radians(pose.tilt + rng.normal(0, 2))
    ground = axes(heading)
    torso = axes(heading, lean, tilt)
    # The lower half of the spine bends half as far as the upper.
    lower = axes(heading, lean * 0.7, tilt * 0.5)
    pelvis = np.zeros(3)
    neck = -SPINE * (0.45 * lower[1] + 0.55 * torso[1])
    shoulders, elbows, wrists, hands = [], [], [], []
    hips, knees, ankles, toes = [], [], [], []
    sides = (-1.0, 1.0)
    for side, arm, leg in zip(sides, pose.arms, pose.legs, strict=True):
        width = SHOULDERS * build.shoulders * (1 - 0.07 * build.curve)
        shoulder = neck + torso[1] * 0.054 + torso[0] * (side * width)
        upper, fore = _arm(np.radians(np.asarray(arm) + rng.normal(0, 5, 4)), side)
        shoulders.append(shoulder)
        elbows.append(shoulder + ARM[0] * (upper @ ground))
        wrists.append(elbows[-1] + ARM[1] * (fore @ ground))
        hands.append(wrists[-1] + 0.05 * (fore @ ground))
        hip = pelvis + lower[0] * (side * HIPS * (1 + 0.1 * build.curve)) + np.array([0, 0.01, 0])
        thigh, shin, foot = _leg(np.radians(np.asarray(leg) + rng.normal(0, 2.5, 3)), side)
        hips.append(hip)
        knees.append(hip + LEG[0] * build.legs * (thigh @ ground))
        ankles.append(knees[-1] + LEG[1] * build.legs * (shin @ ground))
        toes.append(ankles[-1] + FOOT * (foot @ ground))
    look = axes(heading + np.radians(rng.normal(0, 16)), lean * 0.45 + np.radians(rng.normal(2, 6)),
                tilt * 0.5 + np.radians(rng.normal(0, 5)))  # fmt: skip
    pairs = [np.array(p) for p in (shoulders, elbows, wrists, hips, knees, ankles, toes, hands)]
    return Skeleton(torso, look, float(heading), pelvis, neck, *pairs)


def _arm(angles: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the upper arm and the forearm in the body's own axes."""
    forward, outward, bend, twist = angles
    bend = max(float(bend), 0.02)  # an elbow does not bend backwards
    (cf, sf), (co, so) = (np.cos(forward), np.sin(forward)), (np.cos(outward), np.sin(outward))
    upper = np.array([side * so, co * cf, co * sf])
    ahead = np.array([0, -sf, cf])
    out = np.array([side * co, -so * cf, -so * sf])
    fore = np.cos(bend) * upper + np.sin(bend) * (np.cos(twist) * ahead + np.sin(twist) * out)
    return upper, fore


def _leg(angles: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of thigh, shin and foot in the body's own axes."""
    forward, outward, bend = angles
    low = forward - max(float(bend), 0.0)  # a knee bends only backwards
    thigh = np.array([side * np.sin(outward), np.cos(outward) * np.cos(forward), np.cos(outward) * np.sin(forward)])
    spread = outward * 0.5
    shin = np.array([side * np.sin(spread), np.cos(spread) * np.cos(low), np.cos(spread) * np.sin(low)])
    # The foot stays flatter than a right angle to the shin would make it, and points a little outwards.
    pitch = low * 0.6 - 0.12
    foot = np.array([side * 0.35, -np.sin(pitch), np.cos(pitch)])
    return thigh, shin, foot / np.linalg.norm(foot)
