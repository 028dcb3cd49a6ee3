"""Where people stand: streets, rooms, nature, walls, plain gradients and abstract clutter.

A backdrop is laid out in scene units (see ``scene``): the frame reaches from (0, 0) to its width and height.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from kseg.data.synthetic import decoys, props
from kseg.data.synthetic.canvas import Colour, Layer, Mark, Material, Piece
from kseg.data.synthetic.palette import (
    WALL_TILES,
    Rng,
    bricks,
    cloth_colour,
    mixed,
    pick,
    planks,
    shade,
    skin_tone,
    speckles,
    tiled,
    varied,
    weighted,
    windows,
)
from kseg.data.synthetic.shapes import box, ellipse, limb, rounded, smooth, smooth_line

SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((118, 170, 218), (222, 232, 232)), ((84, 130, 190), (196, 216, 226)), ((206, 150, 130), (250, 214, 160)),
    ((150, 160, 176), (216, 218, 218)), ((44, 54, 92), (150, 116, 136)), ((166, 206, 214), (248, 236, 210)),
)  # fmt: skip
GRASS: tuple[Colour, ...] = ((122, 150, 82), (96, 132, 76), (164, 160, 92), (190, 166, 110), (220, 224, 226))
PAVING: tuple[Colour, ...] = ((150, 146, 142), (122, 120, 122), (176, 164, 148), (96, 98, 104))
WALLS: tuple[Colour, ...] = (
    (226, 214, 196), (196, 206, 200), (210, 184, 168), (150, 166, 176), (232, 228, 220),
    (116, 132, 122), (176, 140, 120), (98, 104, 122),
)  # fmt: skip
# The backdrop's ground colour is a small picture with this many pixels a side, stretched over the frame.
BASE = 48


@dataclass
class Backdrop:
    """``base`` uint8 (n, n, 3) fills the frame, ``layers`` lie on it; people's feet are below ``floor``.

    ``things`` lists what fits in, with its height in scene units at the front.
    """

    base: np.ndarray
    floor: float
    layers: list[Layer] = field(default_factory=list)
    things: dict[decoys.Prop, float] = field(default_factory=dict)

    def add(self, *pieces: Piece) -> None:
        """Lay pieces, given in scene units, over what is there."""
        self.layers.append(Layer(list(pieces)))


def gradient(rng: Rng, top: Colour, bottom: Colour, mottled: float = 0.02) -> np.ndarray:
    """From one colour to another, with soft spots, uint8 (BASE, BASE, 3)."""
    share = np.linspace(0, 1, BASE)[:, None, None]
    colours = np.asarray(top) * (1 - share) + np.asarray(bottom) * share
    return np.clip(colours * (1 + mottled * _clouds(rng)), 0, 255).astype(np.uint8)


def _clouds(rng: Rng) -> np.ndarray:
    """Smooth noise around 0, (BASE, BASE, 1): three octaves."""
    total = np.zeros((BASE, BASE), np.float32)
    for n, amount in ((4, 1.0), (9, 0.6), (20, 0.35)):
        total += amount * cv2.resize(
            rng.standard_normal((n, n), np.float32), (BASE, BASE), interpolation=cv2.INTER_CUBIC
        )
    return total[:, :, None]


def street(rng: Rng, width: float, height: float) -> Backdrop:
    """Houses in a row, a pavement, and what stands on it."""
    floor = height * rng.uniform(0.58, 0.78)
    sky = pick(rng, SKIES)
    scene = Backdrop(gradient(rng, *sky), floor, things=props.OUTDOORS)
    x = -rng.uniform(0, 0.3)
    while x < width:
        house = rng.uniform(0.25, 0.6)
        scene.add(*_house(rng, x, x + house, floor - rng.uniform(0.25, 0.95) * height, floor))
        x += house
    paving = varied(rng, pick(rng, PAVING))
    lines = [Mark(np.array([(x, floor), (width / 2 + (x - width / 2) * 3, height * 1.3)]), shade(paving, 0.86), 0.006)
             for x in np.arange(-1, width + 1, 0.22)]  # fmt: skip
    kerb = Mark(box(-1, floor, width + 1, floor + 0.02), shade(paving, 1.15))
    ground = tiled(rng, speckles, paving, shade(paving, 0.9), 0.16)
    scene.add(Piece([box(-1, floor, width + 1, height + 1)], ground, marks=[*lines, kerb]))
    return scene


def _house(rng: Rng, left: float, right: float, top: float, floor: float) -> list[Piece]:
    wall = varied(rng, pick(rng, (*WALLS, (168, 92, 74), (198, 170, 120))), 16)
    period = (right - left) / int(rng.integers(2, 5))
    facade = tiled(
        rng, windows, wall, varied(rng, pick(rng, ((70, 86, 104), (132, 160, 178), (238, 208, 140)))), period
    )
    facade = Material(wall, facade.tile, period, 0.0, (left, top))
    shop = Piece([box(left, floor - 0.22, right, floor)], Material(shade(wall, 0.82)), roundness=0.01)
    middle = rng.uniform(left + 0.08, right - 0.08)
    door = Piece(
        [rounded(middle - 0.055, floor - 0.2, middle + 0.055, floor, 0.01)],
        Material(cloth_colour(rng)),
        roundness=0.012,
    )
    awning = tiled(rng, even_stripes, cloth_colour(rng), (238, 234, 226), 0.07, np.pi / 2)
    cover = Piece(
        [
            np.array(
                [
                    (left + 0.02, floor - 0.24),
                    (right - 0.02, floor - 0.24),
                    (right, floor - 0.17),
                    (left, floor - 0.17),
                ]
            )
        ],
        awning,
        roundness=0.02,
    )
    roof = Piece([box(left - 0.012, top - 0.03, right + 0.012, top)], Material(shade(wall, 0.7)))
    return [
        Piece([box(left, top, right, floor)], facade),
        shop,
        door,
        *([cover] if rng.uniform() < 0.6 else []),
        roof,
    ]


def even_stripes(_rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """Even stripes, as on awnings."""
    tile = np.empty((8, 8, 3), np.uint8)
    tile[:4], tile[4:] = np.clip(ground, 0, 255), np.clip(second, 0, 255)
    return tile


def room(rng: Rng, width: float, height: float) -> Backdrop:
    """A wall with a window or pictures, a floor, furniture."""
    floor = height * rng.uniform(0.62, 0.82)
    wall = varied(rng, pick(rng, WALLS), 18)
    scene = Backdrop(gradient(rng, shade(wall, 1.06), shade(wall, 0.94)), floor, things=props.INDOORS)
    if rng.uniform() < 0.45:
        paper = tiled(
            rng,
            weighted(rng, WALL_TILES),
            wall,
            varied(rng, shade(wall, rng.uniform(0.75, 1.15)), 12),
            rng.uniform(0.06, 0.16),
        )
        scene.add(Piece([box(-1, -1, width + 1, floor)], paper))
    if rng.uniform() < 0.6:
        scene.add(*_window(rng, rng.uniform(0.1, width - 0.1), floor))
    boards = varied(rng, pick(rng, (*decoys.WOOD, (150, 146, 140))))
    ground = tiled(rng, planks, boards, shade(boards, 0.8), rng.uniform(0.2, 0.35))
    scene.add(Piece([box(-1, floor, width + 1, height + 1)], ground))
    scene.add(Piece([box(-1, floor - 0.03, width + 1, floor + 0.004)], Material(shade(wall, 1.15)), roundness=0.006))
    if rng.uniform() < 0.5:
        rug = ellipse(rng.uniform(0, width), floor + (height - floor) * 0.6, rng.uniform(0.3, 0.6), 0.09)
        scene.add(Piece([rug], tiled(rng, weighted(rng, WALL_TILES), cloth_colour(rng), cloth_colour(rng), 0.09)))
    return scene


def _window(rng: Rng, x: float, floor: float) -> list[Piece]:
    half, top, bottom = rng.uniform(0.14, 0.26), rng.uniform(0.05, 0.15), floor - rng.uniform(0.22, 0.35)
    sky, land = pick(rng, SKIES), pick(rng, GRASS)
    frame = (236, 232, 224)
    marks = [Mark(box(x - half + 0.02, top + 0.02, x + half - 0.02, bottom - 0.02), sky[0]),
             Mark(box(x - half + 0.02, bottom - 0.12, x + half - 0.02, bottom - 0.02), land),
             Mark(box(x - 0.008, top, x + 0.008, bottom), frame)]  # fmt: skip
    curtain = cloth_colour(rng)
    drapes = [Piece([np.array([(x + s * half * 0.75, top - 0.04), (x + s * half * 1.5, top - 0.04),
                               (x + s * half * 1.4, bottom + 0.1), (x + s * half * 1.05, bottom + 0.1)])],
                    Material(curtain), roundness=0.03) for s in (-1, 1)]  # fmt: skip
    pane = Piece([box(x - half, top, x + half, bottom)], Material(frame), marks=marks)
    return [pane, *(drapes if rng.uniform() < 0.6 else [])]


def nature(rng: Rng, width: float, height: float) -> Backdrop:
    """Sky, hills and a meadow, sand or snow."""
    floor = height * rng.uniform(0.5, 0.75)
    scene = Backdrop(gradient(rng, *pick(rng, SKIES), mottled=0.03), floor, things={props.tree: 1.1, props.bush: 0.35})
    if rng.uniform() < 0.6:
        for _ in range(int(rng.integers(1, 5))):
            x, y, r = rng.uniform(0, width), rng.uniform(0.05, 0.4) * height, rng.uniform(0.04, 0.09)
            cloud = [
                ellipse(x + dx * r, y - dy * r, r * k, r * k * 0.7)
                for dx, dy, k in ((-1.2, 0, 0.7), (0, 0.3, 1), (1.1, 0.05, 0.8))
            ]
            scene.add(Piece(cloud, Material((246, 244, 240)), roundness=r * 0.5))
    land = varied(rng, pick(rng, GRASS), 14)
    for k in range(int(rng.integers(1, 4)), 0, -1):
        ridge = floor - 0.05 - k * rng.uniform(0.05, 0.12) + rng.normal(0, 0.05, 8)
        outline = smooth_line(np.stack([np.linspace(-0.3, width + 0.3, 8), ridge], 1))
        colour = mixed(shade(land, 0.8), (150, 176, 196), 0.22 * k)
        scene.add(
            Piece(
                [np.concatenate([outline, [(width + 1, height), (-1, height)]])],
                Material(colour),
                roundness=0.03,
            )
        )
    ground = tiled(rng, speckles, land, shade(land, 0.88), rng.uniform(0.15, 0.3))
    scene.add(Piece([box(-1, floor, width + 1, height + 1)], ground))
    blades = [np.array([(x - 0.006, y), (x + rng.normal(0, 0.01), y - rng.uniform(0.02, 0.05)), (x + 0.006, y)])
              for x, y in zip(rng.uniform(0, width, 40), rng.uniform(floor, height, 40), strict=True)]  # fmt: skip
    scene.add(Piece(blades, Material(shade(land, 0.75))))
    return scene


def studio(rng: Rng, width: float, height: float) -> Backdrop:
    """A plain or blotched ground, sometimes with discs of light."""
    top = skin_tone(rng) if rng.uniform() < 0.2 else cloth_colour(rng)
    scene = Backdrop(
        gradient(rng, top, mixed(top, cloth_colour(rng), rng.uniform(0, 0.7)), rng.uniform(0.01, 0.2)),
        height * 0.8,
    )
    if rng.uniform() < 0.4:
        for x, y, r in zip(*rng.uniform((0, 0, 0.02), (width, height, 0.12), (18, 3)).T, strict=True):
            scene.add(
                Piece(
                    [ellipse(x, y, r, r)],
                    Material(mixed(top, varied(rng, (250, 226, 180), 40), rng.uniform(0.1, 0.5))),
                )
            )
    return scene


def wall(rng: Rng, width: float, height: float) -> Backdrop:
    """A patterned wall that fills the frame."""
    ground = pick(rng, WALLS) if rng.uniform() < 0.5 else cloth_colour(rng)
    scene = Backdrop(
        gradient(rng, ground, ground),
        height * rng.uniform(0.8, 0.95),
        things={decoys.bollard: 0.35, props.potted_plant: 0.5},
    )
    tiler = bricks if rng.uniform() < 0.25 else weighted(rng, WALL_TILES)
    material = tiled(
        rng, tiler, ground, cloth_colour(rng), rng.uniform(0.06, 0.3), pick(rng, (0.0, 0.0, np.pi / 2, 0.6))
    )
    scene.add(Piece([box(-1, -1, width + 1, height + 1)], material))
    if rng.uniform() < 0.6:
        stone = varied(rng, pick(rng, PAVING))
        scene.add(
            Piece(
                [box(-1, scene.floor, width + 1, height + 1)],
                tiled(rng, speckles, stone, shade(stone, 0.9), 0.15),
            )
        )
    return scene


def clutter(rng: Rng, width: float, height: float) -> Backdrop:
    """Tubes, discs and blocks in the colours of skin and clothes."""
    scene = Backdrop(gradient(rng, cloth_colour(rng), cloth_colour(rng), 0.1), height * 0.7, things=dict(decoys.DECOYS))
    for _ in range(int(rng.integers(14, 40))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = skin_tone(rng) if rng.uniform() < 0.3 else cloth_colour(rng)
        size, kind = rng.uniform(0.03, 0.14), int(rng.integers(4))
        if kind == 0:
            shapes = [ellipse(x, y, size, size * rng.uniform(0.6, 1.4), rng.uniform(0, 3))]
        elif kind == 1:
            shapes = limb(
                np.array([(x, y), (x + rng.normal(0, 2 * size), y + rng.normal(0, 2 * size))]), (size * 0.4, size * 0.3)
            )
        elif kind == 2:
            shapes = [smooth(ellipse(x, y, size, size, n=6) + rng.normal(0, size / 4, (6, 2)))]
        else:
            shapes = [rounded(x - size, y - size, x + size, y + size * rng.uniform(0, 2), size * 0.3)]
        material = (
            Material(colour)
            if rng.uniform() < 0.6
            else tiled(rng, weighted(rng, WALL_TILES), colour, cloth_colour(rng), 0.08)
        )
        scene.add(Piece(shapes, material, roundness=size * 0.4))
    return scene


Setting = Callable[[Rng, float, float], Backdrop]
SETTINGS: dict[Setting, float] = {street: 3, room: 3, nature: 2.5, studio: 1.3, wall: 1.7, clutter: 1.2}


def random_backdrop(
    rng: Rng, width: float, height: float, stature: float, decoy_share: float, most_things: int
) -> Backdrop:
    """Any setting, with its own things and sometimes decoys, about as large as fits people of a stature."""
    backdrop = weighted(rng, SETTINGS)(rng, width, height)
    things = [(prop, size) for prop, size in backdrop.things.items() for _ in range(2)]
    things = [things[i] for i in rng.permutation(len(things))[: int(rng.integers(1, most_things + 1))]]
    if rng.uniform() < decoy_share:
        things += [pick(rng, list(decoys.DECOYS.items())) for _ in range(int(rng.integers(1, 3)))]
    for depth, (prop, size) in zip(np.sort(rng.uniform(0, 0.5, len(things))), things, strict=True):
        hung = prop in props.HUNG
        y = backdrop.floor + (rng.uniform(-0.06, 0) if hung else depth * (height - backdrop.floor))
        scale = size * rng.uniform(0.75, 1.2) * (0.25 + stature)
        x = rng.uniform(-0.05, width + 0.05)
        backdrop.layers.append(Layer(prop(rng), scale, x, y, shadow=None if hung else (0, 0, 0.3, 0.05)))
    return backdrop
