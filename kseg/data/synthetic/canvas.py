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
# How strongly a piece's lit side differs from its far side; red is lifted more than blue: warm light, cool shade.
SHADING = (0.40, 0.37, 0.32)

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
        shapes = [shape * scale + origin for shape in piece.shapes]
        reach = piece.roundness * scale
        region = self._region(shapes, reach + 2)
        if region is None:
            return
        rows, columns = region
        corner = np.array([columns.start, rows.start], float)
        stencil = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        for shape in shapes:
            cv2.fillPoly(stencil, [_fixed(shape - corner)], 255, shift=FRACTION_BITS)
        colours = self._fill(piece.material, region, scale, origin)
        for mark in piece.marks:
            _draw_mark(colours, mark, scale, origin - corner)
        target = self.image[rows, columns]
        if reach >= 1:
            self._shade(piece, stencil, colours, target, self.labels[rows, columns], reach)
        cv2.copyTo(colours, stencil, target)
        self.labels[rows, columns][stencil > 0] = piece.part

    def _region(self, shapes: list[np.ndarray], margin: float) -> tuple[slice, slice] | None:
        """Rows and columns around ``shapes``, cut to the picture; None where nothing is inside."""
        points = np.concatenate(shapes)
        (left, top), (right, bottom) = points.min(axis=0) - margin, points.max(axis=0) + margin
        height, width = self.labels.shape
        x0, y0 = max(0, int(left)), max(0, int(top))
        x1, y1 = min(width, int(right) + 1), min(height, int(bottom) + 1)
        return (slice(y0, y1), slice(x0, x1)) if x1 > x0 and y1 > y0 else None

    def _fill(
        self, material: Material, region: tuple[slice, slice], scale: float, origin: np.ndarray
    ) -> np.ndarray:
        rows, columns = region
        size = (columns.stop - columns.start, rows.stop - rows.start)
        if material.copied is not None and self.backdrop is not None:
            shift = int(material.copied * scale)
            x = np.abs(np.arange(columns.start, columns.stop) + shift) % (2 * self.backdrop.shape[1])
            x = np.minimum(x, 2 * self.backdrop.shape[1] - 1 - x)
            return np.ascontiguousarray(self.backdrop[rows][:, x])
        if material.tile is None:
            colours = np.empty((size[1], size[0], 3), np.uint8)
            colours[:] = np.clip(material.colour, 0, 255)
            return colours
        # The tile is first brought to about the size it will be seen at, or fine stripes would flicker.
        seen = material.period * scale
        tile = material.tile
        if seen < tile.shape[0]:
            n = max(2, round(seen))
            tile = cv2.resize(tile, (n, n), interpolation=cv2.INTER_AREA)
        c, s = np.cos(material.angle), np.sin(material.angle)
        inverse = np.array([[c, s], [-s, c]]) * (tile.shape[0] / seen)
        place = np.array(material.origin) * scale + origin - (columns.start, rows.start)
        matrix = np.concatenate([inverse, -(inverse @ place)[:, None]], axis=1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(tile, matrix, size, flags=flags, borderMode=cv2.BORDER_WRAP)

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
        size = 2 * int(reach) + 1
        height = cv2.blur(stencil, (size, size), borderType=cv2.BORDER_REPLICATE)
        step = max(1, int(reach * 0.7))
        padded = cv2.copyMakeBorder(height, step, step, step, step, cv2.BORDER_REPLICATE)
        dx, dy = np.rint(self.light * step).astype(int)
        rows, columns = height.shape
        towards = padded[step + dy : step + dy + rows, step + dx : step + dx + columns]
        away = padded[step - dy : step - dy + rows, step - dx : step - dx + columns]
        slope = cv2.subtract(away, towards, dtype=cv2.CV_32F)
        gains = cv2.merge([slope * np.float32(k / 255) + np.float32(1) for k in SHADING])
        cv2.multiply(colours, gains, dst=colours, dtype=cv2.CV_8U)
        if piece.overhang:
            shadow = towards * (labels > 0) * np.float32(-piece.overhang / 255) + np.float32(1)
            cv2.multiply(below, cv2.merge([shadow] * 3), dst=below, dtype=cv2.CV_8U)

    def _darken(self, shadow: tuple[float, float, float, float], scale: float, origin: np.ndarray) -> None:
        """A soft dark ellipse: where something stands."""
        x, y = np.array(shadow[:2]) * scale + origin
        rx, ry = shadow[2] * scale, shadow[3] * scale
        region = self._region([np.array([(x - rx, y - ry), (x + rx, y + ry)])], 0.0)
        if region is None:
            return
        rows, columns = region
        u = (np.arange(columns.start, columns.stop, dtype=np.float32) - x) / max(rx, 1e-6)
        v = (np.arange(rows.start, rows.stop, dtype=np.float32) - y) / max(ry, 1e-6)
        inside = np.clip(1 - u[None, :] ** 2 - v[:, None] ** 2, 0, 1)
        gain = (1 - 0.55 * inside).astype(np.float32)
        target = self.image[rows, columns]
        cv2.multiply(target, cv2.merge([gain] * 3), dst=target, dtype=cv2.CV_8U)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Pixel coordinates as cv2's fixed-point integers; far outside points are pulled in, or they overflow."""
    return np.rint(np.clip(points, -16000, 16000) * (1 << FRACTION_BITS)).astype(np.int32)


def _draw_mark(colours: np.ndarray, mark: Mark, scale: float, origin: np.ndarray) -> None:
    points = _fixed(mark.points * scale + origin)
    colour = tuple(float(min(max(c, 0), 255)) for c in mark.colour)
    if mark.width is None:
        cv2.fillPoly(colours, [points], colour, lineType=cv2.LINE_AA, shift=FRACTION_BITS)
    elif mark.width * scale > 0.4:  # thinner lines could not be seen in the reduced picture
        thickness = max(1, round(mark.width * scale))
        cv2.polylines(colours, [points], False, colour, thickness, lineType=cv2.LINE_AA, shift=FRACTION_BITS)


def _vote(labels: np.ndarray) -> np.ndarray:
    """The commonest of each 2x2 block; of two pairs, the one on or nearer to the falling diagonal."""
    a, d = labels[0::2, 0::2], labels[1::2, 1::2]
    b, c = labels[0::2, 1::2], labels[1::2, 0::2]
    return np.where(
        (a == b) | (a == c) | (a == d), a, np.where((b == c) | (b == d), b, np.where(c == d, c, a))
    )
