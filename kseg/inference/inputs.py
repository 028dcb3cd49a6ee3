"""What is to be segmented: files, folders with all that is below them, patterns; and where each one's results go."""

import glob
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from kseg.data.images import PICTURE_ENDINGS
from kseg.errors import DataError

PHOTOS = (*PICTURE_ENDINGS, ".gif")
FILMS = (".mp4", ".avi", ".webm", ".mov", ".mkv")


class Input(NamedTuple):
    """A file, and the place of its results: the path below the output folder, without an ending."""

    path: Path
    place: PurePath

    @property
    def is_film(self) -> bool:
        """Whether it is to be read frame by frame."""
        return self.path.suffix.lower() in FILMS


def find_inputs(names: Sequence[str], out: Path, written: Sequence[str]) -> list[Input]:
    """The files named, those that patterns match, and the photos and films in folders, each file once.

    Results of a folder's files keep its structure below ``out``; those of other files lie in ``out`` itself. In
    folders, what is hidden is left out, and so are earlier results: all below ``out``, or, where ``out`` is the
    folder itself, the files whose names end in one of ``written``.

    Raises DataError if a folder holds nothing, or a pattern matches nothing.
    """
    found: dict[Path, Input] = {}
    for name in names:
        for path, place in _expand(name, out.resolve(), tuple(written)):
            found.setdefault(path.resolve(), Input(path, place))
    return list(found.values())


def with_own_places(inputs: Sequence[Input], files: Callable[[Input], Iterable[Path]]) -> Iterator[Input]:
    """The inputs, a number added to the places whose ``files`` would overwrite another's, or an input."""
    taken = {item.path.resolve() for item in inputs}
    for path, wanted in inputs:
        item, number = Input(path, wanted), 1
        while taken & (wants := {file.resolve() for file in files(item)}):
            number += 1
            item = Input(path, wanted.with_name(f"{wanted.name}-{number}"))
        taken |= wants
        yield item


Found = Iterator[tuple[Path, PurePath]]


def _expand(name: str, out: Path, written: tuple[str, ...]) -> Found:
    path = Path(name)
    if path.is_dir():
        yield from _walk(path, out, written)
    elif path.exists() or not glob.has_magic(name):  # what is not there is reported with what cannot be read
        yield path, PurePath(path.stem)
    else:
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - relative and absolute patterns
        if not matches:
            raise DataError(f"{name}: no file matches this pattern")
        for match in map(Path, matches):
            yield from _walk(match, out, written) if match.is_dir() else [(match, PurePath(match.stem))]


def _walk(folder: Path, out: Path, written: tuple[str, ...]) -> Found:
    here = folder.resolve()

    def is_ours(file: Path) -> bool:
        """Whether an earlier call may have written it."""
        return out in file.parents and (out != here or file.stem.endswith(written))

    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in (*PHOTOS, *FILMS)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and not is_ours(file.resolve())
        and file.is_file()
    ]
    if not files:
        raise DataError(f"{folder}: no photos or films in this folder; {' '.join((*PHOTOS, *FILMS))} are read")
    for file in files:
        yield file, file.relative_to(folder).with_suffix("")
