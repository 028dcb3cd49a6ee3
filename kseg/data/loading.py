"""Samples at the network's size, verified in one pass before training, and kept in memory when they fit."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from kseg.data.fitting import fit_sample
from kseg.data.samples import Sample, Source, View
from kseg.errors import DataError

CACHE_SHARE = 0.5
"""The part of the free memory that ``cache = "auto"`` may fill: training itself needs the rest."""

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says how much memory a container may use, which can be less than the machine has free."""

PROBLEMS_SHOWN = 10


class Loader:
    """Loads samples of a source at one size: picture uint8 (H, W, 3) and mask uint8 (H, W).

    With the cache on, each sample is decoded once and kept as 4 H W bytes. Loading is safe from several threads.
    tf.data wraps what a Python function raises in an error of its own; the first DataError stays in ``failure``.
    """

    def __init__(
        self,
        source: Source,
        size: tuple[int, int],
        *,
        resize: str = "stretch",
        ignore_class: int = 255,
        cache: Literal["auto"] | bool = "auto",
    ) -> None:
        self.source = source
        self.size = size
        self.view = View(size, resize)
        self.failure: DataError | None = None
        self._ignore_class = ignore_class
        height, width = size
        needed = 4 * height * width * len(source.names)
        self.cached = free_memory() * CACHE_SHARE > needed if cache == "auto" else cache
        kept = len(source.names) if self.cached else 0
        # The system commits this memory page by page, as samples arrive. Two arrays, not one of four channels:
        # TensorFlow copies what is contiguous several times as fast.
        self._pictures = np.empty((kept, height, width, 3), np.uint8)
        self._masks = np.empty((kept, height, width), np.uint8)
        self._stored = np.zeros(kept, bool)

    def load(self, index: int) -> Sample:
        """Sample ``index`` of the source at the network's size. Raises DataError naming the file."""
        if self.cached and self._stored[index]:
            return Sample(self._pictures[index], self._masks[index])
        try:
            original = self.source.load(index, self.view)
        except DataError as error:
            self.failure = self.failure or error
            raise
        sample = fit_sample(original, self.view, self._ignore_class)
        if self.cached:
            self._pictures[index], self._masks[index] = sample
            self._stored[index] = True  # last, so that no other thread sees half a sample
        return sample

    def verify(
        self, indices: Sequence[int], track: Callable[[Iterable[str | None]], Iterable[str | None]] = iter
    ) -> dict[int, str]:
        """Load every sample once, in parallel; return the reasons of those that cannot be, by index.

        ``track`` wraps the results as they come, to show progress.
        """
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            reasons = track(threads.map(self._reason_against, indices))
            problems = {index: reason for index, reason in zip(indices, reasons, strict=True) if reason}
        self.failure = None
        return problems

    def _reason_against(self, index: int) -> str | None:
        try:
            self.load(index)
        except DataError as error:
            return str(error)
        return None


def require_no_problems(problems: dict[int, str]) -> None:
    """Raise one DataError listing the problems found by ``Loader.verify``, if there are any."""
    if not problems:
        return
    shown = list(problems.values())[:PROBLEMS_SHOWN]
    more = len(problems) - len(shown)
    lines = [*shown, f"... and {more} more"] if more else shown
    raise DataError("\n".join([*lines, "or leave such samples out: --set data.on_bad_sample=skip"]))


def free_memory() -> int:
    """Bytes this process may still allocate: the machine's available memory, or the container's rest if less."""
    available = _meminfo_available()
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return available
    return available if limit == "max" else min(available, max(0, int(limit) - used))


def _meminfo_available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux: all that is physically there is the best guess
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
