"""A copy of a data set with what can be mended mended, and the rest left out. The original is only read."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from os import cpu_count
from pathlib import Path

from kseg.ahead import work_ahead
from kseg.data.check.checking import AHEAD, Check, find_same
from kseg.data.check.findings import Kind
from kseg.data.check.mending import IMAGES, MASKS, Mended, leave_out, mend
from kseg.data.check.parts import FolderPart
from kseg.errors import ConfigError, KsegError
from kseg.files import flush, write_csv

LOG = "changes.csv"
COLUMNS = ("file", "change", "written")

UNUSED = {Kind.ENDING, Kind.NO_PICTURE, Kind.LOSSY, Kind.SAME_STEM}
"""What a listing finds that is about a file of no pair."""

Track = Callable[[Iterable[Mended], int], Iterable[Mended]]


@dataclass(frozen=True)
class Fixed:
    """A finished copy.

    Attributes:
        roots: Its folders, each with images and masks.
        kept: Samples in it.
        left_out: Samples that are not.
        changes: Rows of its log.
        mask_values: The setting that its masks need.
    """

    roots: tuple[Path, ...]
    kept: int
    left_out: int
    changes: int
    mask_values: dict[str, str | int]


def fix_data(check: Check, out: Path, track: Track = lambda samples, _: samples) -> Fixed:
    """Write a cleaned copy of the folders that were checked.

    Photos are upright; masks are class ids as PNG, of their photo's size. Of the same pictures the first is kept.
    Pairs that cannot be used are left out. ``changes.csv`` names every change. The copy gets its name when it is
    whole: what an interrupted call leaves is hidden beside it, and the next call begins anew.

    Args:
        check: What was found.
        out: A folder that is not there yet, or is empty.
        track: To show progress.

    Raises:
        ConfigError: a source is no folder, or ``out`` is in use or inside of the original.
        KsegError: something cannot be written.
    """
    folders = [part for part in check.parts if isinstance(part, FolderPart)]
    if len(folders) < len(check.parts):
        raise ConfigError("--fix: copies folders of pictures and masks; write other sources with kseg-data prepare")
    roots = [root for settings in check.data.sources for root in settings.roots]
    _require_free(out, roots)
    target = out.absolute()
    unfinished = target.with_name(f".{target.name}.kseg-fix")
    places = dict(zip(roots, _places(roots), strict=True))
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        for place in places.values():
            for folder in (IMAGES, MASKS):
                (unfinished / place / folder).mkdir(parents=True, exist_ok=True)
        mended = list(track(_mend_all(check, folders, unfinished, places), len(check.samples)))
        rows = [row for one in mended for row in one.changes] + [
            {"file": str(finding.files[-1]), "change": f"left out: {finding.kind}"}
            for part in folders
            for finding in part.findings
            if finding.kind in UNUSED
        ]
        write_csv(unfinished / LOG, COLUMNS, rows)
        flush(unfinished)
        unfinished.rename(target)
    except OSError as error:
        raise KsegError(f"{out}: cannot be written: {error.strerror or error}; the original is untouched") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    kept = sum(one.kept for one in mended)
    mapping = _mapping(check, any(one.ignored for one in mended))
    return Fixed(tuple(out / place for place in places.values()), kept, len(mended) - kept, len(rows), mapping)


def _require_free(out: Path, roots: Sequence[Path]) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--fix {out}: is there already; name a new folder for the copy")
    for root in roots:
        if out.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"--fix {out}: lies inside of {root}, which stays as it is; name a folder elsewhere")


def _places(roots: Sequence[Path]) -> list[str]:
    """The place of each root in the copy: the copy itself, or a folder of it where there are several."""
    if len(roots) == 1:
        return ["."]
    names = [root.absolute().name for root in roots]
    places: list[str] = []
    for name in names:
        numbered = (f"{name}-{number}" for number in count(1))
        taken = {*names, *places}
        places.append(name if names.count(name) == 1 else next(place for place in numbered if place not in taken))
    return places


def _mapping(check: Check, ignored: bool) -> dict[str, str | int]:
    """``data.mask_values`` for masks of class ids: of one class, 0 and 1 alone need none."""
    binary = check.data.num_classes == 1
    return {"0": 0, "1": 1, str(check.data.ignore_class): "ignore"} if binary and ignored else {}


def _mend_all(check: Check, folders: Sequence[FolderPart], out: Path, places: dict[Path, str]) -> Iterator[Mended]:
    jobs = [(pair, part.rules.labels) for part in folders for pair in part.pairs]
    left_out = _left_out(check)

    def mend_one(index: int) -> Mended:
        pair, labels = jobs[index]
        if index in left_out:
            return leave_out(pair, left_out[index])
        return mend(pair, labels, _is_turned(check, index), out / places[pair.root])

    with ThreadPoolExecutor(cpu_count()) as threads:
        for _, future in work_ahead(threads, mend_one, range(len(jobs)), AHEAD):
            yield future.result()


def _left_out(check: Check) -> dict[int, str]:
    """Why samples are not copied, by their places."""
    reasons = {}
    for index, sample in enumerate(check.samples):
        if sample.ambiguous:
            reasons[index] = str(Kind.SAME_STEM)
        elif sample.mask is None:
            reasons[index] = str(Kind.NO_MASK)
        elif not sample.usable and not _is_turned(check, index):
            reasons[index] = ", ".join(dict.fromkeys(finding.kind for finding in sample.findings))
    unfit = frozenset(reasons)
    for twin in find_same(check.samples, unfit):
        # what is near to one that is not copied need not be near to one that is; a copy of its bytes is
        if twin.exact or twin.earlier not in reasons:
            same = "file" if twin.exact else "picture"
            reasons[twin.index] = f"the same {same} as {check.samples[twin.earlier].picture}"
    return reasons


def _is_turned(check: Check, index: int) -> bool:
    """Whether all that is wrong with a sample is the direction of its mask."""
    sample = check.samples[index]
    return sample.size is not None and any(finding.kind == Kind.EXIF for finding in sample.findings)
