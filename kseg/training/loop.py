"""Compile and fit, from the beginning or from a checkpoint."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from kseg.errors import ConfigError
from kseg.objectives.losses import parse_loss
from kseg.objectives.metrics import Scores
from kseg.palette import Palette
from kseg.settings import Settings
from kseg.training import callbacks
from kseg.training.batch_norm import fuse_batch_norm, synchronise_batch_norm
from kseg.training.checkpoint import load_checkpoint, save_model
from kseg.training.freezing import Freezer
from kseg.training.history import Row, should_stop
from kseg.training.optimizer import averaged_weights, build_optimizer
from kseg.training.run import Run
from kseg.training.workers import ALONE, AddUp, Workers


def count_steps(settings: Settings, samples: int) -> int:
    """Steps of one epoch: one pass over the samples unless set, in whole executions of ``steps_per_execution``."""
    training = settings.training
    steps = training.steps_per_epoch or -(-samples // training.batch_size)
    return -(-steps // training.steps_per_execution) * training.steps_per_execution


def train(
    model: keras.Model,
    training: tf.data.Dataset,
    validation: tf.data.Dataset,
    examples: callbacks.Examples,
    *,
    loss: keras.losses.Loss,
    settings: Settings,
    run: Run,
    steps_per_epoch: int,
    batch_names: Callable[[int], list[str]],
    workers: Workers = ALONE,
) -> list[Row]:
    """Train ``model`` to the settings' last epoch, going on from the run's checkpoint if it has one.

    Args:
        model: As ``build_segmenter`` makes it.
        training: Batches, or this worker's shares of them, from the first step that is still to be done
            (``len(run.history) * steps_per_epoch``).
        validation: Batches of every validation sample once, over all workers; of known number.
        examples: The validation samples to draw after every epoch.
        loss: See ``build_loss``.
        settings: All settings.
        run: The folder that keeps the results.
        steps_per_epoch: See ``count_steps``.
        batch_names: The samples of a step, for the message when the loss becomes NaN.
        workers: Those that train together; the first one writes, and they all return together.

    Returns the history of all epochs, earlier ones included. Raises TrainingError on a NaN loss.
    """
    history = run.history
    scores = compile_network(model, loss, settings, steps_per_epoch, workers)
    if history:
        load_checkpoint(run.checkpoint, model)
    workers.copy_first(model.variables + model.optimizer.variables)
    around = [
        Freezer(settings.training),
        callbacks.Guard(len(history) * steps_per_epoch, batch_names),
        *_keepers(run, scores, examples, settings, workers, steps_per_epoch, int(validation.cardinality())),
    ]
    if settings.training.schedule == "plateau":
        around.append(callbacks.Plateau(settings.training, history))
    if len(history) >= settings.training.epochs:
        print(f"the run had all its {len(history)} epochs before; a larger training.epochs would go on")
    elif should_stop(history, settings.training):
        print(f"the run was stopped early before, after {len(history)} epochs; to train longer, start a new one")
    else:
        model.fit(
            training,
            epochs=settings.training.epochs,
            initial_epoch=len(history),
            steps_per_epoch=steps_per_epoch,
            validation_data=validation,
            callbacks=around,
            shuffle=False,  # the stream is shuffled already
            verbose=0,
        )
    if workers.first:
        with averaged_weights(model):
            save_model(run.last_model, model)
    return history


def _keepers(
    run: Run,
    scores: Scores,
    examples: callbacks.Examples,
    settings: Settings,
    workers: Workers,
    steps_per_epoch: int,
    validation_batches: int,
) -> list[keras.callbacks.Callback]:
    """What validates, adds the epoch to the history, and, at the first worker, keeps and shows it."""
    training, history = settings.training, run.history
    palette = Palette.of(settings.data.class_ids, settings.data.colours)
    every = [callbacks.AverageWhileTesting(), callbacks.Recorder(training, history, scores, palette)]
    if workers.count > 1:
        every.append(AddUp(workers, steps_per_epoch, validation_batches))
    if not workers.first:
        return every
    return [
        *every,
        callbacks.Keeper(run, training, history, palette, examples),
        callbacks.Progress(training, steps_per_epoch, history),
        keras.callbacks.TensorBoard(run.tensorboard),
    ]


def build_loss(settings: Settings, class_weights: Sequence[float] | None) -> keras.losses.Loss:
    """The settings' loss, told all it must know of the classes. Raises ConfigError if it cannot be read."""
    try:
        return parse_loss(
            settings.training.loss,
            num_classes=settings.data.num_classes,
            ignore_class=settings.data.ignore_class,
            class_weights=class_weights,
            label_smoothing=settings.training.label_smoothing,
        )
    except ConfigError as error:
        raise ConfigError(f"training.loss: {error}") from None


def compile_network(
    model: keras.Model, loss: keras.losses.Loss, settings: Settings, steps_per_epoch: int, workers: Workers = ALONE
) -> Scores:
    """Compile with the settings' optimizer; return the metrics, for their per-class values."""
    if workers.shares > 1:
        synchronise_batch_norm(model, workers)
    else:
        fuse_batch_norm(model)
    scores = Scores(num_classes=settings.data.num_classes, ignore_class=settings.data.ignore_class)
    steps = settings.training.epochs * steps_per_epoch
    statistics = [variable for variable in model.non_trainable_variables if variable.name.startswith("moving_")]
    model.compile(
        optimizer=build_optimizer(settings.training, steps, steps_per_epoch, statistics, workers.mean),
        loss=loss,
        metrics=[scores],
        steps_per_execution=settings.training.steps_per_execution,
        jit_compile=False,
    )
    # Now: the first step would be traced twice, to make its variables, and those of frozen weights would be missing.
    model.optimizer.build(model.trainable_variables)
    return scores
