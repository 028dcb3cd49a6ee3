"""Many photos: read ahead and written behind by threads, while the network is busy with those in between.

One bad photo never stops the others. What is finished is a whole file under its name, so that a later call can leave
it out and go on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2

from kseg.ahead import work_ahead
from kseg.errors import DataError
from kseg.inference.segmentation import Segmentation


class Job(NamedTuple):
    """A photo and the files to make of it, by their kind."""

    photo: Path
    files: dict[str, Path]

    @property
    def done(self) -> bool:
        """Whether all its files are there."""
        return all(file.exists() for file in self.files.values())


class Answerer(Protocol):
    """A way from a photo's file to its segmentation, in three steps; each raises DataError for a photo it refuses."""

    batch_size: int

    def read(self, photo: Path) -> Any:
        """Read a photo; called in several threads."""

    def judge(self, photos: Sequence[Any]) -> Sequence[Any]:
        """Judge a batch of what ``read`` returned; called in one thread."""

    def finish(self, photo: Any, judged: Any) -> Segmentation:
        """Make the segmentation of one of them; called in several threads."""


Write = Callable[[Segmentation, dict[str, Path]], None]
Done = Callable[[Job, str | None], None]
"""Called with every job as it ends, in their order, and the reason if it failed."""


def segment_all(answerer: Answerer, jobs: Iterable[Job], write: Write, done: Done, workers: int) -> None:
    """Segment the photo of every job and ``write`` its files, with so many threads for each.

    Interrupted, or where the network fails, it still writes what is judged already, and leaves the rest. Raises
    KsegError where a file cannot be written.
    """
    with _opencv_undivided(), ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as writers:
        writing: deque[tuple[Job, Future[None]]] = deque()

        def conclude(most: int) -> None:
            while len(writing) > most:
                job, future = writing[0]  # it stays there while it is waited for, lest an interruption lose it
                reason = _reason(future)
                writing.popleft()
                done(job, reason)

        try:
            reading = work_ahead(readers, lambda job: answerer.read(job.photo), jobs, workers + answerer.batch_size)
            while batch := list(islice(reading, answerer.batch_size)):
                writing.extend(_answer(answerer, batch, write, writers))
                conclude(most=2 * workers)
            conclude(most=0)
        except BaseException:
            readers.shutdown(cancel_futures=True)
            conclude(most=0)
            raise


@contextmanager
def _opencv_undivided() -> Iterator[None]:
    """Let OpenCV compute in the thread that calls it: where every processor has a photo, dividing one only costs."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


Read = tuple[Job, Future[Any]]


def _answer(
    answerer: Answerer, batch: Sequence[Read], write: Write, threads: ThreadPoolExecutor
) -> Iterator[tuple[Job, Future[None]]]:
    """Judge a batch, and have every photo's files written; what could not be read comes back as it is."""
    photos = [(job, future.result()) for job, future in batch if not future.exception()]
    judged = iter(answerer.judge([photo for _, photo in photos]) if photos else ())

    def finish(photo: Any, answer: Any, files: dict[str, Path]) -> None:
        write(answerer.finish(photo, answer), files)

    for job, future in batch:
        if future.exception():
            yield job, future
        else:
            yield job, threads.submit(finish, future.result(), next(judged), job.files)


def _reason(future: Future[Any]) -> str | None:
    """Why a photo has no files; None if it has. What is not the photo's fault, such as a full disk, is raised again."""
    error = future.exception()
    if error is None or isinstance(error, DataError):
        return str(error) if error else None
    if isinstance(error, MemoryError):
        return "not enough memory for a photo of this size"
    raise error
