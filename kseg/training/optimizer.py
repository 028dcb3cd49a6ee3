"""Adam or Muon with the settings' schedule, decay, clipping and moving average."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from kseg.settings import TrainingSettings
from kseg.training.adam import PacedAdam
from kseg.training.freezing import pace_of
from kseg.training.muon import PacedMuon

NOT_DECAYED = ("gamma", "beta", "bias")
"""Decay keeps kernels small; on normalisation and bias it would only shift what they have to learn."""


def build_optimizer(
    settings: TrainingSettings,
    steps: int,
    steps_per_epoch: int,
    statistics: Sequence[keras.Variable] = (),
    gather: Callable[[Sequence[tf.Tensor]], Sequence[tf.Tensor]] = list,
) -> PacedAdam:
    """The settings' optimizer for ``steps`` steps; slower and later in the encoder if so set.

    ``statistics`` are the network's own, which are averaged with the weights; ``gather`` makes of a worker's gradients
    those of all.
    """
    kind = PacedMuon if settings.optimizer == "muon" else PacedAdam
    return kind(
        lambda path: pace_of(path, settings, steps_per_epoch),
        gather=gather,
        decay=settings.weight_decay,
        undecayed=NOT_DECAYED,
        statistics=statistics,
        learning_rate=_learning_rate(settings, steps, steps_per_epoch),
        global_clipnorm=settings.clip_norm,
        use_ema=settings.ema > 0,
        ema_momentum=settings.ema or 0.99,
        ema_overwrite_frequency=None,
    )


def _learning_rate(
    settings: TrainingSettings, steps: int, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if settings.schedule != "cosine":
        return settings.learning_rate
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else settings.learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the moving averages of weights and BatchNorm statistics in their place for a while, if any are kept.

    Keras's ``SwapEMAWeights`` exchanges the two by adding and subtracting, which rounds both; this copies.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    pairs = list(optimizer.averages())
    own = [np.copy(keras.ops.convert_to_numpy(variable)) for variable, _ in pairs]
    for variable, average in pairs:
        variable.assign(average)
    try:
        yield
    finally:
        for (variable, _), value in zip(pairs, own, strict=True):
            variable.assign(value)
