"""What serving.py measured, as tables, and whether its goals are met."""

import argparse
import importlib.metadata
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from peers.rounds import spread, verdict

GOALS = (
    ("kseg bfloat16", "Keras export", 2.5),
    ("kseg bfloat16", "OpenVINO bfloat16", 0.8),
    ("kseg float32", "Keras export", 1.3),
    ("kseg float32", "OpenVINO float32", 0.9),
)
WHOLE_PATH_GOAL = 2.0


class Turn(NamedTuple):
    """A contender's turn in a round: the median time of a call, and the processors in use meanwhile."""

    seconds: float
    processors: float


Times = dict[str, list[Turn]]


class Agreement(NamedTuple):
    """How far a contender's probabilities are from Keras's in float32.

    Attributes:
        largest: The largest difference between two probabilities.
        changed: The share of the pixels that are on the other side of one half.
        iou: Over all pictures, against their masks; None where the network is not trained.
    """

    largest: float
    changed: float
    iou: float | None

    @classmethod
    def of(cls, found: np.ndarray, expected: np.ndarray, truth: np.ndarray | None) -> Self:
        """From probabilities, float32 (N, H, W, 1), and the truth, bool (N, H, W)."""
        mask, other = found[..., 0] > 0.5, expected[..., 0] > 0.5
        iou = None if truth is None else float((mask & truth).sum() / max(1, (mask | truth).sum()))
        return cls(float(np.abs(found - expected).max()), float((mask != other).mean()), iou)


def print_head(network: str, options: argparse.Namespace, left_out: Sequence[str]) -> None:
    """What is compared, and who is not."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras"))
    weights = f"the best network of {options.run.name}" if options.run else "drawn weights"
    pictures = "pictures of --data" if options.data else "drawn scenes"
    print(f"{network}, {weights}, {options.size} x {options.size}, {pictures}")
    print(f"{options.cores} cores ({platform.machine()}), {options.rounds} rounds, {versions}")
    for line in left_out:
        print(f"left out - {line}")


def print_agreement(agreements: Mapping[str, Agreement]) -> None:
    """A row for each contender with the same weights."""
    print("\n| same weights | largest difference of probabilities | changed pixels | IoU |\n|---|---|---|---|")
    for name, (largest, changed, iou) in agreements.items():
        print(f"| {name} | {largest:.2g} | {changed:.4%} | {'-' if iou is None else f'{iou:.4f}'} |")


def print_times(races: Mapping[int, Times]) -> None:
    """A row for each contender, with images per second at each batch, and how often Keras's export's."""
    heads = [f"batch {batch}: images/s | x Keras export" for batch in races]
    print(f"\n| pictures to probabilities | {' | '.join(heads)} | processors busy |")
    print("|---|" + "---|" * (2 * len(races) + 1))
    for name in next(iter(races.values())):
        cells = [
            f"{_rate(times[name], batch)} | {_ratio(times, name, 'Keras export')}" for batch, times in races.items()
        ]
        busy = statistics.median(turn.processors for times in races.values() for turn in times[name])
        print(f"| {name} | {' | '.join(cells)} | {busy:.1f} |")


def print_whole_path(times: Times, changed: Mapping[str, float]) -> None:
    """From a photo's bytes to the PNG of its mask."""
    first = next(iter(times))
    print("\n| photo of 640 x 480 to mask, one at a time | photos/s | ratio | changed pixels |\n|---|---|---|---|")
    for name, turns in times.items():
        print(f"| {name} | {_rate(turns, 1)} | {_ratio(times, name, first)} | {changed[name]:.4%} |")


def print_goals(times: Times, whole: Times) -> None:
    """Whether each goal is met, by the median of the rounds' ratios."""
    print("\nGoals, batch 1:")
    for name, rival, goal in GOALS:
        if rival in times:
            print(f"- {name} >= {goal} x {rival}: {verdict(ratios(times, name, rival), goal)}")
        elif times:
            print(f"- {name} >= {goal} x {rival}: not measured")
    rival, *ours = whole
    for name in reversed(ours):
        print(f"- {name} >= {WHOLE_PATH_GOAL} x {rival}: {verdict(ratios(whole, name, rival), WHOLE_PATH_GOAL)}")


def ratios(times: Times, name: str, rival: str) -> list[float]:
    """How many times as fast as a rival, round by round."""
    return [other.seconds / own.seconds for own, other in zip(times[name], times[rival], strict=True)]


def _ratio(times: Times, name: str, rival: str) -> str:
    return spread(ratios(times, name, rival))


def _rate(turns: Sequence[Turn], batch: int) -> str:
    return spread([batch / turn.seconds for turn in turns], 1)
