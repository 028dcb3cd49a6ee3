"""Furniture, plants and what else stands about, behind people or in front of them.

Every function returns pieces in the thing's own units: it stands on the origin and is about one unit high.
"""

import numpy as np

from kseg.data.synthetic.canvas import Colour, Mark, Material, Piece
from kseg.data.synthetic.decoys import (
    METAL,
    WOOD,
    Prop,
    body_colour,
    bollard,
    coat_rack,
    hanging_clothes,
    rod,
    signpost,
)
from kseg.data.synthetic.palette import (
    Rng,
    cloth,
    cloth_colour,
    mixed,
    pick,
    planks,
    shade,
    tiled,
    varied,
)
from kseg.data.synthetic.shapes import box, ellipse, rounded, smooth

LEAF: tuple[Colour, ...] = ((62, 104, 58), (88, 132, 68), (44, 82, 62), (124, 148, 78))


def potted_plant(rng: Rng) -> list[Piece]:
    """Leaves in a pot."""
    pot = varied(rng, pick(rng, ((176, 96, 66), (220, 214, 204), (70, 74, 84))))
    body = np.array([(-0.13, -0.28), (0.13, -0.28), (0.09, 0), (-0.09, 0)])
    return [*leaves(rng, 9, -0.26), Piece([body], Material(pot), roundness=0.06)]


def leaves(rng: Rng, count: int, base: float = 0.0) -> list[Piece]:
    """A bunch of pointed leaves that spread from one place."""
    pieces = []
    for angle in rng.permutation(np.linspace(-1.15, 1.15, count)):
        reach = rng.uniform(0.4, 0.72)
        tip = np.array([np.sin(angle) * reach, base - np.cos(angle) * reach])
        foot, across = (
            np.array([0.0, base]),
            np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.05, 0.09),
        )
        middle = foot * 0.45 + tip * 0.55 + (0, -0.03)
        colour = varied(rng, pick(rng, LEAF))
        rib = Mark(np.array([foot, middle, tip]), mixed(colour, (230, 240, 190), 0.25), 0.008)
        pieces.append(
            Piece(
                [smooth([foot, middle + across, tip, middle - across])],
                Material(colour),
                roundness=0.04,
                marks=[rib],
            )
        )
    return pieces


def tree(rng: Rng) -> list[Piece]:
    """A trunk and a crown of round clumps, or a fir."""
    trunk, leaf = varied(rng, (98, 74, 56)), varied(rng, pick(rng, LEAF), 18)
    pieces = [
        Piece(
            [np.array([(-0.035, 0), (-0.022, -0.6), (0.022, -0.6), (0.035, 0)])],
            Material(trunk),
            roundness=0.02,
        )
    ]
    if rng.uniform() < 0.35:
        for k, half in enumerate((0.26, 0.21, 0.15)):
            y = -0.2 - 0.22 * k
            pieces.append(
                Piece(
                    [np.array([(-half, y), (0, y - 0.36), (half, y)])],
                    Material(shade(leaf, 0.9 + 0.1 * k)),
                    roundness=0.08,
                )
            )
        return pieces
    for x, y, r in ((-0.16, -0.6, 0.17), (0.17, -0.58, 0.17), (0, -0.78, 0.21), (0.02, -0.55, 0.18)):
        x, y = x + rng.uniform(-0.04, 0.04), y + rng.uniform(-0.04, 0.04)
        clump = smooth(ellipse(x, y, r, r * 0.9, n=9) + rng.normal(0, 0.012, (9, 2)), 4)
        pieces.append(Piece([clump], Material(varied(rng, leaf, 6)), roundness=0.1))
    return pieces


def bush(rng: Rng) -> list[Piece]:
    """Low round clumps."""
    leaf = varied(rng, pick(rng, LEAF), 18)
    return [Piece([smooth(ellipse(x, -0.3, 0.28, 0.32, n=10) + rng.normal(0, 0.02, (10, 2)), 4)],
                  Material(varied(rng, leaf, 6)), roundness=0.14) for x in (-0.3, 0.28, 0.0)]  # fmt: skip


def lamp(rng: Rng) -> list[Piece]:
    """A street lamp or a standard lamp."""
    colour = varied(rng, (50, 52, 58))
    shade_ = np.array([(-0.06, -1.02), (0.06, -1.02), (0.11, -0.88), (-0.11, -0.88)])
    return [rod([(0, 0), (0, -0.9)], 0.014, colour), Piece([ellipse(0, 0, 0.09, 0.02)], Material(colour)),
            Piece([shade_], Material(varied(rng, (244, 224, 170))), roundness=0.05)]  # fmt: skip


def sofa(rng: Rng) -> list[Piece]:
    """A sofa with cushions, a person's colours lying down."""
    material = cloth(rng, 0.25, 0.3)
    pieces = [Piece([rounded(-1, -0.95, 1, -0.15, 0.16)], material, roundness=0.12)]
    for x in (-0.5, 0.5):
        pieces.append(Piece([rounded(x - 0.42, -0.55, x + 0.42, -0.2, 0.08)], material, roundness=0.1))
        pillow = rounded(x - 0.2, -0.82, x + 0.18, -0.48, 0.08)
        pieces.append(Piece([pillow], cloth(rng, 0.15), roundness=0.08))
    arms = [rounded(s * 1.02 - 0.14, -0.68, s * 1.02 + 0.14, 0, 0.12) for s in (-1, 1)]
    return [*pieces, *(Piece([arm], material, roundness=0.08) for arm in arms)]


def table(rng: Rng) -> list[Piece]:
    """A table with things on it."""
    material = tiled(rng, planks, varied(rng, pick(rng, WOOD)), (40, 30, 20), 0.5)
    dark = shade(material.colour, 0.75)
    pieces = [Piece([box(x - 0.04, -0.7, x + 0.04, 0)], Material(dark), roundness=0.02) for x in (-0.85, 0.85)]
    pieces.append(Piece([rounded(-1, -0.75, 1, -0.64, 0.03)], material, roundness=0.03))
    for x in rng.uniform(-0.8, 0.8, int(rng.integers(1, 4))):
        radius = rng.uniform(0.05, 0.1)
        pieces.append(
            Piece(
                [rounded(x - radius, -0.75 - 2.4 * radius, x + radius, -0.74, radius * 0.7)],
                Material(body_colour(rng)),
                roundness=0.05,
            )
        )
    return pieces


def bookcase(rng: Rng) -> list[Piece]:
    """Shelves with books."""
    wood = varied(rng, pick(rng, WOOD))
    marks = []
    for y in (-0.95, -0.65, -0.35):
        marks.append(Mark(box(-0.36, y, 0.36, y + 0.26), shade(wood, 0.55)))
        x = -0.34
        while x < 0.28:
            width, high = rng.uniform(0.025, 0.07), rng.uniform(0.14, 0.24)
            marks.append(Mark(box(x, y + 0.26 - high, x + width, y + 0.26), cloth_colour(rng)))
            x += width + 0.006
    return [Piece([rounded(-0.4, -1, 0.4, 0, 0.02)], Material(wood), roundness=0.02, marks=marks)]


def picture_frame(rng: Rng) -> list[Piece]:
    """A framed picture high on a wall; sometimes a face-like blob in it."""
    half = rng.uniform(0.16, 0.3)
    inside = box(-half + 0.03, -0.97, half - 0.03, -0.63)
    marks = [Mark(inside, cloth_colour(rng)), Mark(ellipse(0, -0.82, 0.09, 0.11), body_colour(rng)),
             Mark(np.array([(-half + 0.03, -0.63), (0, -0.74), (half - 0.03, -0.63)]), cloth_colour(rng))]  # fmt: skip
    return [Piece([box(-half, -1, half, -0.6)], Material(varied(rng, pick(rng, WOOD))), marks=marks)]


def car(rng: Rng) -> list[Piece]:
    """A car from the side."""
    colour = cloth_colour(rng)
    roof = smooth([(-0.75, -0.48), (-0.5, -0.86), (0.35, -0.88), (0.75, -0.5), (0, -0.42)], 4)
    glass = smooth([(-0.62, -0.5), (-0.44, -0.78), (0.3, -0.8), (0.58, -0.52), (0, -0.48)], 4)
    wheels = [Piece([ellipse(x, -0.17, 0.18, 0.18)], Material((34, 34, 38)), roundness=0.05,
                    marks=[Mark(ellipse(x, -0.17, 0.09, 0.09), (170, 172, 178))]) for x in (-0.68, 0.68)]  # fmt: skip
    panes = [Mark(glass, (140, 168, 186)), Mark(box(-0.08, -0.9, -0.03, -0.45), colour)]
    return [
        Piece([roof], Material(colour), roundness=0.08, marks=panes),
        Piece([rounded(-1.2, -0.55, 1.2, -0.16, 0.16)], Material(colour), roundness=0.1),
        *wheels,
    ]


def column(rng: Rng) -> list[Piece]:
    """A post from top to bottom, to stand behind."""
    half = rng.uniform(0.03, 0.09)
    return [Piece([box(-half, -2, half, 1)], Material(cloth_colour(rng)), roundness=half * 0.8)]


def railing(rng: Rng) -> list[Piece]:
    """A fence of thin bars."""
    colour = varied(rng, pick(rng, (*WOOD, METAL, (226, 224, 216))))
    bars = [box(x - 0.022, -0.42, x + 0.022, 0.6) for x in np.arange(-6.4, 6.5, rng.uniform(0.16, 0.3))]
    rails = [box(-6.5, y - 0.025, 6.5, y + 0.025) for y in (-0.4, -0.05)]
    return [
        Piece(bars, Material(colour), roundness=0.015),
        Piece(rails, Material(shade(colour, 0.92)), roundness=0.015),
    ]


def counter(rng: Rng) -> list[Piece]:
    """The near edge of a table or a wall that cuts people off below, with something on it."""
    edge = [
        Piece([box(-9, -0.34, 9, 0.8)], cloth(rng, 0.3, 0.3)),
        Piece([box(-9, -0.37, 9, -0.31)], Material(varied(rng, pick(rng, WOOD))), roundness=0.02),
    ]
    x, radius = rng.uniform(-0.5, 0.5), rng.uniform(0.04, 0.08)
    return [
        *edge,
        Piece(
            [rounded(x - radius, -0.36 - 3 * radius, x + radius, -0.345, radius)],
            Material(body_colour(rng)),
            roundness=0.05,
        ),
    ]


def foliage(rng: Rng) -> list[Piece]:
    """Leaves that reach into the picture from below."""
    return leaves(rng, int(rng.integers(6, 12)), 0.25)


OUTDOORS: dict[Prop, float] = {tree: 1.0, bush: 0.35, lamp: 1.1, signpost: 0.8, car: 0.35, bollard: 0.3}
INDOORS: dict[Prop, float] = {
    sofa: 0.36, potted_plant: 0.6, lamp: 0.75, bookcase: 0.85, table: 0.42, coat_rack: 0.7, picture_frame: 0.75,
}  # fmt: skip
# These hang: they cast no shadow on the floor.
HUNG: tuple[Prop, ...] = (picture_frame, hanging_clothes)
FOREGROUND: tuple[Prop, ...] = (foliage, column, railing, counter)
