"""Colours and textures: tables to pick from, and tiles that clothes and walls share."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import cv2
import numpy as np

from kseg.data.synthetic.canvas import Colour, Material

T = TypeVar("T")
Rng = np.random.Generator

# A tile is drawn with this many pixels a side; the canvas brings it to the size it is seen at.
TILE = 48

# Skin from very light to very dark; a person's lies anywhere on the line through these.
SKIN = np.array(
    [(244, 214, 192), (238, 200, 170), (228, 178, 138), (205, 148, 106), (172, 115, 76), (132, 84, 56),
     (96, 60, 42), (66, 42, 32)], float
)  # fmt: skip
HAIR = ((28, 24, 26), (46, 32, 26), (74, 48, 32), (104, 66, 40), (146, 98, 54), (196, 150, 86), (226, 190, 130),
        (150, 66, 34), (128, 128, 132), (208, 208, 206))  # fmt: skip
DYED = ((176, 70, 96), (60, 120, 150), (120, 80, 150))
# Clothes and things, muted enough to go together.
CLOTH = ((236, 232, 222), (202, 198, 190), (122, 124, 130), (58, 62, 74), (30, 32, 40), (38, 58, 96), (60, 98, 150),
         (126, 170, 206), (44, 122, 122), (98, 158, 138), (62, 98, 62), (128, 142, 76), (216, 178, 66), (232, 150, 60),
         (214, 100, 62), (188, 54, 52), (126, 36, 54), (216, 120, 134), (240, 190, 186), (136, 92, 146), (86, 64, 120),
         (150, 110, 74), (196, 160, 120), (94, 66, 50))  # fmt: skip
DENIM = ((44, 62, 96), (70, 96, 138), (112, 140, 174), (36, 40, 54))


def pick(rng: Rng, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def weighted(rng: Rng, table: dict[T, float]) -> T:
    """One of the keys, as likely as its value says."""
    place = rng.uniform(0, sum(table.values()))
    for option, weight in table.items():
        place -= weight
        if place < 0:
            return option
    return option


def varied(rng: Rng, colour: Sequence[float], amount: float = 14.0) -> Colour:
    """A colour near ``colour``: brighter or darker as a whole, and a little off in each channel."""
    gain = rng.uniform(1 - amount / 90, 1 + amount / 90)
    shift = rng.normal(0, amount / 2, 3).tolist()
    r, g, b = (min(250.0, max(6.0, c * gain + d)) for c, d in zip(colour, shift, strict=True))
    return r, g, b


def mixed(a: Sequence[float], b: Sequence[float], share: float) -> Colour:
    """``a`` with ``share`` of ``b`` in it."""
    keep = 1 - share
    return a[0] * keep + b[0] * share, a[1] * keep + b[1] * share, a[2] * keep + b[2] * share


def shade(colour: Sequence[float], factor: float) -> Colour:
    """Darker (below 1) or brighter (above 1)."""
    r, g, b = colour
    return min(255.0, r * factor), min(255.0, g * factor), min(255.0, b * factor)


def skin_tone(rng: Rng) -> Colour:
    """A colour anywhere on the human range."""
    place = rng.uniform(0, len(SKIN) - 1)
    tone = [float(np.interp(place, np.arange(len(SKIN)), SKIN[:, k])) for k in range(3)]
    return varied(rng, tone, 5)


def cloth_colour(rng: Rng) -> Colour:
    """A colour of the table, varied."""
    return varied(rng, pick(rng, CLOTH), 16)


# --- tiles: (rng, ground colour, second colour) -> uint8 (TILE, TILE, 3), seamless at the edges ---


def _plain(ground: Colour) -> np.ndarray:
    tile = np.empty((TILE, TILE, 3), np.uint8)
    tile[:] = np.clip(ground, 0, 255)
    return tile


def stripes(rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """Bands across; a narrow third colour sometimes."""
    tile = _plain(ground)
    width = int(rng.integers(TILE // 5, TILE // 2))
    tile[:width] = second
    if rng.uniform() < 0.4:
        middle = (TILE + width) // 2
        tile[middle - 2 : middle + 2] = cloth_colour(rng)
    return tile


def checks(rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """Plaid: bands both ways, darker where they cross, with a fine line of another colour."""
    tile = _plain(ground).astype(np.float32)
    width = int(rng.integers(TILE // 4, TILE // 2))
    band = np.zeros(TILE, np.float32)
    band[:width] = 0.5
    share = (band[:, None] + band[None, :])[:, :, None]
    tile = tile * (1 - share) + np.asarray(second, np.float32) * share
    line = width + (TILE - width) // 2
    tile[line : line + 2] = tile[:, line : line + 2] = cloth_colour(rng)
    return tile.astype(np.uint8)


def dots(rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """Polka dots, in staggered rows."""
    tile = _plain(ground)
    radius = int(rng.integers(4, 8))
    for x, y in ((12, 12), (36, 36)):
        cv2.circle(tile, (x, y), radius, second, -1, lineType=cv2.LINE_AA)
    return tile


def knit(rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """Irregular threads: two noises, one along and one across."""
    noise = rng.normal(0, 0.16, (TILE, 1, 1)) + rng.normal(0, 0.16, (1, TILE, 1)) + rng.normal(0, 0.1, (TILE, TILE, 1))
    return np.clip(np.asarray(ground) * (1 + noise * 0.9) + np.asarray(second) * noise * 0.1, 0, 255).astype(np.uint8)


def speckles(rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """Scattered flecks, as of terrazzo, gravel or leaves."""
    tile = _plain(ground)
    for x, y, r, c in zip(
        *rng.integers(3, TILE - 3, (2, 22)), rng.integers(1, 5, 22), rng.uniform(0, 1, 22), strict=True
    ):
        cv2.ellipse(tile, (int(x), int(y)), (int(r), int(r) // 2 + 1), 360 * c, 0, 360, mixed(ground, second, c), -1)
    return tile


def flowers(rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """Small blossoms with leaves."""
    tile = _plain(ground)
    for x, y in ((14, 14), (36, 34)):
        spin = rng.uniform(0, 6)
        for petal in spin + np.arange(5) * 2 * np.pi / 5:
            place = (round(x + 5 * np.cos(petal)), round(y + 5 * np.sin(petal)))
            cv2.circle(tile, place, 4, second, -1, lineType=cv2.LINE_AA)
        cv2.circle(tile, (x, y), 3, mixed(second, (250, 220, 90), 0.7), -1, lineType=cv2.LINE_AA)
    return tile


def bricks(rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """Two staggered courses with mortar, each brick a little different."""
    tile = _plain(mixed(ground, second, 0.5))
    half = TILE // 2
    for row, shift in ((0, 0), (half, half // 2)):
        for start in (shift, shift + half):
            columns = np.arange(start + 1, start + half - 1) % TILE
            tile[row + 2 : row + half, columns] = varied(rng, ground, 10)
    return tile


def planks(rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """Boards with grain and dark joints."""
    rows = np.repeat(rng.normal(1, 0.06, 4), TILE // 4)[:, None] * (1 + rng.normal(0, 0.035, (TILE, 1)))
    tile = np.clip(np.asarray(ground) * rows[:, :, None], 0, 255) * np.ones((1, TILE, 1))
    tile[:: TILE // 4] = shade(ground, 0.7)
    for row, column in zip(range(0, TILE, TILE // 4), rng.integers(0, TILE, 4), strict=True):
        tile[row : row + TILE // 4, column] = shade(mixed(ground, second, 0.1), 0.7)
    return tile.astype(np.uint8)


def windows(rng: Rng, ground: Colour, second: Colour) -> np.ndarray:
    """A facade: one window with frame and sill a tile."""
    tile = _plain(ground)
    left, right = int(rng.integers(8, 14)), int(rng.integers(34, 41))
    tile[10:38, left:right] = shade(ground, 1.25)
    tile[12:36, left + 2 : right - 2] = second
    tile[12:24, left + 2 : right - 2] = mixed(second, (255, 255, 255), 0.22)
    tile[38:41, left - 2 : right + 2] = shade(ground, 0.75)
    tile[12:36, (left + right) // 2] = shade(ground, 1.1)
    return tile


Tiler = Callable[[Rng, Colour, Colour], np.ndarray]
CLOTH_TILES: dict[Tiler, float] = {stripes: 3, checks: 2, dots: 1.5, knit: 2, flowers: 1, speckles: 0.5}
WALL_TILES: dict[Tiler, float] = {
    stripes: 2,
    checks: 1,
    dots: 1,
    bricks: 2.5,
    planks: 1.5,
    flowers: 1,
    speckles: 1,
}


def cloth(rng: Rng, period: float, patterned: float = 0.5) -> Material:
    """Clothes' material; ``patterned`` is the chance of anything but a plain colour."""
    ground = cloth_colour(rng)
    if rng.uniform() > patterned:
        return Material(ground)
    return tiled(rng, weighted(rng, CLOTH_TILES), ground, cloth_colour(rng), period * rng.uniform(0.7, 1.6))


def tiled(rng: Rng, tiler: Tiler, ground: Colour, second: Colour, period: float, angle: float = 0.0) -> Material:
    """A material of repeated tiles, from a random start."""
    x, y = rng.uniform(0, period, 2)
    return Material(ground, tiler(rng, ground, second), period, angle, (float(x), float(y)))
