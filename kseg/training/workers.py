"""Several machines or GPUs that train one network, each on its share of every batch.

The GPUs of one machine are MirroredStrategy's, within whose scope ``fit`` works: Keras shares the batches out and adds
gradients and metrics. Several machines are those of ``TF_CONFIG``.

Every worker is a training like any other: its own network, ``fit``, optimizer and callbacks. Three sums over all of
them make it one training (Sergeev & Del Balso 2018, https://arxiv.org/abs/1802.05799): of the gradients, of BatchNorm's
statistics, and of what the metrics have counted. TensorFlow's MultiWorkerMirroredStrategy connects the workers, adds,
and notices when one is gone. Its own way, ``fit`` within the strategy's scope, fails in Keras 3
(https://github.com/keras-team/keras/issues/20585): ``_maybe_symbolic_build`` reduces a batch over replicas, and
``reduce_per_replica`` reduces scalars over an axis. Here ``fit`` knows nothing of the strategy, so that nothing of
Keras has to be replaced. Should a newer TensorFlow add otherwise, ``join`` says so, before anything is trained.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from kseg.errors import ConfigError, TrainingError
from kseg.settings import Settings

Result = TypeVar("Result")

LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError, tf.errors.CancelledError)
"""What TensorFlow raises in those who are left when a worker is gone."""

ROOM = 4096
"""Bytes of a text that is told to all; longer than any path."""


class Workers:
    """The workers of a training, as one of them sees them: one is first, and writes what there is to write.

    By itself this is one that trains alone: what it has is the sum, and what it says is heard by nobody else.
    """

    kind = "workers"

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count
        self.shares = count
        """Parts that a batch is cut into."""

    @property
    def first(self) -> bool:
        """Whether this is the one that keeps the run."""
        return self.rank == 0

    def scope(self) -> contextlib.AbstractContextManager[object]:
        """In which the network is to be built, compiled and trained."""
        return contextlib.nullcontext()

    def describe(self, batch_size: int) -> str:
        """Which of them this one is, and what of a batch it has; nothing if it is alone."""
        return ""

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The means of float tensors over all workers."""
        return list(tensors)

    def learning_mean(self, tensor: tf.Tensor) -> tf.Tensor:
        """The mean of a float tensor over all workers; its gradient is the mean of theirs."""
        return tensor

    def hear(self, text: str = "") -> str:
        """What the first worker says here; the others' text does not count. All wait for all."""
        return text

    def add_up(self, variables: Sequence[keras.Variable]) -> None:
        """Replace each variable's value by the sum over all workers."""

    def copy_first(self, variables: Sequence[keras.Variable]) -> None:
        """Give each variable the value that it has at the first worker."""
        if not self.first:
            for variable in variables:
                variable.assign(tf.zeros_like(variable.value))
        self.add_up(variables)

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns at each worker; the first one begins, and the others may read what it wrote."""
        if not self.first:
            self.hear()
        result = work()
        if self.first:
            self.hear()
        return result

    def check(self, settings: Settings) -> None:
        """Raise ConfigError if the settings do not go with so many workers."""
        training = settings.training
        if training.batch_size % self.shares:
            nearest = -(-training.batch_size // self.shares) * self.shares
            raise ConfigError(
                f"training.batch_size: {training.batch_size} is the batch of all {self.shares} {self.kind}, and cannot "
                f"be shared evenly; set it to {nearest}, or take --strategy one"
            )
        if self.count == 1:
            return
        if training.precision == "float16":
            raise ConfigError(
                "training.precision: with float16, a worker may leave out a step that the others take; use bfloat16"
            )
        if settings.data.input_service:
            raise ConfigError(
                "data.input_service: makes whole batches for one training, and each worker loads its own share; leave "
                "it out"
            )

    def evaluation_batch(self, samples: int, batch_size: int) -> int:
        """The size of batches in which so many samples are validated."""
        return batch_size

    def share(self, items: Sequence[int]) -> Sequence[int]:
        """This worker's part of some items, unless there are too few for all: then every worker has them all."""
        return items[self.rank :: self.count] if len(items) >= self.count else items


class Cluster(Workers):
    """The machines of ``TF_CONFIG``, a worker each; whatever is shared is a sum over all of them."""

    def __init__(self, strategy: tf.distribute.Strategy, rank: int) -> None:
        super().__init__(rank, strategy.num_replicas_in_sync)
        self.strategy = strategy
        self._total_now = tf.function(self.total)

    def describe(self, batch_size: int) -> str:
        """Which of them this one is, and what of a batch it has."""
        share = batch_size // self.count
        return f"; worker {self.rank + 1} of {self.count}, with {share} of every {batch_size} samples"

    def total(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The sums of float or integer tensors over all workers, at each of them; all must ask, in the same order."""

        def added(*parts: tf.Tensor) -> list[tf.Tensor]:
            # identity: a tensor that is made outside belongs to no device, and the sum wants to know where to put it
            return tf.distribute.get_replica_context().all_reduce("SUM", [tf.identity(part) for part in parts])

        totals: dict[int, tf.Tensor] = {}
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):  # those of one dtype travel together
            places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
            sums = self.strategy.run(added, args=tuple(tensors[place] for place in places))
            totals |= zip(places, sums, strict=True)
        return [totals[place] for place in range(len(tensors))]

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The means of float tensors over all workers."""
        return [tensor / tf.cast(self.count, tensor.dtype) for tensor in self.total(tensors)]

    def learning_mean(self, tensor: tf.Tensor) -> tf.Tensor:
        """The mean of a float tensor over all workers; its gradient is the mean of theirs."""

        @tf.custom_gradient
        def averaged(part: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return self.mean([part])[0], lambda gradient: self.mean([gradient])[0]

        return averaged(tensor)

    def hear(self, text: str = "") -> str:
        """What the first worker says here; the others' text does not count. All wait for all."""
        said = np.frombuffer(text.encode().ljust(ROOM, b"\0"), np.uint8) if self.first else np.zeros(ROOM, np.uint8)
        (heard,) = self._total_now([tf.constant(said, tf.int32)])
        return heard.numpy().astype(np.uint8).tobytes().rstrip(b"\0").decode()

    def add_up(self, variables: Sequence[keras.Variable]) -> None:
        """Replace each variable's value by the sum over all workers."""
        sums = self._total_now([tf.identity(variable.value) for variable in variables])
        for variable, value in zip(variables, sums, strict=True):
            variable.assign(value)


class Mirrors(Workers):
    """The GPUs of this machine: one worker, and all that is left to add is BatchNorm's statistics."""

    kind = "GPUs"

    def __init__(self, devices: Sequence[str]) -> None:
        super().__init__()
        self.mirrored = tf.distribute.MirroredStrategy(list(devices))
        self.shares = self.mirrored.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager[object]:
        """In which every variable has a copy on each GPU."""
        return self.mirrored.scope()

    def describe(self, batch_size: int) -> str:
        """What of a batch each GPU has."""
        return f"; {self.shares} {self.kind}, each with {batch_size // self.shares} of every {batch_size} samples"

    def learning_mean(self, tensor: tf.Tensor) -> tf.Tensor:
        """The mean of a float tensor over all GPUs; its gradient is the mean of theirs."""
        return tf.distribute.get_replica_context().all_reduce("MEAN", tensor)

    def evaluation_batch(self, samples: int, batch_size: int) -> int:
        """The nearest size whose first batch is shared evenly, as Keras wants it, and whose last one leaves no GPU out.

        Raises ConfigError if there is none: then there are only a few samples.
        """
        for size in sorted(range(self.shares, samples + 1, self.shares), key=lambda size: abs(size - batch_size)):
            if samples % size in {0, *range(self.shares, size)}:
                return size
        raise ConfigError(
            f"data: {samples} validation samples cannot be shared by {self.shares} GPUs; add one, or set --strategy one"
        )


ALONE = Workers()


def find_workers(strategy: str) -> Workers:
    """Those of ``one``, ``mirrored`` or ``multiworker``.

    ``auto``: those of ``TF_CONFIG`` if it names several, or this machine's GPUs if there are several.
    """
    if strategy == "one":
        return ALONE
    named = os.environ.get("TF_CONFIG", "")
    if strategy == "multiworker" or (strategy == "auto" and named and len(read_cluster(named)) > 1):
        return join()
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if strategy == "mirrored" or (strategy == "auto" and len(gpus) > 1):
        return Mirrors(gpus or [device.name for device in tf.config.list_logical_devices("CPU")])
    return ALONE


def join() -> Cluster:
    """Find the other workers, as ``TF_CONFIG`` names them, and wait for them. To be called before TensorFlow is used.

    Raises ConfigError if there is no ``TF_CONFIG`` that names some, TrainingError if they cannot add.
    """
    cluster = read_cluster(os.environ.get("TF_CONFIG", ""))
    print(f"waiting for the {len(cluster)} workers of TF_CONFIG: {', '.join(cluster)}", flush=True)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        raise TrainingError(f"TF_CONFIG: the workers cannot be joined: {error}") from None
    resolver = strategy.cluster_resolver
    rank = cluster.index(resolver.cluster_spec().task_address(resolver.task_type, resolver.task_id))
    workers = Cluster(strategy, rank)
    if workers.count != len(cluster):
        raise ConfigError(
            f"TF_CONFIG: {len(cluster)} workers have {workers.count} GPUs; let each see one only, by "
            "CUDA_VISIBLE_DEVICES, and name a worker for each"
        )
    numbers = [float(number) for number in _trial(workers)]
    if numbers != [(workers.count - 1) / 2, 1.0]:
        raise TrainingError(f"TensorFlow {tf.__version__} adds over workers in another way than kseg's: {numbers}")
    return workers


@tf.function
def _trial(workers: Cluster) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean of all ranks, and the gradient of every worker's mean by this one's rank."""
    rank = tf.constant(float(workers.rank))
    with tf.GradientTape() as tape:
        tape.watch(rank)
        mean = workers.learning_mean(rank)
    return mean, tape.gradient(mean, rank)


def read_cluster(text: str) -> list[str]:
    """The addresses of all workers in a ``TF_CONFIG``, the first one first. Raises ConfigError if it is none."""
    how = 'write it as {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    if not text:
        raise ConfigError(f"TF_CONFIG: is not set, and names the workers of --strategy multiworker; {how}")
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        cluster = [address for job in ("chief", "worker") for address in jobs.get(job, [])]
        own = jobs[task["type"]][int(task["index"])]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(f"TF_CONFIG: cannot be read ({type(error).__name__}: {error}); {how}") from None
    if own not in cluster:
        raise ConfigError(f"TF_CONFIG: a task of type {task['type']} has no part in a training; name it a worker")
    return cluster


@contextlib.contextmanager
def lost_workers_as_messages(workers: Workers) -> Iterator[None]:
    """Raise as a TrainingError what TensorFlow raises when another worker is gone."""
    try:
        yield
    except LOST as error:
        if workers.count == 1:
            raise
        reason = next(iter(error.message.splitlines()), "")
        raise TrainingError(
            "another worker is gone, and none can go on without it; start all again with --resume, which goes on "
            f"after the last whole epoch ({reason[:300]})"
        ) from None


class AddUp(keras.callbacks.Callback):
    """Makes the metrics of an epoch, and of a validation, those of all workers, just before Keras reads them."""

    def __init__(self, workers: Workers, steps: int, validation_batches: int) -> None:
        super().__init__()
        self.workers = workers
        self.last = {"train": steps - 1, "test": validation_batches - 1}

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """After the last step of an epoch."""
        self._after("train", batch)

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """After the last batch of a validation."""
        self._after("test", batch)

    def _after(self, phase: str, batch: int) -> None:
        if batch == self.last[phase]:
            self.workers.add_up([variable for metric in self.model.metrics for variable in metric.variables])
