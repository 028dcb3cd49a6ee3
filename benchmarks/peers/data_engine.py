"""One contender of data.py: feeds batches, as training would take them, as often as it is told on stdin.

    python data_engine.py kseg folder|tfds PATH --size N
    python data_engine.py torch files|mapped PATH --size N --workers N

``kseg`` goes the way of kseg-train without the cache; ``torch`` is PyTorch's DataLoader with OpenCV, in an environment
of its own. The first line on stdout comes when the data set is open. A line of stdin is a number of batches; a line
says how many samples came a second, what each took of the processors, in seconds, and how many MiB are in memory.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BATCH = 4
WARM_UP = 16
"""Batches taken before the clock starts: more than are made ahead."""


class Feeder(Protocol):
    """A data set, open."""

    def batches(self, count: int) -> Iterator[Any]:
        """So many batches: pictures uint8 (B, H, W, 3) RGB, masks uint8 (B, H, W)."""


class Kseg:
    """The training pipeline over a folder, or over a set that ``kseg-data prepare`` wrote."""

    def __init__(self, source: str, path: Path, size: tuple[int, int]) -> None:
        from kseg.data.loading import Loader
        from kseg.data.sources import open_source
        from kseg.settings import DataSettings, SyntheticSettings

        data = DataSettings.model_validate({"source": source, "roots": (path,), "image_size": size})
        self.loader = Loader(open_source(data, SyntheticSettings()), size, cache=False)
        self.seeds = itertools.count()

    def batches(self, count: int) -> Iterator[Any]:
        """See Feeder; every call begins another stream."""
        from kseg.data.pipeline import TrainingOrder, training_pipeline
        from kseg.settings import AugmentationSettings

        order = TrainingOrder(range(len(self.loader.source.names)), next(self.seeds))
        flip = AugmentationSettings(horizontal_flip=0.5)
        pipeline = training_pipeline(
            self.loader, order, flip, ignore_class=255, batch_size=BATCH, first_step=0, steps=count
        )
        return iter(pipeline)


def open_feeder(options: argparse.Namespace) -> Feeder:
    size = options.size, options.size
    if options.contender == "kseg":
        return Kseg(options.form, options.path, size)
    import torch_samples

    samples = (
        torch_samples.Mapped(options.path) if options.form == "mapped" else torch_samples.Files(options.path, size)
    )
    return torch_samples.Feeder(samples, options.workers, BATCH)


def taken_up() -> tuple[float, float]:
    """Processor seconds so far, and MiB in memory, of this process and its workers; what they share counts for each."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    seconds, pages = 0.0, 0
    for process in ("self", *children):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        seconds += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # in user mode, in the kernel
        pages += int(fields[21])
    return seconds, pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def feed(feeder: Feeder, count: int) -> dict[str, float]:
    batches = feeder.batches(WARM_UP + count)
    for _ in range(WARM_UP):
        next(batches)
    began, used = time.perf_counter(), taken_up()[0]
    taken = BATCH * sum(1 for _ in batches)
    seconds = time.perf_counter() - began
    processor, memory = taken_up()
    return {"rate": taken / seconds, "processor": (processor - used) / taken, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=("kseg", "torch"))
    parser.add_argument("form", choices=("folder", "tfds", "files", "mapped"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    feeder = open_feeder(options)
    answers.write("{}\n")
    for line in sys.stdin:
        answers.write(json.dumps(feed(feeder, int(line))) + "\n")


if __name__ == "__main__":
    main()
