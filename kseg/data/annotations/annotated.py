"""What all sources of outlines and segments have in common: they list pictures, each with what is drawn on it."""

import contextlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from kseg.data.annotations.names import LabelNames
from kseg.data.folder import titles
from kseg.data.images import read_photo
from kseg.data.orientation import TURNED, orientation_of, turn_upright
from kseg.data.samples import Original, Size, View
from kseg.data.splits import Split
from kseg.errors import ConfigError, DataError
from kseg.palette import BACKGROUND
from kseg.settings import DataSettings, SourceSettings

Drawn = TypeVar("Drawn")
"""How a source keeps what is drawn on a picture."""


class Entry(NamedTuple, Generic[Drawn]):
    """A picture in an annotation file.

    Attributes:
        picture: Its file.
        file: Where the annotations are.
        size: (height, width) as the annotation file states it; None where it does not.
        drawn: On the picture.
    """

    picture: Path
    file: Path
    size: Size | None
    drawn: Drawn


class Reading(NamedTuple, Generic[Drawn]):
    """What a root's annotations hold.

    Attributes:
        entries: By name: the picture's path below its folder, without the ending.
        counts: How often each label is used.
        declared: Labels that are listed, used or not; None where there is no such list.
        faults: Pictures that cannot be used, by name, and why.
    """

    entries: dict[str, Entry[Drawn]]
    counts: Counter[str]
    declared: set[str] | None
    faults: dict[str, str]


class AnnotatedSource(ABC, Generic[Drawn]):
    """Pictures with outlines or segments drawn on them, in one or several roots.

    Names are ``root/path``, the picture's path below its folder without the ending, sorted within a root; roots keep
    their order. With ``on_bad_sample = "skip"`` pictures that are missing, or without sound annotations, are left out
    and listed, with the reason, in ``skipped``. Opening reads annotations only; pictures are decoded when loaded.

    Outlines are in the frame whose size the annotation file states, that of the upright picture or that of the file
    before its EXIF orientation turned it; the mask is turned with the picture then. Where both sizes are the same (no
    size stated, a square, half a turn, a mirror), outlines are taken to be in the upright one, which is what people
    see who draw them.
    """

    kind: ClassVar[str]
    """What ``data.source`` calls it."""
    covers_all: ClassVar[bool] = False
    """Whether annotations say of every pixel what it is; else, what no outline holds is background."""

    def __init__(self, data: DataSettings, settings: SourceSettings | None = None) -> None:
        """``settings`` say where the files are and what their labels mean; none: ``data`` itself does.

        Raises ConfigError for settings that do not fit the data, DataError for files that cannot be used.
        """
        self.settings = settings or data
        if not self.settings.roots:
            raise ConfigError(
                "data.roots: no folder is named; give one on the command line as --data DIR, where "
                f"DIR/{self.settings.images} holds the pictures"
            )
        if not self.covers_all and data.class_ids[0] != BACKGROUND:
            raise ConfigError(_complain_of_classes(self.kind, data.classes))
        self.split: Split | None = None
        self.sound = False
        self.labels = LabelNames(data.classes, self.settings.mask_values, data.ignore_class)
        self.skipped: dict[str, str] = {}
        self._entries: dict[str, Entry[Drawn]] = {}
        counts: Counter[str] = Counter()
        declared: set[str] | None = set()
        for title, root in zip(titles(self.settings.roots), self.settings.roots, strict=True):
            reading = self._read(root)
            counts += reading.counts
            declared = None if declared is None or reading.declared is None else declared | reading.declared
            self._list(title, reading)
        if self.skipped and data.on_bad_sample != "skip":
            raise DataError(_complain(list(self.skipped.values())))
        self.labels.require_known(", ".join(map(str, self.settings.roots)), counts, declared)
        self.names: Sequence[str] = list(self._entries)

    def load(self, index: int, view: View | None = None) -> Original:
        """Read a picture and draw its mask, of the picture's size. Raises DataError naming the annotation file."""
        entry = self._entries[self.names[index]]
        photo = read_photo(entry.picture, view)
        height, width = photo.size
        try:
            if entry.size in (None, (height, width)):
                return Original(photo.pixels, self._draw(entry.drawn, (height, width)), photo.size)
            orientation = _orientation(entry.picture)
            if orientation in TURNED and entry.size == (width, height):
                turned = turn_upright(self._draw(entry.drawn, (width, height)), orientation)
                return Original(photo.pixels, turned, photo.size)
        except DataError as error:
            raise DataError(f"{entry.file}: {entry.picture.name}: {error}") from None
        stated_height, stated_width = entry.size
        raise DataError(
            f"{entry.file}: states {stated_width!r} x {stated_height!r} (width x height) for {entry.picture}, which is "
            f"{width} x {height}; use the picture that was annotated, or annotate this one"
        )

    @abstractmethod
    def _read(self, root: Path) -> Reading[Drawn]:
        """All annotations below a root."""

    @abstractmethod
    def _draw(self, drawn: Drawn, size: Size) -> np.ndarray:
        """Class ids uint8 ``size`` of what is drawn on a picture of that size."""

    def _list(self, title: str, reading: Reading[Drawn]) -> None:
        for name in sorted(reading.entries):
            entry = reading.entries[name]
            if not is_there(entry.picture):
                reading.faults[name] = f"{entry.picture}: no such picture, and {entry.file} describes it"
            elif name not in reading.faults:
                self._entries[f"{title}/{name}"] = entry
        self.skipped |= {f"{title}/{name}": reason for name, reason in sorted(reading.faults.items())}

    def _annotation_file(self, root: Path, ending: str) -> Path:
        """The one file with all annotations that the settings name."""
        if self.settings.annotations:
            return root / self.settings.annotations
        found = [path.relative_to(root) for path in (*root.glob(f"*{ending}"), *root.glob(f"*/*{ending}"))]
        raise ConfigError(
            f"data.annotations: data.source = {self.kind} needs the name of the {ending} file below {root}"
            + (f"; there are {', '.join(map(str, sorted(found)[:5]))}" if found else "")
        )


def read_json(path: Path, convert: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """What a JSON file holds; ``convert`` replaces each object in it as soon as it is read. Raises DataError."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_hook=convert)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise DataError(f"{path}: no annotations, but brackets in brackets; export it again") from None
    except ValueError as error:  # also for bytes that are no text, and numbers beyond measure
        raise DataError(f"{path}: no sound JSON ({error}); export it again") from None


def picture_path(folder: Path, name: object, file: Path) -> tuple[str, Path]:
    """The name of a sample, and the path of its picture, which ``file`` calls ``name``.

    Raises DataError if that leads out of the folder.
    """
    path = PurePosixPath(str(name).replace("\\", "/"))
    if not isinstance(name, str) or path.is_absolute() or ".." in path.parts or not path.name or ":" in path.parts[0]:
        raise DataError(f"{file}: the picture's name {name!r} leads out of {folder}; write it as it is called in there")
    return str(path.with_suffix("")), folder / path


def stated_size(height: Any, width: Any) -> Size | None:
    """The size that a file states, as it stands there, to be compared with the picture's; None unless it is whole."""
    return None if height is None or width is None else (height, width)


def is_there(path: Path) -> bool:
    """Whether a file exists, whatever an annotation calls it: a name may be longer than any file's."""
    with contextlib.suppress(OSError):
        return path.is_file()
    return False


def _orientation(path: Path) -> int:
    with Image.open(path) as image:
        return orientation_of(image)


def _complain_of_classes(kind: str, classes: Sequence[str]) -> str:
    proposed = ", ".join(f'"{name}"' for name in (BACKGROUND, *(name for name in classes if name != BACKGROUND)))
    return (
        f"data.classes: {classes[0]} is class 0, which data.source = {kind} gives to all that no outline holds; "
        f'put "{BACKGROUND}" first: classes = [{proposed}]'
    )


def _complain(faults: Sequence[str]) -> str:
    more = f" ({len(faults)} such pictures)" if len(faults) > 1 else ""
    return f'{faults[0]}{more}; mend that, or leave them out with on_bad_sample = "skip"'
