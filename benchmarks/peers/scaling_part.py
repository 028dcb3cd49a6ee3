"""One measurement of scaling.py, in a process of its own, so that its memory and its compiled network are its own.

    python scaling_part.py step SIZE CLASSES BATCH STEPS
    python scaling_part.py order SAMPLES
    python scaling_part.py plain FOLDER BATCHES
    python scaling_part.py served FOLDER BATCHES ADDRESS

The last line on stdout is the answer, as JSON.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

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
    import tensorflow as tf

    from kseg.models.segmenter import build_segmenter
    from kseg.models.summary import total_flops
    from kseg.settings import Settings
    from kseg.training.loop import build_loss, compile_network
    from kseg.training.precision import prepare_keras

    names = [f"c{number}" for number in range(int(classes))]
    settings = Settings.model_validate(
        {"data": {"classes": tuple(names)}, "training": {"loss": "bce" if classes == "1" else "ce"}}
    )
    policy = prepare_keras(settings)
    before = peak()
    model = build_segmenter(num_classes=int(classes))
    compile_network(model, build_loss(settings, None), settings, 100)
    rng, shape = np.random.default_rng(0), (int(batch), int(size), int(size))
    pictures = tf.constant(rng.integers(0, 256, (*shape, 3), np.uint8))
    masks = tf.constant(rng.integers(0, max(2, int(classes)), shape, np.uint8))
    batches = tf.data.Dataset.from_tensors((pictures, masks)).repeat()
    model.fit(batches, steps_per_epoch=3, verbose=0)
    times = []
    for _ in range(int(steps)):
        began = time.perf_counter()
        model.fit(batches, steps_per_epoch=2, verbose=0)
        times.append((time.perf_counter() - began) / 2)
    learnt = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    flops = total_flops(model, int(size), int(size)) / 1e9
    return {"seconds": times, "memory": peak() - before, "flops": flops, "parameters": learnt, "policy": str(policy)}


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
