"""Training batches made by other machines: ``kseg.data.service`` is what runs there.

The service gives every batch once, in the order in which its machines get ready, and none that a lost machine had
begun. Here they are put in the stream's order again and the lost ones are loaded, so that a training gets the very
batches of ``kseg.data.pipeline.training_pipeline``, whatever happens to the service.
"""

import contextlib
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import tensorflow as tf

from kseg.data.augment import augment
from kseg.data.loading import Loader
from kseg.data.pipeline import BATCHES_AHEAD, TrainingOrder, training_pipeline
from kseg.data.service import OUTPUTS, TOKEN, reach
from kseg.errors import ConfigError, DataError
from kseg.settings import AugmentationSettings

PATIENCE = 30.0
"""Seconds of waiting after which a batch is loaded here: by then its machine is lost, or as good as."""

HELD_BYTES = 2**31
"""Memory for batches that wait for an earlier one; when it is full, that one is loaded here without more patience."""

ASKED_WITHIN = 120.0
"""Seconds that the machines have for a first sample, before the training begins."""

Sharding = tf.data.experimental.service.ShardingPolicy

Batch = tuple[tf.Tensor, tf.Tensor]
"""Pictures uint8 (B, H, W, 3) and masks uint8 (B, H, W)."""


def served_pipeline(
    service: str,
    description: str,
    loader: Loader,
    order: TrainingOrder,
    augmentation: AugmentationSettings,
    *,
    ignore_class: int,
    batch_size: int,
    first_step: int,
    steps: int,
) -> tf.data.Dataset:
    """The batches of ``training_pipeline``, in its order and bit for bit, made by the machines of ``service``.

    Raises ConfigError if the service cannot be reached, DataError if a machine of it does not have the samples that
    ``description`` says (see ``describe_samples``); for what a machine raises while training, see ``data_errors``.
    """

    def plain_from(step: int) -> Iterator[Batch]:
        return iter(
            training_pipeline(
                loader, order, augmentation,
                ignore_class=ignore_class, batch_size=batch_size, first_step=step, steps=steps,
            )
        )  # fmt: skip

    def sample(position: tf.Tensor) -> Batch:
        return _made_there(position, description, loader.size, augmentation, ignore_class)

    def batch_of(step: tf.Tensor) -> tf.data.Dataset:
        positions = tf.data.Dataset.range(step * batch_size, (step + 1) * batch_size)
        samples = positions.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return samples.batch(batch_size, drop_remainder=True).map(lambda *batch: (step, *batch))

    def batches() -> Iterator[Batch]:
        # Two at a time, so that a machine is not idle while the last sample of a batch is loaded.
        made = tf.data.Dataset.range(first_step, steps).interleave(
            batch_of, cycle_length=2, num_parallel_calls=2, deterministic=True
        )
        with contextlib.closing(Arrivals(_distributed(made, service, Sharding.DYNAMIC), loader)) as arrivals:
            yield from in_order(arrivals.next_within, range(first_step, steps), Here(plain_from), most_held)

    if first_step < steps:
        reach(service)
        _ask_all(service, sample)
    size = (batch_size, *loader.size)
    most_held = max(16, HELD_BYTES // (4 * math.prod(size)))
    signature = tf.TensorSpec((*size, 3), tf.uint8), tf.TensorSpec(size, tf.uint8)
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(BATCHES_AHEAD)


def _made_there(
    position: tf.Tensor,
    description: str,
    size: tuple[int, int],
    augmentation: AugmentationSettings,
    ignore_class: int,
) -> Batch:
    """The augmented sample at a position, int64 (), of the stream: what becomes a graph that other machines run."""
    parts = tf.raw_ops.PyFuncStateless(input=[position, tf.constant(description)], token=TOKEN, Tout=OUTPUTS)
    shapes = ((*size, 3), size, (2,))
    picture, mask, seed = (tf.ensure_shape(*pair) for pair in zip(parts, shapes, strict=True))
    return augment(picture, mask, seed, augmentation, ignore_class)


def _distributed(dataset: tf.data.Dataset, service: str, policy: int) -> Any:
    return dataset.apply(tf.data.experimental.service.distribute(policy, service))


def _ask_all(service: str, sample: Callable[[tf.Tensor], Batch]) -> None:
    """Have every machine load a sample, so that one with other data is known before a network is trained on it."""
    made = tf.data.Dataset.range(1).map(sample)
    answer: Future[int] = Future()

    def ask() -> None:
        try:
            everywhere = _distributed(made, service, Sharding.OFF)
            answer.set_result(sum(1 for _ in everywhere))
        except tf.errors.OpError as error:
            answer.set_exception(_meant(error))

    threading.Thread(target=ask, daemon=True).start()  # a daemon, since nothing ends it where nobody answers
    try:
        answer.result(ASKED_WITHIN)
    except TimeoutError:
        raise ConfigError(
            f"{service}: no machine of this input service gave a sample within {ASKED_WITHIN:.0f} s; see what "
            "kseg-data serve says there, and whether this machine reaches the addresses that it shows"
        ) from None


def _meant(error: tf.errors.OpError) -> DataError:
    """What a machine raised, out of what TensorFlow made of it on the way."""
    where = re.search(r"from worker (\S+?):?\s", error.message)
    what = re.search(r"DataError: (.*?)\n+Traceback", error.message, re.DOTALL)
    plain = re.sub(r"\{\{.*?\}\} | \[Op:.*", "", error.message.partition("\n")[0])
    return DataError(f"input service{f', machine {where[1]}' if where else ''}: {what[1] if what else plain}")


def in_order(
    next_within: Callable[[float], tuple[int, Batch] | None],
    steps: range,
    batch_here: Callable[[int], Batch],
    most_held: int,
) -> Iterator[Batch]:
    """The batches of ``steps``, which arrive in any order, or not at all.

    A step's batch is made by ``batch_here`` once a later one has waited ``PATIENCE`` seconds for it, ``most_held`` are
    waiting, or nothing came at all for that long. Only time spent waiting counts, not what the network takes meanwhile.
    A batch that comes after all is dropped.
    """
    waited = heard = 0.0  # seconds of waiting so far; and when the last batch came, by that clock
    held: dict[int, tuple[float, Batch]] = {}  # in the order of their coming
    for step in steps:
        while step not in held:
            oldest = next(iter(held.values()))[0] if held else heard
            left = max(0.0, oldest + PATIENCE - waited)
            asked = time.monotonic()
            arrival = next_within(left) if len(held) < most_held else None
            waited += time.monotonic() - asked
            if arrival is None:
                if left > PATIENCE / 2:  # else it was said just now
                    print(f"input service: the batch of step {step} does not come; loading here", flush=True)
                held[step] = waited, batch_here(step)
                break
            heard = waited
            if arrival[0] >= step:
                held[arrival[0]] = waited, arrival[1]
        yield held.pop(step)[1]


class Here:
    """Batches of the plain pipeline, by step; begun anew only where a step does not follow the one before."""

    def __init__(self, plain_from: Callable[[int], Iterator[Batch]]) -> None:
        self._plain_from = plain_from
        self._next = -1

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        if step != self._next:
            self._plain = self._plain_from(step)
        self._next = step + 1
        return next(self._plain)


class Arrivals:
    """What a distributed dataset gives, received by a thread, so that one can wait for it no longer than one wants."""

    def __init__(self, dataset: tf.data.Dataset, loader: Loader) -> None:
        """``loader``: keeps what went wrong at another machine, as it does its own failure."""
        self._loader = loader
        self._queue: queue.Queue[tuple[int, Batch] | DataError] = queue.Queue(1)
        self._closed = threading.Event()
        # A daemon, since nothing wakes it while the service is silent.
        threading.Thread(target=self._receive, args=[dataset], daemon=True).start()

    def next_within(self, seconds: float) -> tuple[int, Batch] | None:
        """The step and batch that come next; None after so many seconds without. Raises what a machine raised."""
        try:
            arrival = self._queue.get(timeout=seconds) if seconds else self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(arrival, Exception):
            self._loader.failure = self._loader.failure or arrival
            raise arrival
        return arrival

    def close(self) -> None:
        """Receive no more."""
        self._closed.set()

    def _receive(self, dataset: tf.data.Dataset) -> None:
        try:
            for step, *batch in dataset:
                if not self._put((int(step), tuple(batch))):
                    return
        except tf.errors.OpError as error:
            if "DataError" in error.message:
                self._put(_meant(error))
            else:  # the service itself, such as a first machine that was started again: nothing more comes
                print(f"{_meant(error)}; loading here from now on", flush=True)

    def _put(self, arrival: Any) -> bool:
        """Hand over, unless it was closed meanwhile."""
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(arrival, timeout=0.5)
                return True
        return False
