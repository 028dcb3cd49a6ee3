"""People: a skeleton, dressed, as pieces to be painted from back to front.

Units are the person's stature; the origin is the middle of the hips. The pieces' labels index PARTS.
"""

from dataclasses import dataclass, replace

import numpy as np

from kseg.data.synthetic.canvas import Colour, Mark, Material, Piece
from kseg.data.synthetic.head import Face, View, head_pieces, neck_piece
from kseg.data.synthetic.palette import (
    DENIM,
    Rng,
    cloth,
    cloth_colour,
    mixed,
    pick,
    shade,
    skin_tone,
    varied,
    weighted,
)
from kseg.data.synthetic.pose import POSES, Build, Pose, Skeleton, flat, pose_skeleton
from kseg.data.synthetic.shapes import along, ellipse, limb, smooth

UPPER, LOWER, LIMBS = 2, 3, 4

# The torso: place on the spine (0 hips, 1 base of the neck), half width, half depth.
TORSO = np.array([
    (-0.16, 0.078, 0.066), (0.00, 0.089, 0.074), (0.18, 0.080, 0.066), (0.34, 0.073, 0.060), (0.55, 0.086, 0.070),
    (0.74, 0.101, 0.074), (0.88, 0.112, 0.058), (0.95, 0.088, 0.046), (1.01, 0.045, 0.038),
])  # fmt: skip
# Half widths of bare limbs, from the body outwards, at the joints and halfway between.
ARM_WIDTHS = (0.030, 0.028, 0.022, 0.022, 0.015)
LEG_WIDTHS = (0.056, 0.050, 0.034, 0.036, 0.020)


@dataclass(frozen=True)
class Outfit:
    """Clothes. Lengths of sleeves and legs are counted in bones: 0 none, 1 elbow or knee, 2 wrist or ankle."""

    top: str
    sleeves: float
    hem: float
    upper: Material
    inner: Material
    bottom: str
    legs: float
    lower: Material
    loose: float
    shoes: Colour

    @classmethod
    def random(cls, rng: Rng) -> "Outfit":
        """Any sensible combination."""
        top = weighted(
            rng, {"t-shirt": 3, "sweater": 2, "shirt": 2, "jacket": 2, "tank": 0.8, "coat": 0.8, "dress": 1.3}
        )
        sleeves = {"t-shirt": rng.uniform(0.45, 0.85), "tank": 0.0, "dress": pick(rng, (0.0, 0.5, 1.95))}.get(
            top, 1.95
        )
        if top == "shirt" and rng.uniform() < 0.3:
            sleeves = rng.uniform(0.8, 1.3)
        bottom = "dress" if top == "dress" else weighted(rng, {"trousers": 6, "shorts": 2, "skirt": 2})
        legs = {"trousers": rng.uniform(1.8, 1.97), "shorts": rng.uniform(0.5, 0.95)}.get(
            bottom, rng.uniform(0.7, 1.5)
        )
        upper = cloth(rng, 0.1, 0.3 if top in ("jacket", "coat") else 0.55)
        lower = Material(varied(rng, pick(rng, DENIM), 12)) if rng.uniform() < 0.35 else cloth(rng, 0.1, 0.25)
        hem = {"coat": -0.62, "tank": 0.08}.get(top, rng.uniform(-0.12, 0.12))
        return cls(top, float(sleeves), hem, upper, Material(cloth_colour(rng)), bottom, float(legs),
                   upper if bottom == "dress" else lower, rng.uniform(1.0, 1.25),
                   varied(rng, pick(rng, ((40, 36, 36), (90, 60, 40), (232, 228, 222), (60, 70, 96), (170, 56, 50))), 14))  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One person: everything but the place in the picture."""

    pose: Pose
    build: Build
    bones: Skeleton
    outfit: Outfit
    face: Face
    skin: Colour
    child: bool

    @classmethod
    def random(cls, rng: Rng, child: bool = False, standing: bool = False) -> "Figure":
        """Anyone in any pose; ``standing`` leaves out poses that are low or in the air."""
        poses = {n: p.weight for n, p in POSES.items()
                 if not standing or not (p.seat or p.airborne or p.lean > 20 or n == "kneeling")}  # fmt: skip
        pose = POSES[weighted(rng, poses)]
        if rng.uniform() < 0.5:
            pose = replace(pose, arms=pose.arms[::-1], legs=pose.legs[::-1], tilt=-pose.tilt)
        heading = rng.uniform(*pose.views)
        if pose.views[0] > 0 and rng.uniform() < 0.5:
            heading = -heading
        if not pose.seat and rng.uniform() < 0.12:
            heading = 180 - heading  # seen from behind
        build = Build.random(rng, child)
        skin = skin_tone(rng)
        face = Face.random(rng, skin, build.curve, child)
        bones = pose_skeleton(rng, pose, build, heading)
        return cls(pose, build, bones, Outfit.random(rng), face, skin, child)

    @property
    def top(self) -> float:
        """The height of the crown above the hips, as a negative y."""
        view = View.of(self.bones, self.build.heads)
        return float(flat(view.centre)[1] - 0.5 * view.size)

    def pieces(self, rng: Rng) -> list[Piece]:
        """All pieces, the farthest first."""
        bones, view = self.bones, View.of(self.bones, self.build.heads)
        behind, front = head_pieces(rng, view, self.face)
        arms, legs = [self._arm(i) for i in (0, 1)], [self._leg(i) for i in (0, 1)]
        middle = bones.neck[2] * 0.6
        near = [bool((bones.elbows[i, 2] + bones.wrists[i, 2]) / 2 > middle - 0.035) for i in (0, 1)]
        # Thighs that come towards the viewer hide the lap; all others go under the shirt.
        lap = [bool(bones.knees[i, 2] - bones.hips[i, 2] > 0.12) for i in (0, 1)]
        legs_in_order = sorted((0, 1), key=lambda i: float(bones.knees[i, 2] + bones.ankles[i, 2]))
        away = bool(np.cos(bones.heading) < -0.2)
        order: list[Piece] = []
        order += [] if away else behind
        order += [p for i in (0, 1) if not near[i] for p in arms[i]]
        order += [p for i in legs_in_order if not lap[i] for p in legs[i]]
        order += self._hips() + [p for i in legs_in_order if lap[i] for p in legs[i]] + self._skirt()
        order += [neck_piece(bones, view, self.face, self.build.girth), *self._torso()]
        order += behind if away else []
        order += front
        arms_in_order = sorted((0, 1), key=lambda i: float(bones.wrists[i, 2]))
        return order + [p for i in arms_in_order if near[i] for p in arms[i]]

    def _outline(self, start: float, stop: float, extra: float) -> tuple[np.ndarray, np.ndarray]:
        """Left and right edges (n, 2) of the torso between two places on the spine, ``extra`` wider than bare."""
        build, bones = self.build, self.bones
        inner = TORSO[(TORSO[:, 0] > start) & (TORSO[:, 0] < stop), 0]
        places = np.array([start, *inner, stop])
        width = np.interp(places, TORSO[:, 0], TORSO[:, 1]) * build.girth
        depth = np.interp(places, TORSO[:, 0], TORSO[:, 2]) * build.girth
        waist = np.exp(-(((places - 0.25) / 0.22) ** 2))
        width *= (
            1
            + build.curve * np.interp(places, (0.1, 0.4, 0.9), (0.07, -0.08, -0.07))
            + 0.3 * build.belly * waist
        )
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

    def _wrap(self, start: float, stop: float, extra: float) -> np.ndarray:
        left, right = self._outline(start, stop, extra)
        return np.concatenate([left, right[::-1]])

    def _frame(self, material: Material, a: np.ndarray, b: np.ndarray) -> Material:
        """The material laid along the line from ``a`` to ``b`` (2,), so that its pattern follows the body."""
        angle = float(np.arctan2(b[1] - a[1], b[0] - a[0]) - np.pi / 2)
        return replace(material, angle=material.angle + angle, origin=(float(a[0]), float(a[1])))

    def _torso(self) -> list[Piece]:
        outfit, bones = self.outfit, self.bones
        shoulders, hips = flat(bones.neck), flat(bones.pelvis)
        extra = 0.004 * outfit.loose + (0.008 if outfit.top in ("jacket", "coat", "sweater") else 0.0)
        hem = 0.2 if outfit.top == "dress" else outfit.hem
        shapes = [self._soft_wrap(hem, extra)]
        if outfit.top == "coat":
            shapes += [s for i in (0, 1) for s in self._tube(i, outfit.loose * 1.1, 0.0, 0.75)]
        material = self._frame(outfit.upper, shoulders, hips)
        shirt = Piece(shapes, material, UPPER, 0.055, overhang=0.2, marks=self._torso_marks(hem))
        return [shirt, *self._neckline()]

    def _soft_wrap(self, hem: float, extra: float) -> np.ndarray:
        left, right = self._outline(hem, 0.985, extra)
        knots = np.concatenate([left, right[::-1]])
        return np.concatenate([smooth(knots)[: 5 * (len(left) - 1)], left[-1:],
                               smooth(knots)[5 * len(left) : 5 * (len(knots) - 1)], right[:1]])  # fmt: skip

    def _front(self, x: float, place: float) -> np.ndarray:
        """A point (2,) on the chest: ``x`` half widths from the middle, at a place on the spine."""
        width = float(np.interp(place, TORSO[:, 0], TORSO[:, 1])) * self.build.girth
        depth = float(np.interp(place, TORSO[:, 0], TORSO[:, 2])) * self.build.girth
        bones = self.bones
        spine = bones.pelvis + place * (bones.neck - bones.pelvis)
        across = x * width * bones.torso[0] + depth * np.sqrt(max(0.0, 1 - x * x)) * bones.torso[2]
        return flat(spine + across)

    def _torso_marks(self, hem: float) -> list[Mark]:
        """Folds, and what the garment has in front: buttons, an opening, a print."""
        outfit, colour = self.outfit, self.outfit.upper.colour
        dark, light = shade(colour, 0.72), mixed(colour, (255, 255, 255), 0.35)
        marks = [
            Mark(np.array([self._front(x, 0.30), self._front(x * 0.8, 0.12)]), dark, 0.004)
            for x in (-0.6, 0.5)
        ]
        if np.cos(self.bones.heading) < 0.1:
            return marks
        places = np.linspace(max(hem, -0.1), 0.97, 7)
        if outfit.top in ("jacket", "coat"):
            left = [self._front(-0.03 - 0.28 * max(0, p - 0.3), p) for p in places]
            right = [self._front(0.03 + 0.28 * max(0, p - 0.3), p) for p in places[::-1]]
            inner = Mark(np.array(left + right), outfit.inner.colour)
            edges = [Mark(np.array(edge), dark, 0.006) for edge in (left, right)]
            marks += [inner, *edges]
        elif outfit.top == "shirt":
            marks.append(Mark(np.array([self._front(0.0, p) for p in places]), dark, 0.004))
            marks += [Mark(ellipse(*self._front(0.04, p), 0.0045, 0.0045, n=8), light) for p in places[1:]]
        elif outfit.top == "t-shirt" and outfit.upper.tile is None:
            print_ = np.array(
                [self._front(x, p) for x, p in ((-0.3, 0.6), (-0.3, 0.76), (0.3, 0.76), (0.3, 0.6))]
            )
            marks.append(Mark(smooth(print_), outfit.inner.colour))
        if outfit.top == "sweater":
            band = np.concatenate([np.array([self._front(x, hem + 0.05) for x in np.linspace(-1, 1, 7)])])
            marks.append(Mark(band, dark, 0.006))
        return marks

    def _neckline(self) -> list[Piece]:
        """Skin below the neck where the garment leaves it bare, and a collar."""
        if np.cos(self.bones.heading) < 0.05:
            return []
        outfit = self.outfit
        depth = {"tank": 0.80, "dress": 0.80, "t-shirt": 0.89, "shirt": 0.84, "sweater": 0.93}.get(
            outfit.top, 0.84
        )
        wide = 0.5 if outfit.top in ("tank", "dress") else 0.36
        throat = smooth([self._front(-wide, 0.985), self._front(-wide * 0.55, (depth + 0.98) / 2), self._front(0, depth),
                         self._front(wide * 0.55, (depth + 0.98) / 2), self._front(wide, 0.985), self._front(0, 1.05)])  # fmt: skip
        pieces = [Piece([throat], Material(shade(self.skin, 0.93)), 1)]
        if outfit.top in ("shirt", "jacket", "coat"):
            material = Material(mixed(outfit.upper.colour, (255, 255, 255), 0.12))
            for side in (-1, 1):
                collar = np.array(
                    [
                        self._front(side * x, p)
                        for x, p in ((0.40, 1.03), (0.55, 0.95), (0.3, 0.82), (0.02, 0.86))
                    ]
                )
                pieces.append(Piece([collar], material, UPPER, 0.008, overhang=0.15))
        return pieces

    def _hips(self) -> list[Piece]:
        if self.outfit.bottom in ("skirt", "dress"):
            return []
        belt = self._wrap(0.2, 0.26, 0.002)
        marks = [Mark(belt, shade(self.outfit.lower.colour, 0.55))]
        material = self._frame(
            self.outfit.lower, flat(self.bones.pelvis), flat(self.bones.hips.mean(0) + [0, 0.2, 0])
        )
        shapes = [
            self._wrap(-0.14, 0.26, 0.002),
            *limb(flat(self.bones.hips), (0.052 * self.build.girth,) * 2),
        ]
        return [Piece(shapes, material, LOWER, 0.04, marks=marks)]

    def _tube(self, i: int, loose: float, start: float, stop: float) -> list[np.ndarray]:
        """One leg's cloth, with a flat hem; ``loose`` also keeps it from narrowing as much as the leg does."""
        points, widths = self._leg_line(i)
        wide = [max(w, widths[0] * 0.35 * loose) * (0.9 + 0.13 * loose) for w in widths]
        xy, radii = along(points, wide, start * 2, stop * 2)
        return limb(xy, radii, (True, False))

    def _leg_line(self, i: int) -> tuple[np.ndarray, list[float]]:
        bones = self.bones
        joints = np.array([bones.hips[i], bones.knees[i], bones.ankles[i]])
        line = np.array(
            [joints[0], joints[:2].mean(0), joints[1], joints[1] * 0.65 + joints[2] * 0.35, joints[2]]
        )
        return flat(line), [w * (0.35 + 0.65 * self.build.girth) for w in LEG_WIDTHS]

    def _leg(self, i: int) -> list[Piece]:
        outfit = self.outfit
        points, widths = self._leg_line(i)
        pieces = [
            Piece(limb(points, widths), Material(shade(self.skin, 0.97)), LIMBS, 0.03, overhang=0.25),
            self._shoe(i),
        ]
        if outfit.bottom in ("trousers", "shorts"):
            shapes = self._tube(i, outfit.loose, 0.0, outfit.legs)
            material = self._frame(outfit.lower, points[0], points[2])
            crease = Mark(points[1:4] + 0.004, shade(outfit.lower.colour, 0.85), 0.004)
            pieces.append(Piece(shapes, material, LOWER, 0.036, overhang=0.25, marks=[crease]))
        return pieces

    def _shoe(self, i: int) -> Piece:
        """Heel, ball and toes as one hull, with a sole along the ground."""
        bones = self.bones
        down = np.array([0, 0.022, 0])
        ankle, ball = bones.ankles[i] + down, bones.ankles[i] * 0.35 + bones.toes[i] * 0.65 + down
        back = bones.ankles[i] - (bones.toes[i] - bones.ankles[i]) * 0.22 + down
        line = flat(np.array([back, ankle, ball, bones.toes[i] + down * 0.9]))
        shapes = limb(line, (0.019, 0.025, 0.024, 0.017)) + limb(
            flat(np.array([ankle, bones.ankles[i] - down])), (0.023, 0.022)
        )
        sole = Mark(line + (0, 0.02), mixed(self.outfit.shoes, (250, 248, 240), 0.6), 0.012)
        return Piece(shapes, Material(self.outfit.shoes), LIMBS, 0.018, marks=[sole])

    def _skirt(self) -> list[Piece]:
        """A skirt hangs around both thighs: the hull of the hips and of the legs down to the hem."""
        outfit = self.outfit
        if outfit.bottom not in ("skirt", "dress"):
            return []
        corners = [self._wrap(-0.16, 0.27, 0.004)]
        for i in (0, 1):
            points, widths = self._leg_line(i)
            xy, radii = along(points, widths, 0.5, outfit.legs * 2)
            for (x, y), radius in zip(xy, radii, strict=True):
                corners.append(ellipse(x, y, radius + 0.012 * outfit.loose, 0.012, n=10))
        hull = _hull(np.concatenate(corners))
        material = self._frame(outfit.lower, flat(self.bones.pelvis), flat(self.bones.knees.mean(0)))
        middle = flat(self.bones.pelvis)
        folds = [Mark(np.array([middle * 0.7 + knee * 0.3 + (x, 0), knee * 1.1 + (x * 2.2, 0)]),
                      shade(outfit.lower.colour, 0.8), 0.005)
                 for knee in flat(self.bones.knees) for x in (-0.02, 0.02)]  # fmt: skip
        belt = Mark(self._wrap(0.2, 0.27, 0.004), shade(outfit.lower.colour, 0.6))
        return [Piece([hull], material, LOWER, 0.05, overhang=0.3, marks=[*folds, belt])]

    def _arm(self, i: int) -> list[Piece]:
        bones, outfit = self.bones, self.outfit
        joints = np.array([bones.shoulders[i], bones.elbows[i], bones.wrists[i]])
        line = flat(np.array([joints[0], joints[:2].mean(0), joints[1], joints[1:].mean(0), joints[2]]))
        widths = [w * (0.4 + 0.6 * self.build.girth) for w in ARM_WIDTHS]
        pieces = [Piece(limb(line, widths) + self._hand(i), Material(self.skin), LIMBS, 0.02, overhang=0.3)]
        if outfit.sleeves > 0:
            thick = 0.004 + (0.006 if outfit.top in ("jacket", "coat", "sweater") else 0.002) * outfit.loose
            xy, radii = along(line, [max(w, 0.018) + thick for w in widths], 0.0, outfit.sleeves * 2)
            material = self._frame(outfit.upper, line[0], line[2])
            cuff = Mark(
                xy[-1] + (xy[-1] - xy[-2]) * np.array([[-0.1], [0.0]]),
                shade(outfit.upper.colour, 0.75),
                2.4 * radii[-1],
            )
            marks = [Mark(cuff.points, cuff.colour, 0.006)]
            pieces.append(
                Piece(limb(xy, radii, (True, False)), material, UPPER, 0.026, overhang=0.3, marks=marks)
            )
        return pieces

    def _hand(self, i: int) -> list[np.ndarray]:
        """A palm, four fingers a little spread, and a thumb on the inner side."""
        wrist, hand = flat(self.bones.wrists[i]), flat(self.bones.hands[i])
        reach = float(np.hypot(*(hand - wrist)))
        along_hand = (hand - wrist) / max(reach, 1e-6)
        across = np.array([-along_hand[1], along_hand[0]])
        # A hand that points at the viewer is a fist.
        length = 0.038 * min(1.0, reach / 0.04)
        palm = wrist + along_hand * (0.006 + 0.5 * length)
        shapes = limb(np.array([wrist, palm, palm + along_hand * 0.5 * length]), (0.0155, 0.020, 0.019))
        tip = palm + along_hand * 0.4 * length
        for k in (-1.5, -0.5, 0.5, 1.5):
            start = tip + across * (k * 0.0088)
            end = start + along_hand * (1.1 - 0.09 * k * k) * length + across * (k * 0.0022)
            shapes += limb(np.array([start, end]), (0.0056, 0.0048))
        inner = 1.0 if (i == 0) == (np.cos(self.bones.heading) > 0) else -1.0
        thumb = np.array(
            [
                palm,
                palm + across * (-inner * 0.021) + along_hand * 0.012,
                palm - across * inner * 0.026 + along_hand * 0.034,
            ]
        )
        return shapes + limb(thumb, (0.009, 0.0075, 0.0055))


def _hull(points: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.convexHull(points.astype(np.float32))[:, 0].astype(float)
