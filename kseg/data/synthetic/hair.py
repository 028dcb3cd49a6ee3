"""Hair and hats: strips over the upper head, modelled in space; axes and units as in ``head``."""

from dataclasses import dataclass

import numpy as np

from kseg.data.synthetic.canvas import Colour, Mark, Material, Piece
from kseg.data.synthetic.palette import Rng, shade
from kseg.data.synthetic.pose import HeadView
from kseg.data.synthetic.shapes import ellipse, limb

HEAD = 1  # the label, an index into PARTS
CRANIUM = np.array([0.0, -0.11, -0.03])  # middle and half axes of the upper head
CRANIUM_SIZE = np.array([0.355, 0.39, 0.42])


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
    "receding": HairStyle(1.05, (70, 38, 2, -52), weight=0.7),
    "cropped": HairStyle(1.05, (34, 26, -2, -50), weight=1.5),
    "short": HairStyle(1.13, (27, 17, -5, -54), weight=2.5),
    "quiff": HairStyle(1.16, (33, 24, -3, -50), knot=(-0.5, 0.17, 0.24), weight=1),
    "fringe": HairStyle(1.14, (10, 6, -16, -52), drop=0.12, weight=1),
    "bob": HairStyle(1.15, (28, 8, -18, -34), drop=0.42, weight=1.5),
    "long": HairStyle(1.13, (32, 8, -14, -30), drop=0.95, weight=2),
    "curls": HairStyle(1.28, (30, 16, -10, -54), curly=0.11, weight=1.2),
    "afro": HairStyle(1.42, (34, 18, -10, -56), curly=0.06, weight=0.7),
    "bun": HairStyle(1.08, (31, 18, -4, -36), knot=(-0.52, -0.2, 0.2), weight=1),
    "low bun": HairStyle(1.08, (30, 14, -8, -54), knot=(-0.02, -0.52, 0.18), weight=0.7),
    "ponytail": HairStyle(1.07, (31, 18, -4, -36), knot=(-0.1, -0.56, 0.13), drop=-0.6, weight=1),
}
# A hat's lower edge, in degrees above the middle of the cranium, and how far its brim reaches, in half heads.
BRIMS = {"cap": (16.0, 1.0), "beanie": (8.0, 1.03), "brim": (22.0, 1.75)}


def hair_pieces(rng: Rng, view: HeadView, style: HairStyle, colour: Colour) -> tuple[list[Piece], list[Piece]]:
    """What is painted behind the neck, and what over the face."""
    spread = rng.uniform(0.96, 1.06)
    if style.hairline[3] >= 90:
        return [], []
    azimuths = np.linspace(-np.pi, np.pi, 40, endpoint=False)
    parting = rng.uniform(-0.25, 0.25)
    brow, temple, ear, nape = style.hairline
    # In front of the ears the hair reaches a little lower, over them a little higher.
    line = np.interp(np.degrees(np.abs(azimuths + parting * np.cos(azimuths / 2))), [0, 38, 60, 78, 98, 180],
                     [brow, brow + 3, temple, ear - 12, ear + 4, nape])  # fmt: skip
    lines = np.radians(line + rng.normal(0, 2.0, len(azimuths)))
    size = CRANIUM_SIZE * style.volume * spread
    behind, over = _cap(view, azimuths, lines, size, max(0.0, style.drop))
    if style.curly:
        for shapes, sign in ((behind, -1), (over, 1)):
            shapes += _curls(rng, view, lines, azimuths, size, style.curly, sign)
    knot = _knot(view, style)
    # A knot on the far side of the head is behind it.
    (over if style.knot and view.facing(np.array([0, *style.knot[:2]])) > 0.1 else behind).extend(knot)
    material = Material(colour)
    strands = _strands(view, colour, size, lines, azimuths)
    roundness = 0.16 * view.size
    back = [Piece(behind, Material(shade(colour, 0.86)), HEAD, roundness, overhang=0.3)] if behind else []
    return back, [Piece(over, material, HEAD, roundness, marks=strands)] if over else []


def hat_pieces(view: HeadView, kind: str, colour: Colour) -> list[Piece]:
    """A "cap", a "beanie" or a hat with a "brim"; anything else is no hat."""
    if kind not in BRIMS:
        return []
    azimuths = np.linspace(-np.pi, np.pi, 32, endpoint=False)
    height, reach = BRIMS[kind]
    line = np.radians(height)
    size = CRANIUM_SIZE * (1.17 if kind == "cap" else 1.2) * (1, 1.12, 1)
    crown = _cap(view, azimuths, np.full(32, line), size, 0.0)
    middle = CRANIUM - np.array([0, np.sin(line) * size[1], 0])
    ring = np.stack([np.sin(azimuths) * size[0] * reach, np.zeros(32), np.cos(azimuths) * size[2] * reach], 1)
    if kind == "cap":
        ring[:, 2] += 0.42 * np.maximum(0, np.cos(azimuths)) ** 2
    brim = view.place(middle + ring)
    dark = Material(shade(colour, 0.75))
    roundness = 0.14 * view.size
    shapes = crown[0] + crown[1]
    parts = [
        Piece([brim], dark, HEAD, 0.04 * view.size),
        Piece(shapes, Material(colour), HEAD, roundness),
    ]
    if kind == "beanie":
        band = Mark(brim[[*range(32), 0]], shade(colour, 0.7), 0.09 * view.size)
        parts = [Piece(shapes, Material(colour), HEAD, roundness, marks=[band])]
    return parts


def _cap(
    view: HeadView, azimuths: np.ndarray, lines: np.ndarray, size: np.ndarray, drop: float
) -> list[list[np.ndarray]]:
    """Strips over the cranium from the top down to ``lines`` (radians), sorted into those behind and in front.

    Where ``drop`` is positive, strips beyond the temples hang on below the line.
    """
    n = len(azimuths)
    heights = lines[:, None] + (np.pi / 2 - lines[:, None]) * np.linspace(1, 0, 7)
    units = _directions(azimuths[:, None], heights)
    columns = CRANIUM + units * size
    if drop > 0:
        long = np.clip((0.5 - np.cos(azimuths)) * 4, 0, 1)[:, None]
        end = columns[:, -1]
        hang = end + long * np.array([0, drop, -0.04])
        between = (end + hang) / 2 * (1 + 0.07 * long * np.array([1, 0, 1]))
        columns = np.concatenate([columns, between[:, None], hang[:, None]], axis=1)
    rows = columns.shape[1]
    seen = view.place(columns.reshape(-1, 3)).reshape(n, rows, 2)
    strips = np.concatenate([seen, np.roll(seen, -1, axis=0)[:, ::-1]], axis=1)
    depth = units[:, 3] @ view.axes[:, 2]
    front = depth + np.roll(depth, -1) > 0
    return [list(strips[~front]), list(strips[front])]


def _directions(azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 3): azimuth 0 is forward, height is the angle above the middle of the cranium."""
    level = np.cos(height)
    return np.stack([np.sin(azimuth) * level, -np.sin(height), np.cos(azimuth) * level], axis=-1)


def _knot(view: HeadView, style: HairStyle) -> list[np.ndarray]:
    if style.knot is None:
        return []
    y, z, radius = style.knot
    x0, y0 = view.place(np.array([[0, y, z]]))[0]
    knot = [ellipse(x0, y0, radius * view.size, radius * view.size * 0.9)]
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
    rng: Rng, view: HeadView, lines: np.ndarray, azimuths: np.ndarray, size: np.ndarray, radius: float, sign: int
) -> list[np.ndarray]:
    places = rng.integers(0, len(azimuths), 40)
    heights = lines[places] + 0.12 + rng.uniform(0, 1, 40) * (1.4 - lines[places])
    units = _directions(azimuths[places], heights)
    units = units[(units @ view.axes[:, 2]) * sign > 0]
    reach = radius * view.size
    return [ellipse(x, y, reach, reach, n=12) for x, y in view.place(CRANIUM + units * size)]


def _strands(view: HeadView, colour: Colour, size: np.ndarray, lines: np.ndarray, azimuths: np.ndarray) -> list[Mark]:
    """A few lighter and darker lines that follow the hair from the crown."""
    chosen, start = azimuths[1::3, None], lines[1::3, None] + 0.1
    units = _directions(chosen, start + (1.3 - start) * np.linspace(0, 1, 5))
    seen = view.place((CRANIUM + units * size).reshape(-1, 3)).reshape(-1, 5, 2)
    front = units[:, 2] @ view.axes[:, 2] > 0.1
    tints = (shade(colour, 1.12), shade(colour, 0.88))
    return [Mark(line, tints[k % 2], 0.03 * view.size) for k, line in enumerate(seen) if front[k]]
