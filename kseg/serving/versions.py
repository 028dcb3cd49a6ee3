"""Publishing versions of a model where TensorFlow Serving polls for them: seen whole or not at all.

Serving loads any child whose name is an integer, complete or not. So a version is made under a hidden name beside the
others, put on the disk, and renamed at last; one that goes is renamed back to a hidden name before it is removed.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kseg.errors import ExportError
from kseg.files import flush, flush_one, write_text
from kseg.serving.folder import (
    GRAPH,
    highest_number,
    locked,
    model_name,
    reporting,
    require_no_file,
    require_no_strays,
    versions,
)
from kseg.serving.labels import CANARY, STABLE, labels_in_use, read_labels, set_labels

__all__ = ["origin_of", "prune", "publish", "rollback", "versions"]

REPUBLISHED = Path("assets.extra", "republished.json")
"""In a version made by ``rollback``: which one it repeats."""

_NEW, _OLD = ".new-", ".old-"
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


def publish(model_dir: Path, write: Callable[[Path], None]) -> Path:
    """Publish what ``write`` puts into the empty folder it is given as the next version of the model.

    Exporting, warm-up requests, the card and every check belong into ``write``: if it raises, nothing is published.
    The version's number is one above the highest there. What killed exports left in ``model_dir`` is removed first.

    Args:
        model_dir: The folder of the model's versions; its name is the model's. Made if it is not there.
        write: Fills the folder. It may take long: exports into the same ``model_dir`` do not wait for each other.

    Returns:
        The version's path, ``model_dir/N``.

    Raises:
        ExportError: ``model_dir`` is a file, may not be written to, or holds what would disturb TensorFlow Serving;
            the disk is full; ``write`` made no SavedModel.
    """
    with reporting(model_dir):
        model_name(model_dir)
        require_no_file(model_dir)
        model_dir.mkdir(parents=True, exist_ok=True)
        flush_one(model_dir.parent)
        with locked(model_dir):
            require_no_strays(model_dir)
        read_labels(model_dir)  # broken ones are better known before the work than after it
        with _hidden_folder(model_dir) as folder:
            write(folder)
            if not (folder / GRAPH).is_file():
                raise ExportError(f"{model_dir}: nothing was published, since the export made no {GRAPH}")
            flush(folder)
            return _give_number(folder, model_dir)


def prune(model_dir: Path, keep: int) -> list[int]:
    """Remove old versions: the newest ``keep`` stay, as do those that labels need.

    Besides a labelled version, the one that its label was moved from last is needed: a server that has not yet read
    of the move still answers with it.

    Returns:
        The versions removed, the oldest first.

    Raises:
        ExportError: ``keep`` is less than 1, the labels cannot be read, or ``model_dir`` cannot be changed.
    """
    if keep < 1:
        raise ExportError(f"{model_dir}: {keep} versions cannot be kept; keep 1 or more")
    with reporting(model_dir), locked(model_dir):
        present = versions(model_dir)
        stay = {*present[-keep:], *labels_in_use(model_dir)}
        removed = [number for number in present if number not in stay]
        hidden = [model_dir / f"{_OLD}{secrets.token_hex(4)}" for _ in removed]
        for number, path in zip(removed, hidden, strict=True):
            (model_dir / str(number)).rename(path)
        flush_one(model_dir)
        for path in hidden:
            # a file that a server on another machine still reads may stay; the next export tries again
            shutil.rmtree(path, ignore_errors=True)
    return removed


def rollback(model_dir: Path, to: int | None = None) -> Path:
    """Publish an earlier version once more, under a new number, and move "stable" and "canary" to it.

    The new version shares the files of the earlier one (hard links, copies where there are none), with
    ``assets.extra/republished.json`` beside them to say where they are from.

    Args:
        model_dir: The folder of the model's versions.
        to: The version; None: the one before the newest. If the newest is itself a repetition, that is the one before
            the version it repeats: each rollback goes one step further back.

    Raises:
        ExportError: there is no such version, or as for ``publish``.
    """
    with reporting(model_dir):
        present = versions(model_dir)
        if not present:
            raise ExportError(f"{model_dir}: holds no version to go back to; publish one with kseg-export")
        source = _previous(model_dir, present) if to is None else to
        if source not in present:
            raise ExportError(f"{model_dir}: has no version {source}; there are {', '.join(map(str, present))}")

        def repeat(folder: Path) -> None:
            shutil.copytree(
                model_dir / str(source), folder, copy_function=_link_or_copy, symlinks=True, dirs_exist_ok=True
            )
            said = {"version": source, "republished": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
            write_text(folder / REPUBLISHED, json.dumps(said, indent=2) + "\n")

        path = publish(model_dir, repeat)
        set_labels(model_dir, (STABLE, CANARY), int(path.name))
        return path


def origin_of(model_dir: Path, number: int) -> int:
    """The version that ``number`` repeats, over any number of rollbacks; itself if it was exported."""
    file = model_dir / str(number) / REPUBLISHED
    if not file.is_file():
        return number
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))["version"]
        if not isinstance(earlier, int) or earlier >= number:
            raise ValueError(f"{earlier!r} is no earlier version")
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{file}: cannot be read: {error}; say which version to go back to") from None
    return origin_of(model_dir, earlier)


def _previous(model_dir: Path, present: list[int]) -> int:
    now = origin_of(model_dir, present[-1])
    earlier = [number for number in present if number < now]
    if not earlier:
        raise ExportError(
            f"{model_dir}: there is no version before {now}, which is served now; "
            f"there are {', '.join(map(str, present))}"
        )
    return earlier[-1]


@contextlib.contextmanager
def _hidden_folder(model_dir: Path) -> Iterator[Path]:
    """An empty folder in ``.new-*``, which is gone at the end; a lock in there says that its export is alive."""
    home = model_dir / f"{_NEW}{secrets.token_hex(4)}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        with locked(model_dir):  # or another export might take the folder for a dead one's before it is locked
            _remove_leftovers(model_dir)
            home.mkdir()
            lock = stack.enter_context((home / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        folder = home / "version"
        folder.mkdir()
        yield folder


def _remove_leftovers(model_dir: Path) -> None:
    """Remove what killed exports and removals left; ``model_dir`` must be locked."""
    for path in model_dir.iterdir():
        if path.name.startswith(_OLD) or (path.name.startswith(_NEW) and not _is_alive(path)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(home: Path) -> bool:
    try:
        with (home / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # its export was killed before it could lock it
        return False
    except BlockingIOError:
        return True
    return False


def _give_number(folder: Path, model_dir: Path) -> Path:
    """Rename ``folder`` to the next free number, which makes it a version."""
    with locked(model_dir):
        number = max(highest_number(model_dir), 0)
        while True:
            number += 1
            path = model_dir / str(number)
            try:
                folder.rename(path)
            except OSError as error:
                if error.errno not in _TAKEN:  # somebody who knows of no lock took the number this very moment
                    raise
                continue
            flush_one(model_dir)
            return path


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
