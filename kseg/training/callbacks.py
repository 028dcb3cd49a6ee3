"""What happens around ``fit``: progress, a guard against NaN, the learning rate, and keeping every epoch's results."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from kseg.errors import TrainingError
from kseg.objectives.metrics import Scores
from kseg.palette import Palette
from kseg.pictures import draw_curves, draw_predictions
from kseg.settings import TrainingSettings
from kseg.training.checkpoint import save_checkpoint, save_model
from kseg.training.history import PER_CLASS, Row, best_row, describe_classes, plateau_rate, should_stop
from kseg.training.optimizer import averaged_weights
from kseg.training.run import Run

HEARTBEAT_SECONDS = 30.0
"""How often a log file, where a progress bar would be noise, hears of an epoch under way."""

SHOWN_WHILE_TRAINING = ("loss", "jaccard", "dice")


class Examples(NamedTuple):
    """Validation samples to draw: pictures uint8 (N, H, W, 3), RGB, and masks uint8 (N, H, W)."""

    pictures: np.ndarray
    masks: np.ndarray


class Progress(keras.callbacks.Callback):
    """A progress bar on a terminal, a line now and then in a log file, and one summary line per epoch."""

    def __init__(self, settings: TrainingSettings, steps_per_epoch: int, history: list[Row]) -> None:
        super().__init__()
        self.settings = settings
        self.steps = steps_per_epoch
        self.history = history
        self.bar: keras.utils.Progbar | None = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start a bar, or the clock of the log file's lines."""
        self.epoch = epoch + 1
        self.started = self.spoken = time.monotonic()
        if sys.stdout.isatty():
            print(f"Epoch {self.epoch}/{self.settings.epochs}")
            self.bar = keras.utils.Progbar(self.steps, stateful_metrics=SHOWN_WHILE_TRAINING)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Move the bar, or say in the log that the epoch is under way."""
        now = time.monotonic()
        if self.bar is not None:
            shown = [(name, float(logs[name])) for name in SHOWN_WHILE_TRAINING if logs and name in logs]
            self.bar.update(batch + 1, shown, finalize=False)
        elif now - self.spoken >= HEARTBEAT_SECONDS:
            self.spoken = now
            rate = (batch + 1) * self.settings.batch_size / (now - self.started)
            loss = float(logs["loss"]) if logs else math.nan
            print(
                f"epoch {self.epoch}/{self.settings.epochs}: step {batch + 1}/{self.steps}, "
                f"{rate:.1f} images/s, loss {loss:.4f}",
                flush=True,
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """A line of what was learnt and what it is worth on the validation pictures; of several classes, another."""
        row = self.history[-1]
        if self.bar is not None:
            sys.stdout.write("\r\x1b[2K\x1b[1A\x1b[2K")  # the summary takes the place of the bar and its title
        best = "  best so far" if best_row(self.history, self.settings.monitor) is row else ""
        print(
            f"epoch {self.epoch}/{self.settings.epochs}  {row['seconds']:.0f} s  "
            f"training: loss {row['loss']:.4f} jaccard {row['jaccard']:.4f} dice {row['dice']:.4f}  "
            f"validation: loss {row['val_loss']:.4f} jaccard {row['val_jaccard']:.4f} dice {row['val_dice']:.4f} "
            f"(per image {row['val_jaccard_per_image']:.4f}, {row['val_dice_per_image']:.4f}){best}",
            flush=True,
        )
        if classes := describe_classes(row):
            print(f"  {classes}", flush=True)


class Guard(keras.callbacks.Callback):
    """Stops the training at the first loss that is no number, and says where that was."""

    def __init__(self, first_step: int, batch_names: Callable[[int], list[str]]) -> None:
        super().__init__()
        self.step = first_step
        self.batch_names = batch_names

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note where we are, for the message."""
        self.epoch = epoch + 1
        self.begun = self.step

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Raise TrainingError if the mean loss of the epoch so far is infinite or NaN."""
        first, self.step = self.step, self.begun + batch + 1
        if logs is None or math.isfinite(float(logs["loss"])):
            return
        names = ", ".join(name for step in range(first, self.step) for name in self.batch_names(step))
        raise TrainingError(
            f"the loss became {float(logs['loss'])} in epoch {self.epoch}, at step {batch + 1} of it, on {names}; "
            "look at these samples, lower training.learning_rate, or set training.clip_norm = 1.0; "
            "what was saved before is untouched"
        )


class Plateau(keras.callbacks.Callback):
    """Sets each epoch's learning rate to what ``plateau_rate`` says of the history."""

    def __init__(self, settings: TrainingSettings, history: list[Row]) -> None:
        super().__init__()
        self.settings = settings
        self.history = history

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the rate; a function of the history, so that a resumed training has the same one."""
        self.model.optimizer.learning_rate = plateau_rate(self.history, self.settings)


class AverageWhileTesting(keras.callbacks.Callback):
    """Validates the moving average of the weights, where there is one, and puts the weights back."""

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Swap in."""
        self.swapped = averaged_weights(self.model)
        self.swapped.__enter__()

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Swap out."""
        self.swapped.__exit__(None, None, None)


class Recorder(keras.callbacks.Callback):
    """Adds an epoch to the history, and ends the training early where that says so."""

    def __init__(self, settings: TrainingSettings, history: list[Row], scores: Scores, palette: Palette) -> None:
        super().__init__()
        self.settings = settings
        self.history = history
        self.scores = scores
        self.palette = palette

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start the epoch's clock."""
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Add the row, then decide whether to go on."""
        row: Row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        if self.scores.num_classes > 1:
            per_class = self.scores.per_class()["jaccard"]
            row |= {f"{PER_CLASS}{name}": float(per_class[i]) for i, name in enumerate(self.palette.names)}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(time.monotonic() - self.started, 1)
        self.history.append(row)
        self.model.stop_training = should_stop(self.history, self.settings)


class Keeper(keras.callbacks.Callback):
    """Keeps an epoch: history, curves, predictions, the best network, and last of all the checkpoint.

    A process killed in between repeats the epoch when resumed, and writes the same files again.
    """

    def __init__(
        self, run: Run, settings: TrainingSettings, history: list[Row], palette: Palette, examples: Examples
    ) -> None:
        super().__init__()
        self.run = run
        self.settings = settings
        self.history = history
        self.palette = palette
        self.examples = examples

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write everything."""
        with averaged_weights(self.model):
            self._draw(epoch + 1)
            if best_row(self.history, self.settings.monitor) is self.history[-1]:
                save_model(self.run.best_model, self.model)
        self.run.write_history(self.history)
        draw_curves(self.history, self.run.curves)
        save_checkpoint(self.run.checkpoint, self.model, self.history)
        if self.model.stop_training:
            print(f"no better {self.settings.monitor} for {self.settings.early_stopping} epochs: stopping early")

    def _draw(self, epoch: int) -> None:
        logits = self.model(self.examples.pictures, training=False)
        draw_predictions(
            self.run.predictions(epoch),
            self.examples.pictures,
            self.examples.masks,
            np.asarray(logits),
            self.palette,
        )
