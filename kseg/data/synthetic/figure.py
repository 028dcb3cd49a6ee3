"""People: a skeleton, dressed, as pieces to be painted from back to front.

Units are the person's stature; the origin is the middle of the hips. The pieces' labels index PARTS.
"""

from dataclasses import dataclass, replace

import numpy as np

from kseg.data.synthetic.canvas import Colour, Mark, Material, Piece
from kseg.data.synthetic.hair import HEAD
from kseg.data.synthetic.head import Face, head_pieces, neck_piece
from kseg.data.synthetic.outfit import Outfit
from kseg.data.synthetic.palette import Rng, mixed, shade, skin_tone, weighted
from kseg.data.synthetic.pose import POSES, Build, HeadView, Pose, Skeleton, flat, pose_skeleton
from kseg.data.synthetic.shapes import along, ellipse, hull, limb, smooth, tips
from kseg.data.synthetic.trunk import Trunk

UPPER, LOWER, LIMBS = 2, 3, 4

# Half widths of bare limbs, from the body outwards, at the joints and halfway between.
ARM_WIDTHS = (0.0285, 0.0270, 0.0215, 0.0210, 0.0145)
LEG_WIDTHS = (0.056, 0.050, 0.034, 0.036, 0.020)
# The four fingers, counted from the middle of the hand.
FINGERS = np.array([-1.5, -0.5, 0.5, 1.5])


@dataclass(frozen=True)
class Figure:
    """One person: everything but the place in the picture."""

    pose: Pose
    build: Build
    bones: Skeleton
    outfit: Outfit
    face: Face
    skin: Colour

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
        return cls(pose, build, bones, Outfit.random(rng), face, skin)

    @property
    def trunk(self) -> Trunk:
        """The trunk's surface."""
        return Trunk(self.build, self.bones)

    @property
    def top(self) -> float:
        """The height of the crown above the hips, as a negative y."""
        view = HeadView.of(self.bones, self.build.heads)
        return float(flat(view.centre)[1] - 0.5 * view.size)

    def pieces(self, rng: Rng) -> list[Piece]:
        """All pieces, the farthest first."""
        bones, view = self.bones, HeadView.of(self.bones, self.build.heads)
        behind, front = head_pieces(rng, view, self.face)
        arms = [self._arm(i) for i in (0, 1)]
        middle = bones.neck[2] * 0.6
        near = [bool((bones.elbows[i, 2] + bones.wrists[i, 2]) / 2 > middle - 0.035) for i in (0, 1)]
        away = bool(np.cos(bones.heading) < -0.2)
        order: list[Piece] = []
        order += [] if away else behind
        order += [p for i in (0, 1) if not near[i] for p in arms[i]]
        order += self._legs()
        order += [neck_piece(bones, view, self.face, self.build.girth), *self._torso()]
        order += behind if away else []
        order += front
        arms_in_order = sorted((0, 1), key=lambda i: float(bones.wrists[i, 2]))
        return order + [p for i in arms_in_order if near[i] for p in arms[i]]

    def _frame(self, material: Material, a: np.ndarray, b: np.ndarray) -> Material:
        """The material laid along the line from ``a`` to ``b`` (2,), so that its pattern follows the body."""
        angle = float(np.arctan2(b[1] - a[1], b[0] - a[0]) - np.pi / 2)
        return replace(material, angle=material.angle + angle, origin=(float(a[0]), float(a[1])))

    def _torso(self) -> list[Piece]:
        outfit, bones = self.outfit, self.bones
        shoulders, hips = flat(bones.neck), flat(bones.pelvis)
        extra = 0.004 * outfit.loose + (0.008 if outfit.top in ("jacket", "coat", "sweater") else 0.0)
        hem = 0.2 if outfit.top == "dress" else outfit.hem
        shapes = [self.trunk.wrap(hem, 0.995, extra)]
        if outfit.top == "coat":
            shapes += [s for i in (0, 1) for s in self._tube(i, outfit.loose * 1.1, 0.0, 0.75)]
        material = self._frame(outfit.upper, shoulders, hips)
        shirt = Piece(shapes, material, UPPER, 0.055, overhang=0.2, marks=self._torso_marks(hem))
        return [shirt, *self._neckline()]

    def _torso_marks(self, hem: float) -> list[Mark]:
        """Folds, and what the garment has in front: buttons, an opening, a print."""
        outfit, colour = self.outfit, self.outfit.upper.colour
        dark = shade(colour, 0.78)
        marks = [Mark(self.trunk.front([(x, 0.30), (x * 0.8, 0.14)]), dark, 0.004) for x in (-0.6, 0.5)]
        if outfit.top == "sweater":
            band = self.trunk.front([(x, hem + 0.05) for x in np.linspace(-0.99, 0.99, 7)])
            marks.append(Mark(band, dark, 0.006))
        if np.cos(self.bones.heading) < 0.1:
            return marks
        places = np.linspace(max(hem, -0.1), 0.97, 7)
        if outfit.top in ("jacket", "coat"):
            left = self.trunk.front([(-0.03 - 0.28 * max(0, p - 0.3), p) for p in places])
            right = self.trunk.front([(0.03 + 0.28 * max(0, p - 0.3), p) for p in places])
            marks.append(Mark(np.concatenate([left, right[::-1]]), outfit.inner.colour))
            marks += [Mark(edge, dark, 0.006) for edge in (left, right)]
        elif outfit.top == "shirt":
            marks.append(Mark(self.trunk.front([(0.0, p) for p in places]), dark, 0.004))
            light = mixed(colour, (255, 255, 255), 0.4)
            buttons = self.trunk.front([(0.04, p) for p in places[1:]])
            marks += [Mark(ellipse(x, y, 0.0045, 0.0045, n=8), light) for x, y in buttons]
        elif outfit.top == "t-shirt" and outfit.upper.tile is None:
            corners = self.trunk.front([(-0.3, 0.6), (-0.3, 0.76), (0.3, 0.76), (0.3, 0.6)])
            marks.append(Mark(smooth(corners), outfit.inner.colour))
        return marks

    def _neckline(self) -> list[Piece]:
        """Skin below the neck where the garment leaves it bare, and a collar."""
        if np.cos(self.bones.heading) < 0.05:
            return []
        outfit = self.outfit
        low = {"tank": 0.84, "dress": 0.84, "t-shirt": 0.915, "shirt": 0.87, "sweater": 0.945}.get(outfit.top, 0.87)
        # Half widths of the trunk, from one side of the neck down to the lowest point and up again.
        wide = 0.62 if outfit.top in ("tank", "dress") else 0.5
        middle = (low + 0.97) / 2
        edge = [(-0.96, 1.01), (-wide, middle), (0.0, low), (wide, middle), (0.96, 1.01)]
        throat = smooth([*self.trunk.front(edge), *self.trunk.front([(0.0, 1.06)])])
        pieces = [Piece([throat], Material(shade(self.skin, 0.94)), HEAD)]
        if outfit.top in ("shirt", "jacket", "coat"):
            material = Material(mixed(outfit.upper.colour, (255, 255, 255), 0.12))
            for side in (-1, 1):
                points = [(side * x, p) for x, p in ((0.8, 1.07), (1.0, 0.96), (0.42, 0.83), (0.03, 0.87))]
                pieces.append(Piece([self.trunk.front(points)], material, UPPER, 0.008, overhang=0.15))
        return pieces

    def _legs(self) -> list[Piece]:
        """Both legs, dressed. Trousers cover the hips in one piece with the nearer leg, so that no seam shows."""
        outfit, bones = self.outfit, self.bones
        far, near = sorted((0, 1), key=lambda i: float(bones.knees[i, 2] + bones.ankles[i, 2]))
        if outfit.bottom in ("skirt", "dress"):
            return [*self._bare_leg(far), *self._bare_leg(near), self._skirt()]
        dark = shade(outfit.lower.colour, 0.8)
        pieces = []
        for i in (far, near):
            line, _ = self._leg_line(i)
            shapes = self._tube(i, outfit.loose, 0.0, outfit.legs)
            marks = [Mark(line[1:4] + 0.004, dark, 0.004)]
            if i == near:
                shapes += [self.trunk.wrap(-0.14, 0.26, 0.002), *limb(flat(bones.hips), (0.05 * self.build.girth,) * 2)]
                marks.append(Mark(self.trunk.wrap(0.2, 0.26, 0.002), shade(dark, 0.7)))
            material = self._frame(outfit.lower, line[0], line[2])
            pieces += [*self._bare_leg(i), Piece(shapes, material, LOWER, 0.036, overhang=0.25, marks=marks)]
        return pieces

    def _tube(self, i: int, loose: float, start: float, stop: float) -> list[np.ndarray]:
        """One leg's cloth, with a flat hem; ``loose`` also keeps it from narrowing as much as the leg does."""
        points, widths = self._leg_line(i)
        wide = [max(w, widths[0] * 0.35 * loose) * (0.9 + 0.13 * loose) for w in widths]
        xy, radii = along(points, wide, start * 2, stop * 2)
        return limb(xy, radii, (True, False))

    def _leg_line(self, i: int) -> tuple[np.ndarray, list[float]]:
        bones = self.bones
        joints = np.array([bones.hips[i], bones.knees[i], bones.ankles[i]])
        line = np.array([joints[0], joints[:2].mean(0), joints[1], joints[1] * 0.65 + joints[2] * 0.35, joints[2]])
        return flat(line), [w * (0.35 + 0.65 * self.build.girth) for w in LEG_WIDTHS]

    def _bare_leg(self, i: int) -> list[Piece]:
        """The leg, as far as it may be seen, and its shoe."""
        points, widths = self._leg_line(i)
        shown = max(0.0, 2 * self.outfit.legs - 0.6) if self.outfit.bottom == "trousers" else 0.0
        xy, radii = along(points, widths, shown, 4.0)
        skin = Material(shade(self.skin, 0.97))
        return [Piece(limb(xy, radii), skin, LIMBS, 0.03, overhang=0.25), self._shoe(i)]

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
        sole = Mark(line + np.array([0, 0.02]), mixed(self.outfit.shoes, (250, 248, 240), 0.6), 0.012)
        return Piece(shapes, Material(self.outfit.shoes), LIMBS, 0.018, marks=[sole])

    def _skirt(self) -> Piece:
        """A skirt hangs around both thighs: the hull of the hips and of the legs down to the hem."""
        outfit = self.outfit
        corners = [self.trunk.wrap(-0.16, 0.27, 0.004)]
        for i in (0, 1):
            points, widths = self._leg_line(i)
            xy, radii = along(points, widths, 0.5, outfit.legs * 2)
            for (x, y), radius in zip(xy, radii, strict=True):
                corners.append(ellipse(x, y, radius + 0.012 * outfit.loose, 0.012, n=10))
        outline = hull(np.concatenate(corners))
        material = self._frame(outfit.lower, flat(self.bones.pelvis), flat(self.bones.knees.mean(0)))
        middle = flat(self.bones.pelvis)
        folds = [Mark(np.array([middle * 0.7 + knee * 0.3 + (x, 0), knee * 1.1 + (x * 2.2, 0)]),
                      shade(outfit.lower.colour, 0.8), 0.005)
                 for knee in flat(self.bones.knees) for x in (-0.02, 0.02)]  # fmt: skip
        belt = Mark(self.trunk.wrap(0.2, 0.27, 0.004), shade(outfit.lower.colour, 0.6))
        return Piece([outline], material, LOWER, 0.05, overhang=0.3, marks=[*folds, belt])

    def _arm(self, i: int) -> list[Piece]:
        bones, outfit = self.bones, self.outfit
        joints = np.array([bones.shoulders[i], bones.elbows[i], bones.wrists[i]])
        line = flat(np.array([joints[0], joints[:2].mean(0), joints[1], joints[1:].mean(0), joints[2]]))
        widths = [w * (0.4 + 0.6 * self.build.girth) for w in ARM_WIDTHS]
        bare, radii = along(line, widths, max(0.0, 2 * outfit.sleeves - 0.6), 4.0)
        pieces = [Piece(limb(bare, radii) + self._hand(i), Material(self.skin), LIMBS, 0.02, overhang=0.3)]
        if outfit.sleeves > 0:
            thick = 0.003 + (0.005 if outfit.top in ("jacket", "coat", "sweater") else 0.002) * outfit.loose
            xy, radii = along(line, [max(w, 0.018) + thick for w in widths], 0.0, outfit.sleeves * 2)
            material = self._frame(outfit.upper, line[0], line[2])
            step = xy[-1] - xy[-2]
            across = np.array([-step[1], step[0]]) * (radii[-1] / max(float(np.hypot(*step)), 1e-6))
            marks = [Mark(np.array([xy[-1] + across, xy[-1] - across]), shade(outfit.upper.colour, 0.78), 0.012)]
            pieces.append(Piece(limb(xy, radii, (True, False)), material, UPPER, 0.026, overhang=0.3, marks=marks))
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
        starts = tip + np.outer(FINGERS * 0.0088, across)
        ends = starts + np.outer((1.1 - 0.09 * FINGERS**2) * length, along_hand) + np.outer(FINGERS * 0.0022, across)
        shapes += tips(starts, ends, 0.0052)
        inner = 1.0 if (i == 0) == (np.cos(self.bones.heading) > 0) else -1.0
        thumb = np.array(
            [
                palm,
                palm + across * (-inner * 0.021) + along_hand * 0.012,
                palm - across * inner * 0.026 + along_hand * 0.034,
            ]
        )
        return shapes + limb(thumb, (0.009, 0.0075, 0.0055))
