"""Heads: a skull and a face, modelled in space so that any heading looks right.

Axes as in the skeleton (right, down, forward); one unit is the height of the head, the origin its middle.
"""

from dataclasses import dataclass

import numpy as np

from kseg.data.synthetic.canvas import Colour, Mark, Material, Piece
from kseg.data.synthetic.hair import CRANIUM, CRANIUM_SIZE, HAIR_STYLES, HEAD, HairStyle, hair_pieces, hat_pieces
from kseg.data.synthetic.palette import DYED, HAIR, Rng, cloth_colour, mixed, pick, shade, varied, weighted
from kseg.data.synthetic.pose import HeadView, Skeleton, flat
from kseg.data.synthetic.shapes import ellipse, hull, limb, smooth, smooth_line

# The jaw, from ear to chin: height, half width, and how far forward it reaches.
JAW = ((0.08, 0.335, 0.36), (0.25, 0.285, 0.365), (0.39, 0.19, 0.375), (0.47, 0.105, 0.37), (0.5, 0.04, 0.35))
NOSE = np.array([(0, -0.03, 0.37), (0, 0.13, 0.475), (0.055, 0.165, 0.39), (-0.055, 0.165, 0.39), (0, 0.175, 0.41)])
NOSE_LINE = np.array([(0, 0.02, 0.4), (0.045, 0.13, 0.43), (0.05, 0.165, 0.4), (0, 0.185, 0.42), (-0.03, 0.175, 0.4)])


def _skull_points() -> np.ndarray:
    """Points (n, 3) whose outline, from any side, is a head's."""
    around = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    rings = []
    for height in (-0.99, -0.94, -0.85, -0.73, -0.58, -0.4, -0.2, 0.0, 0.15, 0.3):
        reach = np.sqrt(1 - height**2)
        ring = np.stack([np.sin(around) * reach, np.full(30, height), np.cos(around) * reach], axis=1)
        rings.append(CRANIUM + ring * CRANIUM_SIZE)
    for y, width, front in JAW:
        rings.append(np.array([(width, y, 0.02), (-width, y, 0.02), (width * 0.75, y, front * 0.75),
                               (-width * 0.75, y, front * 0.75), (0, y, front)]))  # fmt: skip
    return np.concatenate(rings)


def _on_face(points: np.ndarray) -> np.ndarray:
    """Points (n, 2) of the face's map, in heads, on its curved surface (n, 3)."""
    x, y = points[:, 0], points[:, 1]
    z = 0.385 * np.sqrt(np.maximum(0.05, 1 - (x / 0.4) ** 2)) - 0.06 * np.maximum(0, -y - 0.1)
    return np.stack([x, y, z], axis=1)


def _eye(side: float) -> dict[str, np.ndarray]:
    """Outlines and lines around one eye, on the face's surface."""
    x = side * 0.15
    lid = [(x - 0.075, 0.012), (x - 0.03, -0.03), (x + 0.03, -0.03), (x + 0.075, 0.012)]
    brow = [(x - side * 0.075, -0.085), (x, -0.115), (x + side * 0.085, -0.085)]
    rim = ellipse(x, 0.015, 0.105, 0.085)
    flat_map = {
        "blush": ellipse(side * 0.19, 0.16, 0.075, 0.055),
        "white": ellipse(x, 0.012, 0.066, 0.037),
        "iris": ellipse(x, 0.012, 0.034, 0.036),
        "pupil": ellipse(x, 0.012, 0.018, 0.02),
        "lid": smooth_line(lid),
        "brow": smooth_line(brow),
        "glasses": np.concatenate([rim, rim[:1], [(side * 0.045, 0.0)], [(0.0, -0.005)]]),
    }
    return {name: _on_face(points) for name, points in flat_map.items()}


SKULL = _skull_points()
EYES = {side: _eye(side) for side in (-1.0, 1.0)}
BEARD = [(-0.39, 0.06), (-0.31, 0.21), (-0.16, 0.235), (0, 0.21), (0.16, 0.235), (0.31, 0.21), (0.39, 0.06),
         (0.42, 0.4), (0.2, 0.62), (-0.2, 0.62), (-0.42, 0.4)]  # fmt: skip


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
        dyed = not beard and rng.uniform() < 0.06
        hair = varied(rng, pick(rng, DYED if dyed else HAIR), 10)
        return cls(
            skin=skin,
            hair=hair,
            style=HAIR_STYLES[style],
            iris=iris,
            smile=rng.uniform(-0.3, 1),
            beard=float(beard),
            glasses=rng.uniform() < 0.14,
            hat=hat,
            hat_colour=cloth_colour(rng),
        )


def neck_piece(bones: Skeleton, view: HeadView, face: Face, girth: float) -> Piece:
    """The neck, from between the shoulders up into the skull."""
    top = view.centre + (np.array([0, 0.2, -0.1]) * view.size) @ view.axes
    points = flat(np.array([bones.neck + bones.torso[1] * 0.03, top]))
    width = 0.0265 * (0.6 + 0.4 * girth) * (view.size / 0.14)
    return Piece(limb(points, (width * 1.2, width)), Material(shade(face.skin, 0.94)), HEAD, 0.02)


def head_pieces(rng: Rng, view: HeadView, face: Face) -> tuple[list[Piece], list[Piece]]:
    """What is painted behind the neck, and what in front of it, in order."""
    behind, over = hair_pieces(rng, view, face.style, face.hair)
    skull = Piece([hull(view.place(SKULL))], Material(face.skin), HEAD, 0.22 * view.size, overhang=0.45)
    if view.facing(np.array([0, 0, 1.0])) > -0.5:
        skull.marks.extend(_beard(view, face) + _features(view, face))
        skull.shapes.append(hull(view.place(NOSE)))
    ears = [(view.facing(np.array([side, 0, 0.2])), _ear(view, face, side)) for side in (-1.0, 1.0)]
    front = [ear for facing, ear in ears if facing <= 0.3] + [skull]
    front += [ear for facing, ear in ears if facing > 0.3]
    return behind, front + over + hat_pieces(view, face.hat, face.hat_colour)


def _features(view: HeadView, face: Face) -> list[Mark]:
    colours: dict[str, tuple[Colour, float | None]] = {
        "blush": (mixed(face.skin, (214, 92, 84), 0.15), None),
        "white": ((246, 244, 240), None),
        "iris": (face.iris, None),
        "pupil": ((18, 14, 16), None),
        "lid": (shade(face.hair, 0.6), 0.022),
        "brow": (shade(face.hair, 0.8), 0.034),
    }
    if face.glasses:
        colours["glasses"] = ((30, 28, 34), 0.022)
    marks = []
    for side, eye in EYES.items():
        if view.facing(np.array([side * 0.24, 0, 0.38])) < 0.12:
            continue
        names = list(colours)
        seen = view.place(np.concatenate([eye[name] for name in names]))
        ends = np.cumsum([len(eye[name]) for name in names])
        for name, points in zip(names, np.split(seen, ends[:-1]), strict=True):
            colour, width = colours[name]
            marks.append(Mark(points, colour, width and width * view.size))
    if view.facing(np.array([0, 0, 1.0])) > -0.1:
        marks.append(Mark(view.place(NOSE_LINE), shade(face.skin, 0.8), 0.024 * view.size))
        marks += _mouth(view, face)
    return marks


def _mouth(view: HeadView, face: Face) -> list[Mark]:
    """A curved line and a lower lip; in a broad smile, teeth between two lines."""
    x = np.linspace(-1, 1, 9)
    bow = (1 - x**2) * face.smile
    dark, lip = mixed(shade(face.skin, 0.45), (60, 24, 24), 0.4), mixed(face.skin, (170, 60, 64), 0.45)
    upper = view.place(_on_face(np.stack([0.105 * x, 0.285 + 0.035 * bow], axis=1)))
    if face.smile < 0.5:
        under = view.place(_on_face(np.stack([0.058 * x, 0.325 + 0.035 * bow], axis=1)))
        return [Mark(upper, dark, 0.02 * view.size), Mark(under, lip, 0.022 * view.size)]
    lower = view.place(_on_face(np.stack([0.105 * x, 0.285 + 0.095 * bow], axis=1)))
    teeth = Mark(np.concatenate([upper, lower[::-1]]), (250, 246, 240))
    return [teeth, Mark(upper, dark, 0.018 * view.size), Mark(lower, lip, 0.03 * view.size)]


def _beard(view: HeadView, face: Face) -> list[Mark]:
    if not face.beard:
        return []
    colour = mixed(face.skin, face.hair, 0.35 + 0.6 * face.beard)
    # The cheek that is turned away has no outline of its own.
    outline = [(x, y) for x, y in BEARD if view.facing(np.array([x * 2.2, 0, 0.38])) > -0.15]
    lips = Mark(view.place(_on_face(ellipse(0, 0.295, 0.1, 0.035))), mixed(face.skin, (180, 80, 76), 0.4))
    return [Mark(view.place(_on_face(smooth(outline))), colour), lips]


def _ear(view: HeadView, face: Face, side: float) -> Piece:
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    flare = 0.36 + 0.03 * (1 - np.cos(angles))
    rim = np.stack([side * flare, 0.04 + 0.105 * np.sin(angles), -0.05 + 0.065 * np.cos(angles)], axis=1)
    inner = Mark(view.place(rim * (0.97, 0.6, 0.55) + (0, 0.02, -0.02)), shade(face.skin, 0.78))
    return Piece([view.place(rim)], Material(shade(face.skin, 0.95)), HEAD, 0.03 * view.size, marks=[inner])
