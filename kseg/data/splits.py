"""Which samples train and which validate."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from kseg.errors import DataError, did_you_mean
from kseg.settings import DataSettings


class Split(NamedTuple):
    """Positions in the list of samples, in ascending order."""

    training: list[int]
    validation: list[int]


def choose_split(
    names: Sequence[str],
    left_out: Collection[int],
    settings: DataSettings,
    own: Split | None = None,
    skipped: Iterable[str] = (),
) -> Split:
    """Split the samples that are not left out: by the settings' lists; else as ``own`` says, and by every n-th of the
    sorted names where that says nothing.

    ``skipped``: names that lists may hold as well, of samples that the source itself has left out. Raises DataError if
    the lists or the samples make no split.
    """
    kept = [index for index in range(len(names)) if index not in left_out]
    if settings.train_list and settings.validation_list:
        known = with_skipped(names, skipped)
        return _split_kept(known, set(kept), settings.train_list, settings.validation_list)
    training, validation = (set(side) - set(left_out) for side in own or Split([], []))
    free = [index for index in kept if index not in training and index not in validation]
    if free or not validation:
        split = split_every(len(free), settings.validation_every)
        training |= {free[place] for place in split.training}
        validation |= {free[place] for place in split.validation}
    return Split(sorted(training), sorted(validation))


def find_split(names: Sequence[str], training: Sequence[str], validation: Sequence[str]) -> Split:
    """The positions of an earlier split's samples, by name. Raises DataError if some are gone."""
    positions = {name: index for index, name in enumerate(names)}
    gone = [name for name in (*training, *validation) if name not in positions]
    if gone:
        raise DataError(
            f"{gone[0]}: was there when the run started and is gone now ({len(gone)} such samples); "
            "put them back, or start a new run"
        )
    return Split([positions[name] for name in training], [positions[name] for name in validation])


def split_every(count: int, every: int) -> Split:
    """Every n-th of ``count`` sorted samples validates: the n-th, the 2n-th, ..., counted from one."""
    if count < every:
        raise DataError(
            f"{count} samples, and every {every}th is validation: none would be; "
            f"set data.validation_every = {max(2, count // 2)}, or name them in data.validation_list"
        )
    validation = list(range(every - 1, count, every))
    taken = set(validation)
    return Split([index for index in range(count) if index not in taken], validation)


def _split_kept(names: Sequence[str], kept: Collection[int], training: Path, validation: Path) -> Split:
    """The lists' split, without what is not kept."""
    split = split_lists(names, training, validation)
    return Split(only_kept(split.training, kept, training), only_kept(split.validation, kept, validation))


def with_skipped(names: Sequence[str], skipped: Iterable[str]) -> list[str]:
    """What a list may name: the samples there are, at their positions, and behind them those that a source skipped."""
    return [*names, *sorted(set(skipped).difference(names))]


def only_kept(listed: Iterable[int], kept: Collection[int], path: Path) -> list[int]:
    """Those of the samples that a text file names that are kept. Raises DataError if none is."""
    found = [index for index in listed if index in kept]
    if not found:
        raise DataError(f"{path}: none of the samples that it names can be used; mend them, or name others")
    return found


def split_lists(names: Sequence[str], training: Path, validation: Path) -> Split:
    """Samples named in two text files, one name a line (with or without the folder or an ending)."""
    split = Split(read_list(training, names), read_list(validation, names))
    both = set(split.training) & set(split.validation)
    if both:
        raise DataError(
            f"{validation}: {names[min(both)]} is also in {training} ({len(both)} such samples); "
            "a picture that was trained on cannot validate"
        )
    return split


def read_list(path: Path, names: Sequence[str]) -> list[int]:
    """The positions among ``names`` of the samples a text file names. Raises DataError if one is not there."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of samples: {error}") from None
    found = find_names([line for line in lines if line and not line.startswith("#")], names, str(path))
    if not found:
        raise DataError(f"{path}: names no sample; write one a line")
    return sorted(set(found))


def find_names(wanted: Sequence[str], names: Sequence[str], origin: str) -> list[int]:
    """The positions among ``names`` of samples that ``origin`` names, with or without the folder or an ending.

    Raises DataError if one is not there, or stands in several folders.
    """
    positions = {name: index for index, name in enumerate(names)}
    stems: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        stems.setdefault(Path(name).name, []).append(index)

    def find(line: str) -> int:
        path = Path(line)
        for name in (line, str(path.with_suffix("")) if path.name else line):
            if name in positions:
                return positions[name]
            if len(stems.get(name, ())) == 1:
                return stems[name][0]
            if name in stems:
                raise DataError(f"{origin}: {line} stands in several folders; write it as folder/{name}")
        raise DataError(f"{origin}: no sample is called {line}{did_you_mean(line, positions)}")

    return [find(line) for line in wanted]
