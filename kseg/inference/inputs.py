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

    Results of a folder's files keep its structure below ``out``; those of other files lie in ``out`` itself. Of what
    is not named itself, hidden files are left out, and so are earlier results: the files below ``out`` whose names,
    without the ending, end in one of ``written``.

    Raises DataError if a folder holds nothing, or a pattern matches nothing.
    """
    out = out.resolve()
    endings = tuple(written)

    def is_ours(file: Path) -> bool:
        """Whether an earlier call may have written it."""
        return file.stem.endswith(endings) and out in file.resolve().parents

    found: dict[Path, Input] = {}
    for name in names:
        for path, place in _expand(name, is_ours):
            found.setdefault(path.resolve(), Input(path, place))
    return list(found.values())


def with_own_places(inputs: Sequence[Input], files: Callable[[Input], Iterable[Path]]) -> Iterator[Input]:
    """The inputs, a number added to the places whose ``files`` would overwrite another's, or an input."""
    taken = {item.path.resolve() for item in inputs}
    numbers: dict[PurePath, int] = {}  # the last of each name: thousands of photos may be called alike
    for path, wanted in inputs:
        item = Input(path, wanted)
        while taken & (wants := {file.resolve() for file in files(item)}):
            numbers[wanted] = numbers.get(wanted, 1) + 1
            item = Input(path, wanted.with_name(f"{wanted.name}-{numbers[wanted]}"))
        taken |= wants
        yield item


Found = Iterator[tuple[Path, PurePath]]


def _expand(name: str, is_ours: Callable[[Path], bool]) -> Found:
    path = Path(name)
    if path.is_dir():
        found = list(_walk(path, is_ours))
        if not found:
            raise DataError(f"{path}: no photos or films in this folder; {' '.join((*PHOTOS, *FILMS))} are read")
    elif path.exists() or not glob.has_magic(name):  # what is not there is reported with what cannot be read
        found = [(path, PurePath(path.stem))]
    else:
        found = list(_matches(name, is_ours))
        if not found:
            raise DataError(f"{name}: no file matches this pattern")
    yield from found


def _matches(pattern: str, is_ours: Callable[[Path], bool]) -> Found:
    """What matches, whatever its ending; and what lies in folders that match, which may hold nothing."""
    for match in map(Path, sorted(glob.glob(pattern, recursive=True))):  # noqa: PTH207 - relative and absolute patterns
        if match.is_dir():
            yield from _walk(match, is_ours)
        elif not is_ours(match):
            yield match, PurePath(match.stem)


def _walk(folder: Path, is_ours: Callable[[Path], bool]) -> Found:
    for file in sorted(folder.rglob("*")):
        within = file.relative_to(folder)
        if (
            file.suffix.lower() in (*PHOTOS, *FILMS)
            and not any(part.startswith(".") for part in within.parts)
            and not is_ours(file)
            and file.is_file()
        ):
            yield file, within.with_suffix("")
