"""Samples, read and encoded, on their way into a prepared set: kept in whole files, so that no work is lost when the
process is killed.

A staging folder holds:

.lock            held by the process that works here
order            a digest of what is being prepared
chunk-00000      samples 0 ... 255, TFRecord; an empty record where one cannot be used
chunk-00000.json the reasons, by position (only if there are any)
set/             what TensorFlow Datasets is writing of them
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from kseg.ahead import work_ahead
from kseg.data.tfds.prepared import Stored
from kseg.data.tfds.records import Part, Records
from kseg.errors import DataError
from kseg.files import replacing, write_text

CHUNK = 256
"""Samples in a file: some seconds of work, which is what a killed process loses."""

AHEAD = 4
"""Samples per thread that wait to be written."""

Encode = Callable[[int], Stored]
"""Reads and encodes a sample. Raises DataError if it cannot be used."""


class Staging:
    """The staging folder of one set; the process that entered it has it to itself, but for those that work for it."""

    def __init__(self, folder: Path, count: int) -> None:
        """``count``: samples in all."""
        self.folder = folder
        self.order_file = folder / "order"
        self.set = folder / "set"
        self.count = count
        self.begun = False
        """Whether an earlier process left something here."""
        self._starts = range(0, count, CHUNK)

    def __enter__(self) -> "Staging":
        """Create the folder and lock it; the system lets go of the lock when the process ends, however it ends."""
        try:
            self.begun = self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise DataError(f"{self.folder}: another process is preparing this set; wait for it, or end it") from None
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be written: {error.strerror}; choose another --to") from None
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the folder, and remove it if nothing was done in it."""
        if self.folder.exists() and {path.name for path in self.folder.iterdir()} <= {".lock", "order"}:
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()
        self._lock.close()

    def begin(self, order: str) -> int:
        """Start, or go on with, what ``order`` stands for; return how many samples are there already.

        Raises DataError if something else was begun here.
        """
        order += f" in files of {CHUNK}"
        if not self.order_file.exists():
            write_text(self.order_file, order)
        elif self.order_file.read_text(encoding="utf-8") != order:
            raise DataError(
                f"{self.folder}: a set of other pictures or other settings was begun here; "
                "go on with those, or remove the folder to start over"
            )
        for unfinished in self.folder.glob(".*-chunk-*"):
            unfinished.unlink()
        return self.count - sum(map(len, self.missing()))

    def missing(self) -> Iterator[range]:
        """The chunks, as positions of samples, that are not there yet."""
        for start in self._starts:
            if not self._file(start).exists():
                yield range(start, min(start + CHUNK, self.count))

    def fill(
        self, chunks: Iterable[range], encode: Encode, *, skip: bool, done: Callable[[int], object]
    ) -> dict[int, str]:
        """Encode these chunks in several threads; return why samples cannot be used, by position.

        Without ``skip``, a chunk with such a sample is not kept: the next time, it may be in order. ``done`` is told
        how many samples more are there.
        """
        problems: dict[int, str] = {}

        def record_of(position: int) -> bytes:
            try:
                return encode(position).serialise()
            except DataError as error:
                problems[position] = str(error)
                return b""

        workers = os.cpu_count() or 1
        positions = (position for chunk in chunks for position in chunk)
        records: list[bytes] = []
        with ThreadPoolExecutor(workers) as threads:
            for position, made in work_ahead(threads, record_of, positions, AHEAD * workers):
                records.append(made.result())
                if position + 1 == min(self.count, position // CHUNK * CHUNK + CHUNK):
                    if skip or all(records):
                        self._write(position // CHUNK * CHUNK, records, problems)
                    records = []
                done(1)
        return dict(sorted(problems.items()))

    def samples(self) -> tuple[Callable[[int], Stored], dict[int, str]]:
        """A reader of the samples by position, and why some cannot be used, once all are there."""
        files = [(self._file(start), min(CHUNK, self.count - start)) for start in self._starts]
        records = Records([Part(str(file), 0, count) for file, count in files])
        problems: dict[int, str] = {}
        for file, _ in files:
            if (reasons := file.with_suffix(".json")).exists():
                found = json.loads(reasons.read_text(encoding="utf-8"))
                problems |= {int(position): reason for position, reason in found.items()}
        return lambda position: Stored.parse(records.read(position)), problems

    def _write(self, start: int, records: Sequence[bytes], problems: Mapping[int, str]) -> None:
        """The reasons before the samples, those of an interrupted run too: a chunk that is there is complete."""
        file = self._file(start)
        own = {position: problems[position] for position, record in enumerate(records, start) if not record}
        if own:
            write_text(file.with_suffix(".json"), json.dumps(own))
        else:
            file.with_suffix(".json").unlink(missing_ok=True)
        with replacing(file) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in records:
                writer.write(record)

    def _file(self, start: int) -> Path:
        return self.folder / f"chunk-{start // CHUNK:05}"


@contextlib.contextmanager
def full_disks(out: Path) -> Iterator[None]:
    """Raise what the system and TensorFlow raise, where they cannot write, as a DataError."""
    try:
        yield
    except (OSError, tf.errors.OpError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error.__cause__, tf.errors.OpError):
            raise  # else TensorFlow Datasets has wrapped TensorFlow's
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
        raise DataError(
            f"{out}: cannot be written: {reason}; free some space there and call the command again, which goes on "
            "where it stopped, or choose another --to"
        ) from None
