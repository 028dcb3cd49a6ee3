"""Writing files so that a killed process or a full disk never leaves half of one."""

import contextlib
import csv
import io
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kseg.errors import KsegError


@contextlib.contextmanager
def replacing(path: Path, size: int = 0) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to; it becomes ``path`` at the end, whole and on disk.

    The temporary name ends like ``path``, since many writers choose the format by the ending. On an error it is
    removed and ``path`` stays as it was. ``size``, in bytes, is asked of the system beforehand: the HDF5 library
    crashes the process when a disk fills up under it. Raises KsegError, naming the file and the cause, where the
    system refuses.
    """
    # drawn, and not the process's number: containers that share a disk have the same one
    temporary = path.with_name(f".{secrets.token_hex(4)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if size:
            with temporary.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        yield temporary
        flush_one(temporary)
        temporary.replace(path)
        flush_one(path.parent)
    except OSError as error:
        raise KsegError(
            f"{path}: cannot be written: {error.strerror or error}; "
            "free some space there or choose another folder; what was there before is untouched"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all; what a row does not have stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def plain(content: Any) -> Any:
    """The same for JSON and tables, which know neither NaN nor infinity: None in their place."""
    if isinstance(content, Mapping):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, list):
        return [plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def flush(folder: Path) -> None:
    """Put every file and folder in ``folder``, and itself, on the disk, so that a power cut leaves them whole."""
    for path, _, files in os.walk(folder, topdown=False):
        for name in files:
            flush_one(Path(path, name))
        flush_one(Path(path))


def flush_one(path: Path) -> None:
    """Put one file, or the names in one folder (after a rename), on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
