"""What follows from a training's history alone: the best epoch, the learning rate on a plateau, when to stop.

A history is a list of rows, one per finished epoch, such as ``{"epoch": 3, "loss": 0.2, "val_jaccard": 0.8, ...}``.
Since everything here is a function of it, a resumed training decides as the uninterrupted one would have.
"""

import math
from collections.abc import Sequence

from kseg.settings import TrainingSettings

Row = dict[str, float]

PER_CLASS = "val_jaccard/"
"""Followed by a class's name: its Jaccard over the validation pictures."""

NAMED = 8
"""So many classes fit a line; of more, the weakest are worth one."""


def better(monitor: str, value: float, reference: float) -> bool:
    """Whether ``value`` of the monitored quantity is better than ``reference``: smaller for a loss, else larger."""
    return value < reference if monitor == "loss" else value > reference


def best_row(history: Sequence[Row], monitor: str) -> Row | None:
    """The row of the best epoch, the earliest where several are equal; None before the first."""
    best: Row | None = None
    for row in history:
        value = row[f"val_{monitor}"]
        if not math.isnan(value) and (best is None or better(monitor, value, best[f"val_{monitor}"])):
            best = row
    return best


def epochs_since_best(history: Sequence[Row], monitor: str) -> int:
    """How many epochs have gone by without a better one."""
    best = best_row(history, monitor)
    return len(history) if best is None else int(history[-1]["epoch"] - best["epoch"])


def describe_classes(row: Row) -> str:
    """Each class's Jaccard, or the weakest classes' where there are many; empty where there is but one class."""
    scores = {key.removeprefix(PER_CLASS): value for key, value in row.items() if key.startswith(PER_CLASS)}
    seen = {name: value for name, value in scores.items() if not math.isnan(value)}
    if not seen:
        return ""
    what = "jaccard of"
    if len(seen) > NAMED:
        what = f"weakest {NAMED} of {len(seen)} classes:"
        seen = dict(sorted(seen.items(), key=lambda item: item[1])[:NAMED])
    return f"{what} " + ", ".join(f"{name} {value:.3f}" for name, value in seen.items())


def plateau_rate(history: Sequence[Row], settings: TrainingSettings) -> float:
    """The learning rate after this history: cut each time ``plateau_patience`` epochs passed without a better one."""
    rate, waited = settings.learning_rate, 0
    for length in range(1, len(history) + 1):
        waited = 0 if epochs_since_best(history[:length], settings.monitor) == 0 else waited + 1
        if waited == settings.plateau_patience:
            rate, waited = rate * settings.plateau_factor, 0
    return rate


def should_stop(history: Sequence[Row], settings: TrainingSettings) -> bool:
    """Whether early stopping, if it is on, ends the training after this history."""
    if settings.early_stopping is None or not history:
        return False
    return epochs_since_best(history, settings.monitor) >= settings.early_stopping
