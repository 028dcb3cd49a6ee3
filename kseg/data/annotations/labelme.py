"""labelme's files: one JSON with shapes for each picture."""

import base64
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from kseg.data.annotations.annotated import Entry, Reading, read_json, stated_size
from kseg.data.annotations.regions import ellipse, patch, place, points, polygons, rectangle
from kseg.data.annotations.shapes import Regions, Shape, ShapeSource
from kseg.data.folder import by_stem
from kseg.data.images import PICTURE_ENDINGS
from kseg.data.samples import Size
from kseg.errors import DataError

MARKS = {"point", "points"}
"""Kinds of shapes that show a place, not an area; they are passed over."""


class LabelmeSource(ShapeSource):
    """Pictures in the folder ``images``, each with ``STEM.json`` beside it, or in the folder ``annotations``.

    Shapes lie above one another in the file's order. What the file says of its picture's path does not matter. The
    picture that may stand in the file itself (``imageData``) is not looked at, but reading it takes time.
    """

    kind = "labelme"
    regions: ClassVar[Regions] = {
        "polygon": lambda given, size: polygons([points(given.get("points"))], size),
        "oriented_rectangle": lambda given, size: polygons([points(given.get("points"))], size),
        "rectangle": lambda given, size: rectangle(*_two(given), 0, size),
        "circle": lambda given, size: _circle(*_two(given), size),
        "mask": lambda given, size: _mask(*_two(given), given.get("mask"), size),
    }

    def _read(self, root: Path) -> Reading[list[Shape]]:
        pictures = root / self.settings.images
        annotations = root / self.settings.annotations if self.settings.annotations else pictures
        counts: Counter[str] = Counter()
        entries: dict[str, Entry[list[Shape]]] = {}
        faults: dict[str, str] = {}
        for stem, picture in by_stem(pictures, PICTURE_ENDINGS, "pictures").items():
            file = annotations / f"{stem}.json"
            try:
                size, shapes = _read_file(file, picture)
            except DataError as error:
                faults[stem] = str(error)
                continue
            counts.update(shape.label for shape in shapes)
            entries[stem] = Entry(picture, file, size, shapes)
        return Reading(entries, counts, None, faults)


def _read_file(file: Path, picture: Path) -> tuple[Size | None, list[Shape]]:
    """The size that is stated for the picture, and its shapes but for the marks."""
    if not file.is_file():
        raise DataError(f"{picture}: has no {file}; save one, without shapes if there is nothing to see")
    whole = read_json(file)
    if not isinstance(whole, dict) or not isinstance(whole.get("shapes"), list):
        raise DataError(f"{file}: has no list shapes; is it labelme's?")
    shapes = []
    for number, given in enumerate(whole["shapes"], 1):
        if not isinstance(given, dict) or not isinstance(given.get("label"), str):
            raise DataError(f"{file}: shape {number} has no label; add it")
        kind = str(given.get("shape_type") or "polygon")
        if kind not in MARKS:
            shapes.append(Shape(kind, given["label"], given))
    return stated_size(whole.get("imageHeight"), whole.get("imageWidth")), shapes


def _two(given: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    found = points(given.get("points"))
    if len(found) != 2:
        raise DataError(f"it has {len(found)} points, not two; draw it anew, or remove it")
    return found[0], found[1]


def _circle(centre: np.ndarray, edge: np.ndarray, size: Size) -> np.ndarray:
    return ellipse(centre, np.full(2, np.hypot(*(edge - centre))), 0, size)


def _mask(first: np.ndarray, last: np.ndarray, png: Any, size: Size) -> np.ndarray:
    """A PNG in base64; the points are its first pixel and its last."""
    (left, top), (right, bottom) = np.rint([first, last]).clip(-1, 1 << 30).astype(int).tolist()
    extent = bottom - top + 1, right - left + 1
    where = place(top, left, extent, size)
    try:
        with Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("L")) > 0 if image.size == extent[::-1] else None
    except (TypeError, ValueError, SyntaxError, OSError):  # what Pillow raises on damage
        raise DataError("its mask is no PNG in base64; draw it anew, or remove it") from None
    if pixels is None:
        raise DataError(f"its mask is not of {extent[1]} x {extent[0]} pixels, as its points say; draw it anew")
    return patch(pixels, where, size)
