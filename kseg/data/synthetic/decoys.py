"""Decoys: things with people's colours or outlines that are not people.

Every function returns pieces in the thing's own units: it stands on the origin and is about one unit high.
"""

from collections.abc import Callable

import numpy as np

from kseg.data.synthetic.canvas import Colour, Mark, Material, Piece
from kseg.data.synthetic.palette import Rng, cloth, cloth_colour, mixed, pick, shade, skin_tone, varied
from kseg.data.synthetic.shapes import box, ellipse, limb, rounded, smooth

WOOD: tuple[Colour, ...] = ((126, 86, 54), (166, 120, 78), (88, 58, 40), (196, 160, 116))
METAL: Colour = (92, 96, 104)


def body_colour(rng: Rng) -> Colour:
    """A colour a person could have: skin or cloth."""
    return skin_tone(rng) if rng.uniform() < 0.45 else cloth_colour(rng)


def rod(points: list[tuple[float, float]], width: float, colour: Colour) -> Piece:
    """A round bar through points."""
    return Piece(limb(np.array(points), [width] * len(points)), Material(colour), roundness=width)


def coat_rack(rng: Rng) -> list[Piece]:
    """A stand with a coat on it and often a hat: a person's outline with nobody inside."""
    wood = varied(rng, pick(rng, WOOD))
    pieces = [rod([(0, 0), (0, -1)], 0.016, wood), rod([(-0.15, 0), (0, -0.1), (0.15, 0)], 0.014, wood)]
    material = cloth(rng, 0.1)
    half = [(0.05, -0.88), (0.12, -0.83), (0.14, -0.5), (0.12, -0.26)]
    coat = smooth(half + [(-x, y) for x, y in half[::-1]])
    seam = Mark(np.array([(0.0, -0.85), (0.01, -0.26)]), shade(material.colour, 0.6), 0.008)
    sleeves = [
        Piece(limb(np.array([(s * 0.11, -0.8), (s * 0.15, -0.6), (s * 0.14, -0.4)]), (0.04,) * 3), material, 0, 0.03)
        for s in (-1, 1)
    ]
    pieces += [Piece([coat], material, roundness=0.06, marks=[seam]), *sleeves]
    if rng.uniform() < 0.6:
        hat = cloth_colour(rng)
        pieces.append(
            Piece([ellipse(0, -0.97, 0.11, 0.025), ellipse(0, -1.0, 0.06, 0.06)], Material(hat), roundness=0.03)
        )
    return pieces


def hanging_clothes(rng: Rng) -> list[Piece]:
    """A line or a rail with shirts and trousers."""
    pieces = [rod([(-0.8, -0.92), (0.8, -0.9)], 0.006, METAL)]
    x = -0.65
    while x < 0.55:
        material = cloth(rng, 0.1, 0.6)
        if rng.uniform() < 0.6:
            outline = np.array([(-.05, -.9), (.05, -.9), (.14, -.84), (.21, -.68), (.15, -.65), (.11, -.72), (.11, -.4),
                                (-.11, -.4), (-.11, -.72), (-.15, -.65), (-.21, -.68), (-.14, -.84)])  # fmt: skip
        else:
            outline = np.array([(-.1, -.9), (.1, -.9), (.13, -.3), (.03, -.3),
                                (0, -.7), (-.03, -.3), (-.13, -.3)])  # fmt: skip
        pieces.append(Piece([outline + np.array([x, 0])], material, roundness=0.03))
        x += rng.uniform(0.26, 0.42)
    return pieces


def balloons(rng: Rng) -> list[Piece]:
    """Heads without bodies, on strings."""
    pieces = []
    for _ in range(int(rng.integers(1, 4))):
        x, y, r = rng.uniform(-0.2, 0.2), rng.uniform(-1.0, -0.7), rng.uniform(0.08, 0.13)
        colour = body_colour(rng)
        shine = Mark(ellipse(x - r * 0.35, y - r * 0.45, r * 0.2, r * 0.3, 0.4), mixed(colour, (255, 255, 255), 0.45))
        pieces.append(rod([(x, y + r), (x * 0.5, y + 0.35), (0, 0)], 0.004, METAL))
        pieces.append(Piece([ellipse(x, y, r, r * 1.2)], Material(colour), roundness=r * 0.6, marks=[shine]))
    return pieces


def capsules(rng: Rng) -> list[Piece]:
    """Limb-shaped tubes leaning together, some skin-coloured."""
    pieces = []
    for _ in range(int(rng.integers(2, 6))):
        points = np.cumsum(
            np.concatenate([rng.uniform(-0.25, 0.25, (1, 2)) * (1, 0.1), rng.uniform(-0.28, 0.2, (2, 2)) * (1, 1.5)]),
            0,
        )
        radii = rng.uniform(0.03, 0.07, 3)
        pieces.append(Piece(limb(points - (0, 0.15), list(radii)), Material(body_colour(rng)), roundness=0.04))
    return pieces


def bottle(rng: Rng) -> list[Piece]:
    """A round-shouldered bottle or a bowling pin: head, neck and body."""
    colour = body_colour(rng)
    half = [
        (0.05, -1),
        (0.06, -0.93),
        (0.045, -0.84),
        (0.06, -0.72),
        (0.15, -0.6),
        (0.17, -0.4),
        (0.16, -0.06),
        (0.12, 0),
    ]
    outline = smooth(half + [(-x, y) for x, y in half[::-1]])
    label = Mark(box(-0.2, -0.45, 0.2, -0.22), cloth_colour(rng))
    cap = Mark(box(-0.1, -1.1, 0.1, -0.92), shade(colour, 0.6))
    return [Piece([outline], Material(colour), roundness=0.09, marks=[label, cap])]


def signpost(rng: Rng) -> list[Piece]:
    """A round head on a straight body."""
    colour = body_colour(rng)
    ring = Mark(ellipse(0, -0.87, 0.085, 0.085), mixed(colour, (255, 255, 255), 0.6))
    return [
        rod([(0, 0), (0, -0.8)], 0.016, METAL),
        Piece([ellipse(0, -0.87, 0.11, 0.11)], Material(colour), marks=[ring]),
    ]


def dress_form(rng: Rng) -> list[Piece]:
    """A tailor's dummy: a clothed torso on a stick, without a head or limbs."""
    wood = varied(rng, pick(rng, WOOD))
    half = [
        (0.04, -1),
        (0.045, -0.95),
        (0.14, -0.9),
        (0.13, -0.78),
        (0.095, -0.62),
        (0.14, -0.46),
        (0.13, -0.4),
    ]
    outline = smooth(half + [(-x, y) for x, y in half[::-1]], 4)
    knob = Piece([ellipse(0, -1.01, 0.03, 0.03)], Material(wood), roundness=0.01)
    return [rod([(0, 0), (0, -0.5)], 0.014, wood), rod([(-0.12, 0), (0, -0.08), (0.12, 0)], 0.012, wood),
            Piece([outline], cloth(rng, 0.1), roundness=0.07), knob]  # fmt: skip


def bollard(rng: Rng) -> list[Piece]:
    """A post with a round top and a band."""
    band = Mark(box(-0.2, -0.8, 0.2, -0.66), cloth_colour(rng))
    return [Piece([rounded(-0.12, -1, 0.12, 0, 0.12)], Material(body_colour(rng)), roundness=0.08, marks=[band])]


Prop = Callable[[Rng], list[Piece]]
# The number is the height in scene units when it stands at the front.
DECOYS: dict[Prop, float] = {
    coat_rack: 0.7, hanging_clothes: 0.55, balloons: 0.7, capsules: 0.6,
    bottle: 0.4, signpost: 0.8, dress_form: 0.62, bollard: 0.4,
}  # fmt: skip
