"""Heads: a skull, a face, hair and sometimes a hat, modelled in space so that any heading looks right.

Axes as in the skeleton (right, down, forward); one unit is the height of the head, the origin its middle.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kseg.data.synthetic.canvas import Colour, Mark, Material, Piece
from kseg.data.synthetic.palette import HAIR, Rng, cloth_colour, mixed, pick, shade, varied, weighted
from kseg.data.synthetic.pose import Skeleton, flat
from kseg.data.synthetic.shapes import ellipse, limb, smooth, smooth_line

HEAD = 1  # the label, an index into PARTS

CRANIUM = np.array([0.0, -0.11, -0.03])  # middle and half axes of the upper head
CRANIUM_SIZE = np.array([0.355, 0.39, 0.42])
# The jaw, from ear to chin: height, half width, and how far forward it reaches.
JAW = ((0.08, 0.335, 0.36), (0.25, 0.285, 0.365), (0.39, 0.19, 0.375), (0.47, 0.105, 0.37), (0.5, 0.04, 0.35))
NOSE = np.array(
    [(0, -0.03, 0.37), (0, 0.13, 0.475), (0.055, 0.165, 0.39), (-0.055, 0.165, 0.39), (0, 0.175, 0.41)]
)


@dataclass(frozen=True)
class HairStyle:
    """``volume`` is the size relative to the skull. The hairline is given in degrees above the middle of the
    cranium at the forehead, temples, sides and back; ``drop`` is how far a curtain hangs below it, in heads.
    """

    volume: float
    hairline: tuple[float, float, float, float]
    drop: float = 0.0
    knot: tuple[float, float, float] | None = None
    curly: float = 0.0
    weight: float = 1.0


HAIR_STYLES = {
    "bald": HairStyle(1.0, (90, 90, 90, 90), weight=0.7),
    "receding": HairStyle(1.05, (74, 40, 8, -34), weight=0.7),
    "cropped": HairStyle(1.05, (44, 34, 4, -34), weight=1.5),
    "short": HairStyle(1.13, (36, 22, -2, -38), weight=2.5),
    "quiff": HairStyle(1.16, (44, 34, 0, -36), knot=(-0.5, 0.17, 0.24), weight=1),
    "fringe": HairStyle(1.14, (14, 8, -16, -40), drop=0.12, weight=1),
    "bob": HairStyle(1.15, (34, 14, -14, -34), drop=0.42, weight=1.5),
    "long": HairStyle(1.13, (40, 14, -10, -30), drop=0.95, weight=2),
    "curls": HairStyle(1.28, (30, 16, -12, -44), curly=0.11, weight=1.2),
    "afro": HairStyle(1.42, (34, 18, -12, -48), curly=0.06, weight=0.7),
    "bun": HairStyle(1.08, (42, 24, -2, -36), knot=(-0.52, -0.2, 0.2), weight=1),
    "low bun": HairStyle(1.08, (36, 20, -4, -38), knot=(-0.02, -0.52, 0.18), weight=0.7),
    "ponytail": HairStyle(1.07, (42, 24, -2, -36), knot=(-0.1, -0.56, 0.13), drop=-0.6, weight=1),
}


@dataclass(frozen=True)
class Face:
    """What one head looks like, apart from where it turns."""

    skin: Colour
    hair: Colour
    style: HairStyle
    iris: Colour
    smile: float
    beard: float
    glasses: bool
    hat: str
    hat_colour: Colour

    @classmethod
    def random(cls, rng: Rng, skin: Colour, curve: float, child: bool) -> "Face":
        """Any face; hair styles and beards follow the build only loosely."""
        style = weighted(rng, {name: style.weight for name, style in HAIR_STYLES.items()})
        beard = rng.uniform(0.3, 1) if not child and curve < 0 and rng.uniform() < 0.35 else 0.0
        hat = weighted(rng, {"": 0.88, "cap": 0.05, "beanie": 0.04, "brim": 0.03})
        iris = pick(rng, ((60, 40, 30), (44, 30, 24), (70, 90, 110), (80, 96, 66)))
        return cls(skin, varied(rng, pick(rng, HAIR), 10), HAIR_STYLES[style], iris, rng.uniform(-0.3, 1),
                   float(beard), rng.uniform() < 0.14, hat, cloth_colour(rng))  # fmt: skip


@dataclass(frozen=True)
class View:
    """Where a head is: ``centre`` (3,) and ``size`` in the body's units, ``axes`` (3, 3) as rows."""

    centre: np.ndarray
    axes: np.ndarray
    size: float

    @classmethod
    def of(cls, bones: Skeleton, heads: float) -> "View":
        """The head on top of a skeleton's neck."""
        size = 1.0 / heads
        centre = (
            bones.neck - bones.torso[1] * 0.03 - bones.head[1] * (size * 0.44) + bones.head[2] * (size * 0.08)
        )
        return cls(centre, bones.head, size)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Points of the head (n, 3) in the picture (n, 2)."""
        return flat(self.centre + (points * self.size) @ self.axes)

    def facing(self, direction: np.ndarray) -> float:
        """How much a direction of the head points to the viewer, from -1 to 1."""
        return float((direction @ self.axes)[2] / np.linalg.norm(direction))


def neck_piece(bones: Skeleton, view: View, face: Face, girth: float) -> Piece:
    """The neck, from between the shoulders up into the skull."""
    top = view.centre + (np.array([0, 0.2, -0.1]) * view.size) @ view.axes
    points = flat(np.array([bones.neck + bones.torso[1] * 0.03, top]))
    width = 0.034 * (0.6 + 0.4 * girth)
    return Piece(limb(points, (width * 1.15, width)), Material(shade(face.skin, 0.9)), HEAD, 0.02)


def head_pieces(rng: Rng, view: View, face: Face) -> tuple[list[Piece], list[Piece]]:
    """What is painted behind the neck, and what in front of it, in order."""
    behind, over = _hair(rng, view, face)
    skull = Piece([_skull(view)], Material(face.skin), HEAD, 0.22 * view.size, overhang=0.45)
    if view.facing(np.array([0, 0, 1.0])) > -0.5:
        skull.marks.extend(_beard(view, face) + _features(view, face))
        skull.shapes.append(_hull(view.place(NOSE)))
    ears = [(view.facing(np.array([side, 0, 0.2])), _ear(view, face, side)) for side in (-1.0, 1.0)]
    front = [ear for facing, ear in ears if facing <= 0.3] + [skull]
    front += [ear for facing, ear in ears if facing > 0.3]
    return behind, front + over + _hat(view, face)


def _hull(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.float32))[:, 0].astype(float)


def _skull(view: View) -> np.ndarray:
    around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    rings = []
    for height in (-0.98, -0.85, -0.6, -0.25, 0.0, 0.3):
        reach = np.sqrt(1 - height**2)
        ring = np.stack([np.sin(around) * reach, np.full(16, height), np.cos(around) * reach], axis=1)
        rings.append(CRANIUM + ring * CRANIUM_SIZE)
    for y, width, front in JAW:
        rings.append(np.array([(width, y, 0.02), (-width, y, 0.02), (width * 0.75, y, front * 0.75),
                               (-width * 0.75, y, front * 0.75), (0, y, front)]))  # fmt: skip
    return _hull(view.place(np.concatenate(rings)))


def _on_face(points: np.ndarray) -> np.ndarray:
    """Points (n, 2) of the face's map, in heads, on its curved surface (n, 3)."""
    x, y = points[:, 0], points[:, 1]
    z = 0.385 * np.sqrt(np.maximum(0.05, 1 - (x / 0.4) ** 2)) - 0.06 * np.maximum(0, -y - 0.1)
    return np.stack([x, y, z], axis=1)


def _features(view: View, face: Face) -> list[Mark]:
    dark = mixed(shade(face.skin, 0.45), (60, 24, 24), 0.4)
    marks = []
    for side in (-1.0, 1.0):
        x = side * 0.15
        if view.facing(np.array([x * 1.6, 0, 0.38])) < 0.12:
            continue
        blush = ellipse(side * 0.19, 0.16, 0.075, 0.055)
        marks.append(Mark(view.place(_on_face(blush)), mixed(face.skin, (214, 92, 84), 0.22)))
        marks.append(Mark(view.place(_on_face(ellipse(x, 0.012, 0.066, 0.037))), (246, 244, 240)))
        marks.append(Mark(view.place(_on_face(ellipse(x, 0.012, 0.034, 0.036))), face.iris))
        marks.append(Mark(view.place(_on_face(ellipse(x, 0.012, 0.018, 0.02))), (18, 14, 16)))
        lid = np.array([(x - 0.075, 0.012), (x - 0.03, -0.03), (x + 0.03, -0.03), (x + 0.075, 0.012)])
        marks.append(Mark(view.place(_on_face(smooth_line(lid))), shade(face.hair, 0.6), 0.022 * view.size))
        brow = np.array([(x - side * 0.075, -0.085), (x, -0.115), (x + side * 0.085, -0.085)])
        marks.append(Mark(view.place(_on_face(smooth_line(brow))), shade(face.hair, 0.8), 0.034 * view.size))
    if face.glasses:
        marks += _glasses(view)
    if view.facing(np.array([0, 0, 1.0])) > -0.1:
        nose = np.array(
            [(0.0, 0.02, 0.4), (0.045, 0.13, 0.43), (0.05, 0.165, 0.4), (0, 0.185, 0.42), (-0.03, 0.175, 0.4)]
        )
        marks.append(Mark(view.place(nose), shade(face.skin, 0.8), 0.024 * view.size))
        bend = 0.045 * face.smile
        mouth = np.array(
            [(-0.11, 0.285 - bend), (-0.04, 0.3 + bend * 0.6), (0.04, 0.3 + bend * 0.6), (0.11, 0.285 - bend)]
        )
        if face.smile > 0.55:
            marks.append(Mark(view.place(_on_face(smooth_line(mouth))), (248, 244, 238), 0.05 * view.size))
            mouth = mouth + (0, 0.022)
        marks.append(Mark(view.place(_on_face(smooth_line(mouth))), dark, 0.032 * view.size))
    return marks


def _glasses(view: View) -> list[Mark]:
    frames = [Mark(view.place(_on_face(ellipse(side * 0.15, 0.015, 0.105, 0.085))[list(range(20)) + [0]]),
                   (30, 28, 34), 0.022 * view.size) for side in (-1, 1)]  # fmt: skip
    bridge = _on_face(np.array([(-0.045, 0.0), (0.045, 0.0)]))
    return [*frames, Mark(view.place(bridge), (30, 28, 34), 0.022 * view.size)]


def _beard(view: View, face: Face) -> list[Mark]:
    if not face.beard:
        return []
    colour = mixed(face.skin, face.hair, 0.35 + 0.6 * face.beard)
    outline = [(-0.39, 0.06), (-0.3, 0.16), (-0.16, 0.22), (0, 0.2), (0.16, 0.22), (0.3, 0.16), (0.39, 0.06),
               (0.42, 0.4), (0.2, 0.62), (-0.2, 0.62), (-0.42, 0.4)]  # fmt: skip
    lips = Mark(view.place(_on_face(ellipse(0, 0.295, 0.1, 0.035))), mixed(face.skin, (180, 80, 76), 0.4))
    return [Mark(view.place(_on_face(smooth(outline))), colour), lips]


def _ear(view: View, face: Face, side: float) -> Piece:
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    flare = 0.36 + 0.03 * (1 - np.cos(angles))
    rim = np.stack([side * flare, 0.04 + 0.105 * np.sin(angles), -0.05 + 0.065 * np.cos(angles)], axis=1)
    inner = Mark(view.place(rim * (0.97, 0.6, 0.55) + (0, 0.02, -0.02)), shade(face.skin, 0.78))
    return Piece([view.place(rim)], Material(shade(face.skin, 0.95)), HEAD, 0.03 * view.size, marks=[inner])


def _cap(
    view: View, azimuths: np.ndarray, lines: np.ndarray, size: np.ndarray, drop: float
) -> list[list[np.ndarray]]:
    """Strips over the cranium from the top down to ``lines`` (radians), sorted into those behind and in front.

    Where ``drop`` is positive, strips beyond the temples hang on below the line.
    """
    sorted_strips: list[list[np.ndarray]] = [[], []]
    levels = np.linspace(1, 0, 6)
    columns = []
    for azimuth, line in zip(azimuths, lines, strict=True):
        heights = line + (np.pi / 2 - line) * levels
        unit = np.stack(
            [np.sin(azimuth) * np.cos(heights), -np.sin(heights), np.cos(azimuth) * np.cos(heights)], 1
        )
        column = CRANIUM + unit * size
        if drop > 0 and np.cos(azimuth) < 0.45:
            hang = column[-1] * (1.0, 1, 1.0) + np.array([0, drop, -0.04])
            column = np.concatenate([column, (column[-1:] + hang) / 2 * (1.06, 1, 1.06), hang[None]])
        columns.append((view.place(column), (unit[3] @ view.axes)[2]))
    for (a, depth_a), (b, depth_b) in zip(columns, [*columns[1:], columns[0]], strict=True):
        sorted_strips[int(depth_a + depth_b > 0)].append(np.concatenate([a, b[::-1]]))
    return sorted_strips


def _hair(rng: Rng, view: View, face: Face) -> tuple[list[Piece], list[Piece]]:
    style = face.style
    spread = rng.uniform(0.96, 1.06)
    if style.hairline[3] >= 90:
        return [], []
    azimuths = np.linspace(-np.pi, np.pi, 32, endpoint=False)
    parting = rng.uniform(-0.25, 0.25)
    lines = np.radians(np.interp(np.abs(azimuths + parting * np.cos(azimuths / 2)), np.radians([0, 52, 90, 180]),
                                 style.hairline))  # fmt: skip
    size = CRANIUM_SIZE * style.volume * spread
    behind, over = _cap(view, azimuths, lines, size, max(0.0, style.drop))
    if style.curly:
        for shapes, sign in ((behind, -1), (over, 1)):
            shapes += _curls(rng, view, lines, azimuths, size, style.curly, sign)
    knot = _knot(view, style)
    # A knot on the far side of the head is behind it.
    (over if style.knot and view.facing(np.array([0, *style.knot[:2]])) > 0.1 else behind).extend(knot)
    material = Material(face.hair)
    strands = _strands(view, face, size, lines, azimuths)
    roundness = 0.16 * view.size
    back = [Piece(behind, Material(shade(face.hair, 0.86)), HEAD, roundness, overhang=0.3)] if behind else []
    return back, [Piece(over, material, HEAD, roundness, marks=strands)] if over else []


def _knot(view: View, style: HairStyle) -> list[np.ndarray]:
    if style.knot is None:
        return []
    y, z, radius = style.knot
    knot = [ellipse(*view.place(np.array([[0, y, z]]))[0], radius * view.size, radius * view.size * 0.9)]
    if style.drop < 0:
        tail = np.array(
            [
                (0, y, z),
                (0, y + 0.2, z - 0.16),
                (0, y - style.drop, z - 0.1),
                (0, y - 1.3 * style.drop, z - 0.02),
            ]
        )
        knot += limb(view.place(tail), [radius * view.size * k for k in (0.6, 1.0, 0.7, 0.15)])
    return knot


def _curls(
    rng: Rng, view: View, lines: np.ndarray, azimuths: np.ndarray, size: np.ndarray, radius: float, sign: int
) -> list[np.ndarray]:
    curls = []
    for _ in range(34):
        i = int(rng.integers(len(azimuths)))
        height = rng.uniform(lines[i] + 0.12, 1.5)
        unit = np.array(
            [np.sin(azimuths[i]) * np.cos(height), -np.sin(height), np.cos(azimuths[i]) * np.cos(height)]
        )
        if (unit @ view.axes)[2] * sign > 0:
            x, y = view.place((CRANIUM + unit * size)[None])[0]
            curls.append(ellipse(x, y, radius * view.size, radius * view.size, n=12))
    return curls


def _strands(view: View, face: Face, size: np.ndarray, lines: np.ndarray, azimuths: np.ndarray) -> list[Mark]:
    """A few lighter and darker lines that follow the hair from the crown."""
    marks = []
    for k, i in enumerate(range(1, len(azimuths), 3)):
        heights = np.linspace(lines[i] + 0.15, 1.35, 5)
        azimuth = azimuths[i]
        unit = np.stack(
            [np.sin(azimuth) * np.cos(heights), -np.sin(heights), np.cos(azimuth) * np.cos(heights)], 1
        )
        if (unit[2] @ view.axes)[2] > 0.1:
            tint = shade(face.hair, 1.22 if k % 2 else 0.8)
            marks.append(Mark(view.place(CRANIUM + unit * size), tint, 0.022 * view.size))
    return marks


def _hat(view: View, face: Face) -> list[Piece]:
    if not face.hat:
        return []
    azimuths = np.linspace(-np.pi, np.pi, 32, endpoint=False)
    line = np.radians({"cap": 16.0, "beanie": 8.0, "brim": 22.0}[face.hat])
    size = CRANIUM_SIZE * (1.17 if face.hat == "cap" else 1.2) * (1, 1.12, 1)
    crown = _cap(view, azimuths, np.full(32, line), size, 0.0)
    middle = CRANIUM + (0, -np.sin(line) * size[1], 0)
    reach = {"cap": 1.0, "beanie": 1.03, "brim": 1.75}[face.hat]
    ring = np.stack([np.sin(azimuths) * size[0] * reach, np.zeros(32), np.cos(azimuths) * size[2] * reach], 1)
    if face.hat == "cap":
        ring[:, 2] += 0.42 * np.maximum(0, np.cos(azimuths)) ** 2
    brim = view.place(middle + ring)
    dark = Material(shade(face.hat_colour, 0.75))
    roundness = 0.14 * view.size
    shapes = crown[0] + crown[1]
    parts = [
        Piece([brim], dark, HEAD, 0.04 * view.size),
        Piece(shapes, Material(face.hat_colour), HEAD, roundness),
    ]
    if face.hat == "beanie":
        band = Mark(brim[[*range(32), 0]], shade(face.hat_colour, 0.7), 0.09 * view.size)
        parts = [Piece(shapes, Material(face.hat_colour), HEAD, roundness, marks=[band])]
    return parts
