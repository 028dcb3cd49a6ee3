"""tf.data pipelines: an endless, resumable one for training, and one pass over every sample for evaluation.

Batches are picture uint8 (B, H, W, 3) RGB and mask uint8 (B, H, W) class ids.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import tensorflow as tf

from kseg.data.augment import augment
from kseg.data.loading import Loader
from kseg.settings import AugmentationSettings

BATCHES_AHEAD = 2
"""Batches prepared while the network works on one; more would only take memory."""

Seeds = TypeVar("Seeds", tf.Tensor, np.ndarray)

BLOCK = 1024
"""Positions that are made at once: one by one, they took a fifth of the time of reading a prepared sample."""


class TrainingOrder:
    """Which sample stands at each position of the endless training stream.

    The stream is one shuffled pass over all samples after the other. The order within pass ``e`` and the seed of each
    sample's augmentation there are functions of (seed, e, its place among the samples) alone, so that training can
    begin at any position, two machines agree on it without talking, and what else the source holds does not matter.

    A sample of weight w comes w times a pass on average: in every pass floor(w) or ceil(w) times, by systematic
    sampling (Madow 1949), so that all passes are equally long.
    """

    def __init__(self, indices: Sequence[int], seed: int, weights: Sequence[float] | np.ndarray | None = None) -> None:
        """``weights``: one per index; none: every sample comes once a pass."""
        self.indices = np.asarray(indices, np.int64)
        self.seed = seed
        ends = np.cumsum(np.ones(len(self.indices)) if weights is None else np.asarray(weights, np.float64))
        self.length = max(1, round(ends[-1]))
        """Samples of one pass."""
        self.ends = ends * (self.length / ends[-1])
        """Where each sample's share of a pass ends, by weight: float64 (N,)."""
        self.ends[-1] = self.length  # whatever was lost in the division

    def from_position(self, position: int) -> tf.data.Dataset:
        """Endless pairs of index, int64 (), and the sample's seed, int64 (2,), from this position of the stream."""

        def one_pass(number: tf.Tensor) -> tf.data.Dataset:
            shuffled, seed = self.one_pass(number)

            def with_seeds(pairs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return tf.gather(self.indices, pairs[:, 0]), sample_seeds(seed, pairs)

            return tf.data.Dataset.from_tensor_slices(shuffled).batch(BLOCK).map(with_seeds).unbatch()

        first_pass, within = divmod(position, self.length)
        return tf.data.Dataset.counter(first_pass).flat_map(one_pass).skip(within)

    def one_pass(self, number: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        """A pass, by its number: places in ``indices`` and how often each came before, int64 (length, 2); its seed."""
        # Of int64 in every case: the same number of another type would give another seed.
        seed = tf.random.experimental.stateless_fold_in([self.seed, 0], tf.cast(number, tf.int64))
        # Not index_shuffle, which needs no list in memory: it was found to know only some 256 orders.
        shuffled = tf.random.experimental.stateless_shuffle(self._once_or_more(seed), seed)
        return shuffled, tf.random.stateless_uniform((), seed, None, None, tf.int64)

    def _once_or_more(self, seed: tf.Tensor) -> tf.Tensor:
        """The samples of a pass, not shuffled yet: int64 (length, 2) of place, and how often it came before."""
        marks = tf.floor(self.ends + tf.random.stateless_uniform((), seed, dtype=tf.float64))
        marks = tf.concat([[0.0], tf.cast(marks, tf.float64)], 0)
        times = tf.cast(marks[1:] - marks[:-1], tf.int64)
        first = tf.repeat(tf.cumsum(times, exclusive=True), times)
        places = tf.repeat(tf.range(len(self.indices), dtype=tf.int64), times)
        return tf.stack([places, tf.range(self.length, dtype=tf.int64) - first], axis=1)

    def batch(self, step: int, batch_size: int) -> list[int]:
        """The samples, by index, that training step ``step`` (from 0) works on."""
        return [int(index) for index, _ in self.from_position(step * batch_size).take(batch_size)]


def sample_seeds(pass_seed: Seeds, pairs: Seeds) -> Seeds:
    """The seeds, int64 (N, 2), of samples' augmentation in a pass of this seed, int64 ().

    ``pairs``, int64 (N, 2): place, and how often it came before in the same pass, and was augmented in another way.
    TensorFlow scrambles a seed before it draws by it, so that seeds side by side have nothing in common.
    """
    return pairs + pass_seed * np.array([0, 1])


def training_pipeline(
    loader: Loader,
    order: TrainingOrder,
    augmentation: AugmentationSettings,
    *,
    ignore_class: int,
    batch_size: int,
    first_step: int,
    steps: int,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Batches for the steps ``first_step`` ... ``steps - 1`` or, of each, the ``share`` (rank, count) of a worker.

    Order: shuffle positions -> load (decode and resize, or from the cache) -> augment -> batch -> prefetch.
    Augmentation comes after the cache, so that every pass sees new variants. Every batch is full: the last of a
    pass takes its rest from the next pass, and BatchNorm never sees a batch of one.
    """

    def sample(index: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        picture, mask = _load(loader, index)
        return augment(picture, mask, seed, augmentation, ignore_class)

    positions = order.from_position(first_step * batch_size).take((steps - first_step) * batch_size)
    rank, workers = share
    size = batch_size // workers
    if workers > 1:
        own = slice(rank * size, (rank + 1) * size)
        positions = positions.batch(batch_size).map(lambda index, seed: (index[own], seed[own])).unbatch()
    samples = positions.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = samples.batch(size, drop_remainder=True)
    return batches.prefetch(BATCHES_AHEAD)


def evaluation_pipeline(loader: Loader, indices: Sequence[int], *, batch_size: int) -> tf.data.Dataset:
    """Every sample of ``indices`` exactly once, in that order, unchanged; the last batch may be smaller."""
    samples = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64)).map(
        lambda index: _load(loader, index), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return samples.batch(batch_size).prefetch(BATCHES_AHEAD)


@contextlib.contextmanager
def data_errors(loader: Loader) -> Iterator[None]:
    """Raise what a pipeline's loader could not load as the DataError it was, not as TensorFlow's wrapping of it."""
    try:
        yield
    except tf.errors.OpError:
        if loader.failure is None:
            raise
        raise loader.failure from None


def _load(loader: Loader, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # stateful=False: loading depends on nothing but the index, so tf.data may run several at once in
    # deterministic mode, too.
    picture, mask = tf.numpy_function(loader.load, [index], (tf.uint8, tf.uint8), stateful=False)
    height, width = loader.size
    return tf.ensure_shape(picture, (height, width, 3)), tf.ensure_shape(mask, (height, width))
