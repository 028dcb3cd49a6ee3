"""The folder of one model's versions, as TensorFlow Serving polls it: what in it counts, and who may change it.

models/people/1, 2, ...      versions: to Serving, every child whose name is an integer is one, complete or not
models/people/labels.json    which version is "stable", which is "canary" (``kseg.serving.labels``)
models/people/.lock          held for the moment in which versions or labels change
models/people/.new-1a2b3c4d  an export at work, or what a killed one left behind
models/people/.old-1a2b3c4d  a version being removed
"""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from kseg.errors import ExportError

GRAPH = "saved_model.pb"
"""The file without which a folder is no version."""

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_LARGEST = 2**63 - 1

_FIXES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or ask for more of it",
    errno.EACCES: "choose a folder you may write to, or have its owner let you",
    errno.EPERM: "choose a folder you may write to, or have its owner let you",
    errno.EROFS: "choose a folder on a disk that can be written to",
    errno.ENOTDIR: "choose a folder; a part of this path is a file",
    errno.ENOENT: "check the path",
}
_UNTOUCHED = "what was published before is untouched"


def version_number(name: str) -> int | None:
    """The version that Serving reads from a child's name, or None: "7", but "+7", " 7" and "007" as well, is 7."""
    if not _INTEGER.fullmatch(name):
        return None
    number = int(name)
    return number if -_LARGEST - 1 <= number <= _LARGEST else None


def versions(model_dir: Path) -> list[int]:
    """The numbers of the complete versions in ``model_dir``, the oldest first; none where there is no such folder."""
    if not model_dir.is_dir():
        return []
    names = [path.name for path in model_dir.iterdir() if (path / GRAPH).is_file()]
    numbers = {version_number(name) for name in names}
    return sorted(number for number in numbers if number is not None and str(number) in names)


def highest_number(model_dir: Path) -> int:
    """The highest integer among the names in ``model_dir``, whatever bears it; 0 if there is none."""
    numbers = (version_number(path.name) for path in model_dir.iterdir())
    return max((number for number in numbers if number is not None), default=0)


def model_name(model_dir: Path) -> str:
    """The name that Serving is asked for the model by: the folder's.

    Raises ExportError if it cannot stand in an address, or is a version's.
    """
    name = model_dir.resolve().name
    if version_number(name) is not None:
        raise ExportError(
            f"{model_dir}: {name} is the name of a version; name the folder of the model, such as {model_dir.parent}"
        )
    if not _MODEL_NAME.fullmatch(name):
        raise ExportError(
            f"{model_dir}: {name!r} cannot be a model's name, which is part of the address it is served at; "
            "use letters, digits, '_', '-' and '.'"
        )
    return name


def require_no_file(model_dir: Path) -> None:
    """Raise ExportError if ``model_dir`` is a file."""
    if model_dir.exists() and not model_dir.is_dir():
        raise ExportError(f"{model_dir}: is a file; name a folder, which is made if it is not there")


def require_no_strays(model_dir: Path) -> None:
    """Raise ExportError if Serving would stumble over something in ``model_dir``, which must be locked."""
    for path in sorted(model_dir.iterdir()):
        number = version_number(path.name)
        if number is None:
            continue
        if not path.is_dir():
            raise ExportError(
                f"{path}: a file whose name is an integer keeps TensorFlow Serving from loading anything; "
                "rename it or move it away"
            )
        if path.name != str(number):
            raise ExportError(f"{path}: TensorFlow Serving takes it for version {number}; rename it")
        if not (path / GRAPH).is_file():
            raise ExportError(
                f"{path}: holds no {GRAPH}, and TensorFlow Serving fails on it; if somebody is copying it, wait for "
                f"them; else remove it with: rm -r {path}"
            )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing ``folder`` until the end of the block; a process that dies lets go of it."""
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def reporting(folder: Path) -> Iterator[None]:
    """Turn what the system refuses into an ExportError that names the place, the cause and the fix."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        full = os.strerror(errno.ENOSPC)
        if full in str(error):  # TensorFlow, and shutil, say it in exceptions of their own
            raise ExportError(f"{folder}: {full}; {_FIXES[errno.ENOSPC]}; {_UNTOUCHED}") from error
        if not isinstance(error, OSError):
            raise
        outside = error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(folder)
        place = error.filename if outside else folder
        fix = _FIXES.get(error.errno or 0, "choose another folder")
        raise ExportError(f"{place}: {error.strerror or error}; {fix}; {_UNTOUCHED}") from error
