"""One measurement of scaling.py, in a process of its own, so that its memory and its compiled network are its own.

    python scaling_part.py step SIZE CLASSES BATCH STEPS
    python scaling_part.py order SAMPLES
    python scaling_part.py plain FOLDER BATCHES
    python scaling_part.py served FOLDER BATCHES ADDRESS

The last line on stdout is the answer, as JSON.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from step_engine import Kseg

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WARM_UP = 20
"""Batches read before the clock starts."""


def peak() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def step_here(size: str, classes: str, batch: str, steps: str) -> dict:
    """Seconds of training steps of the default network on one drawn batch, and the memory they take."""
    import kseg.training.loop  # noqa: F401 - what it imports is no part of the memory that training takes

    before = peak()
    how = {"network": "combined", "precision": "auto", "size": int(size), "classes": int(classes), "batch": int(batch)}
    network = Kseg(argparse.Namespace(**how))
    network.train(3)
    times = []
    for _ in range(int(steps)):
        began = time.perf_counter()
        network.train(2)
        times.append((time.perf_counter() - began) / 2)
    about = network.describe()
    flops = about["flops"] / 1e9
    measured = {"seconds": times, "memory": peak() - before, "flops": flops, "parameters": about["parameters"]}
    return {**measured, "policy": str(network.policy)}


def order_here(count: str) -> dict:
    """Seconds to shuffle a pass of so many samples, and bytes of a sample's name and place."""
    from kseg.data.pipeline import TrainingOrder

    number, before = int(float(count)), resident()
    names = [f"photos/{index:09}" for index in range(number)]
    named = resident()
    order = TrainingOrder(range(number), 0)
    order.one_pass(0)
    began = time.perf_counter()
    order.one_pass(1)
    seconds = time.perf_counter() - began
    assert len(names) == number
    return {"seconds": seconds, "name": (named - before) / number, "memory": peak()}


def reading_here(served: bool, folder: str, batches: str, address: str = "") -> dict:
    """Processor time of this process for samples: loaded by itself, or by the machines at an address."""
    from kseg.cli.samples import open_samples
    from kseg.config import load_settings
    from kseg.data.pipeline import training_pipeline
    from kseg.data.served import served_pipeline
    from kseg.data.service import describe_samples

    settings = load_settings(Path(folder, "c.toml"), (), [Path(folder, "photos")])
    loader, _, order, _ = open_samples(settings)
    pipeline: Callable = training_pipeline
    if served:
        pipeline = partial(served_pipeline, address, describe_samples(settings, loader.source.names, order))
    stream = iter(
        pipeline(loader, order, settings.augmentation, ignore_class=255, batch_size=4, first_step=0, steps=10**6)
    )
    for _ in range(WARM_UP):
        next(stream)
    began, processor = time.perf_counter(), time.process_time()
    for _ in range(int(batches)):
        next(stream)
    samples = 4 * int(batches)
    answer = {
        "processor": (time.process_time() - processor) / samples,
        "rate": samples / (time.perf_counter() - began),
    }
    print(json.dumps(answer), flush=True)
    os._exit(0)  # the stream has no end


PARTS: dict[str, Callable[..., dict]] = {
    "step": step_here,
    "order": order_here,
    "plain": partial(reading_here, False),
    "served": partial(reading_here, True),
}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](*sys.argv[2:])))
