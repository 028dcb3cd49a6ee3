"""CVAT's files: "CVAT for images 1.1", one XML for all pictures."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from kseg.data.annotations.annotated import Entry, Reading, picture_path
from kseg.data.annotations.regions import ellipse, patch, place, points, polygons, rectangle, runs
from kseg.data.annotations.shapes import Regions, Shape, ShapeSource, number
from kseg.data.samples import Size
from kseg.errors import DataError

MARKS = {"tag", "points", "skeleton", "attribute"}
"""Elements that are no area: of the whole picture, of places in it, and what is said of the picture. They are passed
over."""


class CvatSource(ShapeSource):
    """Pictures in the folder ``images``, and the file ``annotations``, unless it is told ``annotations.xml``.

    Shapes lie above one another by their ``z_order``, and in the file's order where that is the same.
    """

    kind = "cvat"
    regions: ClassVar[Regions] = {
        "polygon": lambda given, size: polygons([_points(given)], size),
        "box": lambda given, size: rectangle(
            _pair(given, "xtl", "ytl"), _pair(given, "xbr", "ybr"), _rotation(given), size
        ),
        "ellipse": lambda given, size: ellipse(
            _pair(given, "cx", "cy"), _pair(given, "rx", "ry"), _rotation(given), size
        ),
        "mask": lambda given, size: _mask(given, size),
    }

    def _read(self, root: Path) -> Reading[list[Shape]]:
        file = root / (self.settings.annotations or "annotations.xml")
        declared: set[str] = set()
        entries: dict[str, Entry[list[Shape]]] = {}
        faults: dict[str, str] = {}
        for element in _elements(file):
            if element.tag == "track":
                raise DataError(f'{file}: tracks of a video; export it from CVAT as "CVAT for images 1.1"')
            if element.tag == "label":
                declared.add(element.findtext("name", ""))
            elif element.tag == "image":
                name, path = picture_path(root / self.settings.images, element.get("name"), file)
                if name in entries or name in faults:
                    raise DataError(f"{file}: two pictures have the name {name}, but for the ending; rename one")
                try:
                    entries[name] = Entry(path, file, _stated(element), _shapes(element))
                except DataError as error:
                    faults[name] = f"{file}: {path.name}: {error}"
        if not entries and not faults:
            raise DataError(f'{file}: no picture in it; export it from CVAT as "CVAT for images 1.1"')
        counts = Counter(shape.label for entry in entries.values() for shape in entry.drawn)
        return Reading(entries, counts, declared, faults)


def _elements(file: Path) -> Iterator[ElementTree.Element]:
    """The labels, images and tracks of a file, which is read a piece at a time. Raises DataError."""
    try:
        with file.open("rb") as stream:
            _refuse_definitions(stream, file)
            stream.seek(0)
            for _, element in ElementTree.iterparse(stream):
                if element.tag in {"label", "image", "track"}:
                    yield element
                    element.clear()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(f"{file}: no sound XML ({error}); export it again") from None


def _refuse_definitions(stream: BinaryIO, file: Path) -> None:
    """Raise DataError if the file defines entities: a few lines of them can stand for gigabytes (XML 1.0, 4.4).

    Python's parser stops the worst of them, if its expat is of 2.4.1 or later. CVAT writes none.
    """

    def refuse(*_: object) -> None:
        raise DataError(f"{file}: has a document type, which CVAT never writes; remove it, or export the file again")

    started: list[str] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, _: started.append(name)
    while not started and (piece := stream.read(1 << 16)):
        parser.Parse(piece, False)


def _stated(image: ElementTree.Element) -> Size | None:
    if not {"width", "height"} <= image.attrib.keys():
        return None
    return int(number(image.attrib, "height")), int(number(image.attrib, "width"))


def _shapes(image: ElementTree.Element) -> list[Shape]:
    shapes = [child for child in image if child.tag not in MARKS]
    shapes.sort(key=lambda shape: number({"z_order": "0", **shape.attrib}, "z_order"))
    return [Shape(shape.tag, shape.get("label", ""), shape.attrib) for shape in shapes]


def _points(given: Mapping[str, Any]) -> np.ndarray:
    return points([pair.split(",") for pair in given.get("points", "").split(";")])


def _pair(given: Mapping[str, Any], x: str, y: str) -> np.ndarray:
    return np.array([number(given, x), number(given, y)])


def _rotation(given: Mapping[str, Any]) -> float:
    return number({"rotation": "0", **given}, "rotation")


def _mask(given: Mapping[str, Any], size: Size) -> np.ndarray:
    """Runs row by row within a box."""
    top, left, height, width = (int(number(given, key)) for key in ("top", "left", "height", "width"))
    where = place(top, left, (height, width), size)
    try:
        lengths = [int(length) for length in given["rle"].split(",")]
    except (KeyError, ValueError):
        raise DataError("its runs (rle) are no whole numbers; draw it anew, or remove it") from None
    return patch(runs(lengths, (height, width)), where, size)
