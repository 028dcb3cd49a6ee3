"""Painting flat, softly shaded pieces on a picture and, with the same pixels, on its labels.

Everything is drawn twice as large as asked and then halved: the picture by averaging, the labels by vote.
A piece writes picture and labels through one and the same stencil, so the two cannot disagree.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

# Pictures are drawn this many times larger and then reduced: that smooths the edges.
OVERSAMPLING = 2
# cv2 takes polygons in fixed-point numbers: four bits of fraction are a sixteenth of a drawn pixel.
FRACTION_BITS = 4
# How much brighter a piece's lit edge is, and how much darker its far edge, for a slope that is given in 255ths.
SHADING = np.float32(0.38 / 255)
ONE = np.float32(1)
# Outlines are cut to this many fixed-point steps from the corner of what is drawn.
FAR = 16000 << FRACTION_BITS

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """What a piece is made of.

    ``tile`` uint8 (n, n, 3) repeats every ``period`` units, turned by ``angle`` around ``origin``.
    ``copied`` takes the picture itself, from that many units to the right, as it was before any figure.
    """

    colour: Colour
    tile: np.ndarray | None = None
    period: float = 0.1
    angle: float = 0.0
    origin: tuple[float, float] = (0.0, 0.0)
    copied: float | None = None


@dataclass(frozen=True)
class Mark:
    """A detail inside a piece: a filled outline, or a line where ``width`` (in units) is given."""

    points: np.ndarray
    colour: Colour
    width: float | None = None


@dataclass(frozen=True)
class Piece:
    """One surface: the union of ``shapes``, labelled ``part``.

    ``roundness`` is how far, in units, the shading reaches in from the edge (0: flat).
    ``overhang`` is how dark its shadow on whatever person is under it (0: none).
    """

    shapes: list[np.ndarray]
    material: Material
    part: int = 0
    roundness: float = 0.0
    overhang: float = 0.0
    marks: list[Mark] = field(default_factory=list)


@dataclass(frozen=True)
class Layer:
    """Pieces in their own units: one unit is ``scale`` scene units, the origin lies at ``x, y`` in the scene.

    ``shadow`` is the ellipse (x, y, rx, ry), in the layer's units, that is darkened before the pieces are painted.
    """

    pieces: list[Piece]
    scale: float = 1.0
    x: float = 0.0
    y: float = 0.0
    person: bool = False
    shadow: tuple[float, float, float, float] | None = None


@dataclass
class Canvas:
    """A picture uint8 (H, W, 3) RGB, its labels uint8 (H, W), and where the light comes from.

    ``unit`` is the number of drawn pixels per scene unit, ``light`` points to the light in the picture's plane.
    """

    image: np.ndarray
    labels: np.ndarray
    unit: float
    light: np.ndarray
    backdrop: np.ndarray | None = None

    def paint(self, layer: Layer, shadows: bool = True) -> None:
        """Paint a layer's shadow and then its pieces in their order."""
        scale = self.unit * layer.scale
        origin = np.array([layer.x, layer.y]) * self.unit
        if shadows and layer.shadow is not None:
            self._darken(layer.shadow, scale, origin)
        for piece in layer.pieces:
            self._paint(piece, scale, origin)

    def reduced(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture and the labels at the size that was asked for."""
        height, width = (n // OVERSAMPLING for n in self.labels.shape)
        image = cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)
        return image, _vote(self.labels)

    def _paint(self, piece: Piece, scale: float, origin: np.ndarray) -> None:
        reach = piece.roundness * scale
        points = _fixed_point(np.concatenate(piece.shapes), scale, origin)
        # Outside its outline a piece only matters as far as its shadow falls.
        region = self._region(points, (1.7 * reach if piece.overhang else 0) + 2)
        if region is None:
            return
        rows, columns = region
        corner = np.array([columns.start, rows.start])
        points -= corner << FRACTION_BITS
        stencil = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        for outline in _split(points, piece.shapes):
            cv2.fillPoly(stencil, [outline], 255, shift=FRACTION_BITS)
        colours = self._fill(piece.material, region, scale, origin)
        _draw_marks(colours, piece.marks, scale, origin - corner)
        target, labels = self.image[rows, columns], self.labels[rows, columns]
        if reach >= OVERSAMPLING:  # a narrower cushion would be less than a pixel of the reduced picture
            self._shade(piece, stencil, colours, target, labels, reach)
        cv2.copyTo(colours, stencil, target)
        np.copyto(labels, np.uint8(piece.part), where=stencil > 0)

    def _region(self, points: np.ndarray, margin: float) -> tuple[slice, slice] | None:
        """Rows and columns around fixed-point ``points``, cut to the picture; None where nothing is inside."""
        one = 1 << FRACTION_BITS
        left, top, across, down = cv2.boundingRect(points)
        height, width = self.labels.shape
        x0, y0 = max(0, int(left / one - margin)), max(0, int(top / one - margin))
        x1, y1 = min(width, int((left + across) / one + margin) + 1), min(height, int((top + down) / one + margin) + 1)
        return (slice(y0, y1), slice(x0, x1)) if x1 > x0 and y1 > y0 else None

    def _fill(self, material: Material, region: tuple[slice, slice], scale: float, origin: np.ndarray) -> np.ndarray:
        """The material as it is seen in a region, uint8 (rows, columns, 3)."""
        rows, columns = region
        if material.copied is not None and self.backdrop is not None:
            # Beyond the frame's edge the copy is mirrored.
            width = self.backdrop.shape[1]
            x = (np.arange(columns.start, columns.stop) + int(material.copied * scale)) % (2 * width)
            return self.backdrop[rows].take(np.minimum(x, 2 * width - 1 - x), axis=1)
        if material.tile is not None:
            return _tiled(material, region, scale, origin)
        colours = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
        colours[:] = _bytes(material.colour)
        return colours

    def _shade(
        self,
        piece: Piece,
        stencil: np.ndarray,
        colours: np.ndarray,
        below: np.ndarray,
        labels: np.ndarray,
        reach: float,
    ) -> None:
        """Light and shade ``colours`` (in place) as if the stencil were a cushion, and drop its shadow ``below``.

        The blurred stencil is the cushion's height; its slope towards the light is what brightens it.
        """
        radius = int(reach)
        size = (2 * radius + 1, 2 * radius + 1)
        # A blur whose window lies off its pixel is the height some way towards the light, or away from it.
        dx, dy = round(self.light[0] * reach * 0.7), round(self.light[1] * reach * 0.7)
        towards, away = (
            cv2.blur(stencil, size, anchor=(radius - sign * dx, radius - sign * dy), borderType=cv2.BORDER_REPLICATE)
            for sign in (1, -1)
        )
        slope = cv2.subtract(away, towards, dtype=cv2.CV_32F)
        gain = slope * SHADING + ONE
        cv2.multiply(colours, cv2.merge([gain, gain, gain]), dst=colours, dtype=cv2.CV_8U)
        if piece.overhang:
            gain = towards * (labels > 0) * np.float32(-piece.overhang / 255) + ONE
            cv2.multiply(below, cv2.merge([gain, gain, gain]), dst=below, dtype=cv2.CV_8U)

    def _darken(self, shadow: tuple[float, float, float, float], scale: float, origin: np.ndarray) -> None:
        """A soft dark ellipse: where something stands."""
        x, y = np.array(shadow[:2]) * scale + origin
        rx, ry = shadow[2] * scale, shadow[3] * scale
        region = self._region(_fixed_point(np.array([(x - rx, y - ry), (x + rx, y + ry)]), 1.0, np.zeros(2)), 0.0)
        if region is None:
            return
        rows, columns = region
        u = (np.arange(columns.start, columns.stop, dtype=np.float32) - x) / max(rx, 1e-6)
        v = (np.arange(rows.start, rows.stop, dtype=np.float32) - y) / max(ry, 1e-6)
        inside = np.clip(1 - u[None, :] ** 2 - v[:, None] ** 2, 0, 1)
        gain = (1 - 0.55 * inside).astype(np.float32)
        target = self.image[rows, columns]
        cv2.multiply(target, cv2.merge([gain] * 3), dst=target, dtype=cv2.CV_8U)


def _tiled(material: Material, region: tuple[slice, slice], scale: float, origin: np.ndarray) -> np.ndarray:
    """A repeated tile, uint8 (rows, columns, 3)."""
    rows, columns = region
    tile = material.tile
    assert tile is not None
    # The tile is first brought to about the size it will be seen at, or fine stripes would flicker.
    seen = material.period * scale
    n = min(len(tile), max(2, round(seen)))
    if n < len(tile):
        tile = cv2.resize(tile, (n, n), interpolation=cv2.INTER_AREA)
    x, y = (origin + np.array(material.origin) * scale).tolist()
    ratio = n / seen
    if material.angle == 0.0:
        across = ((np.arange(columns.start, columns.stop) - x) * ratio).astype(int) % n
        down = ((np.arange(rows.start, rows.stop) - y) * ratio).astype(int) % n
        return tile.take(down, axis=0).take(across, axis=1)
    c, s = np.cos(material.angle) * ratio, np.sin(material.angle) * ratio
    x, y = x - columns.start, y - rows.start
    matrix = np.array([(c, s, -c * x - s * y), (-s, c, s * x - c * y)])
    size = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned: np.ndarray = cv2.warpAffine(tile, matrix, size, flags=flags, borderMode=cv2.BORDER_WRAP)
    return turned


def _bytes(colour: Colour) -> tuple[int, int, int]:
    r, g, b = colour
    return min(255, max(0, int(r))), min(255, max(0, int(g))), min(255, max(0, int(b)))


def _fixed_point(points: np.ndarray, scale: float, origin: np.ndarray) -> np.ndarray:
    """Points as cv2's fixed-point pixels; far outside ones are pulled in, or they would overflow."""
    one = 1 << FRACTION_BITS
    fixed: np.ndarray = np.rint((points * (scale * one) + origin * one).clip(-FAR, FAR)).astype(np.int32)
    return fixed


def _split(points: np.ndarray, shapes: list[np.ndarray]) -> list[np.ndarray]:
    """Joined points back into outlines as long as ``shapes``."""
    outlines, start = [], 0
    for shape in shapes:
        stop = start + len(shape)
        outlines.append(points[start:stop])
        start = stop
    return outlines


def _draw_marks(colours: np.ndarray, marks: list[Mark], scale: float, origin: np.ndarray) -> None:
    # Lines thinner than this could not be seen in the reduced picture.
    marks = [mark for mark in marks if mark.width is None or mark.width * scale > 0.4]
    if not marks:
        return
    outlines = [mark.points for mark in marks]
    fixed = _fixed_point(np.concatenate(outlines), scale, origin)
    for mark, points in zip(marks, _split(fixed, outlines), strict=True):
        if mark.width is None:
            cv2.fillPoly(colours, [points], mark.colour, lineType=cv2.LINE_AA, shift=FRACTION_BITS)
        else:
            thickness = max(1, round(mark.width * scale))
            cv2.polylines(colours, [points], False, mark.colour, thickness, lineType=cv2.LINE_AA, shift=FRACTION_BITS)


def _vote(labels: np.ndarray) -> np.ndarray:
    """The commonest label of each 2x2 block; of two pairs, the one that the upper left pixel has."""
    a, d = labels[0::2, 0::2], labels[1::2, 1::2]
    b, c = labels[0::2, 1::2], labels[1::2, 0::2]
    return np.where((a == b) | (a == c) | (a == d), a, np.where((b == c) | (b == d), b, np.where(c == d, c, a)))
