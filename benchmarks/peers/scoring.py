"""What the peers share: their arguments, the stream of training pictures, the scores, and the file that keeps them.

NumPy only, and nothing of kseg: this runs in the environment of every peer.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

IMAGENET_MEAN = np.float32([0.485, 0.456, 0.406])
IMAGENET_DEVIATION = np.float32([0.229, 0.224, 0.225])


def argument_parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every peer takes; the defaults are the brief's recipe."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help="pictures and masks, as accuracy.py writes them")
    parser.add_argument("--out", type=Path, required=True, help="scores.json to write")
    parser.add_argument("--name", required=True, help="the contender's name, for scores.json")
    parser.add_argument("--network", choices=("unet", "linknet"), required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--steps-per-epoch", type=int, help="default: one pass over the pictures")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--loss", default="bce", help="as in kseg's settings")
    parser.add_argument("--flip", type=float, default=0.5, help="probability of a horizontal flip")
    return parser


class Samples:
    """Pictures uint8 (N, H, W, 3) RGB and masks uint8 (N, H, W) of class ids, and the batches made of them.

    Of one class, the masks are in {0, 1}; of more, a class's id is its place among ``classes``.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as stored:
            self.classes: list[str] = stored["classes"].tolist()
            self.training = stored["training_pictures"], stored["training_masks"]
            self.validation = stored["validation_pictures"], stored["validation_masks"]

    @property
    def size(self) -> int:
        """Height of the pictures, which are square."""
        return self.training[0].shape[1]

    def steps_per_epoch(self, options: argparse.Namespace) -> int:
        """As many as were asked for, or as make one pass."""
        return options.steps_per_epoch or -(-len(self.training[0]) // options.batch)

    def training_batches(self, seed: int, batch: int, flip: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Endless full batches, one shuffled pass after the other: float32 (B, H, W, 3) and uint8 (B, H, W).

        As in kseg, the last batch of a pass takes its rest from the next, so that none is smaller.
        """
        rng = np.random.default_rng(seed)
        pictures, masks = self.training
        waiting = np.empty(0, np.int64)
        while True:
            while len(waiting) < batch:
                waiting = np.concatenate([waiting, rng.permutation(len(pictures))])
            chosen, waiting = waiting[:batch], waiting[batch:]
            flipped = rng.random(batch) < flip
            x = np.where(flipped[:, None, None, None], pictures[chosen][:, :, ::-1], pictures[chosen])
            y = np.where(flipped[:, None, None], masks[chosen][:, :, ::-1], masks[chosen])
            yield normalise(x), y

    def validation_batches(self, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Every validation sample once, in order: float32 (B, H, W, 3) and uint8 (B, H, W)."""
        pictures, masks = self.validation
        for start in range(0, len(pictures), batch):
            yield normalise(pictures[start : start + batch]), masks[start : start + batch]


def normalise(pictures: np.ndarray) -> np.ndarray:
    """uint8 RGB by ImageNet's mean and deviation, as float32: what both peers' encoders were made for."""
    return (pictures.astype(np.float32) / np.float32(255) - IMAGENET_MEAN) / IMAGENET_DEVIATION


def count(predicted: np.ndarray, truth: np.ndarray, classes: int = 1) -> np.ndarray:
    """Pixels per picture and class, int64 (B, C, 3): intersection, predicted, truth; from class ids (B, H, W)."""
    ids = range(classes) if classes > 1 else (1,)
    masks = [(predicted == number, truth == number) for number in ids]
    counts = [[mask.sum((1, 2), np.int64) for mask in (ours & true, ours, true)] for ours, true in masks]
    return np.array(counts).transpose(2, 0, 1)


class Overlap(NamedTuple):
    """IoU over the data set (sums first), of each class and their mean, and the mean of the pictures' IoUs."""

    iou: float
    iou_per_image: float
    per_class: list[float]


def intersection_over_union(counts: np.ndarray) -> Overlap:
    """IoU from counts (N, C, 3).

    kseg's rule for the empty class: what is neither in the truth nor in the prediction has no IoU and is in no mean;
    a mean of nothing is 1; what is in only one of the two scores 0.
    """
    summed, single = _iou(counts.sum(0)), _iou(counts)
    return Overlap(float(_mean_of_known(summed)), float(_mean_of_known(single).mean()), summed.tolist())


def _iou(counts: np.ndarray) -> np.ndarray:
    """(..., C) from counts (..., C, 3); NaN where there is none."""
    union = counts[..., 1] + counts[..., 2] - counts[..., 0]
    return np.where(union > 0, counts[..., 0] / np.maximum(union, 1), np.nan)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN."""
    known = ~np.isnan(values)
    return np.where(known.any(-1), np.where(known, values, 0).sum(-1) / np.maximum(known.sum(-1), 1), 1.0)


class Record:
    """The scores of a training, epoch by epoch. An epoch's seconds are those of its training and validation."""

    def __init__(
        self, options: argparse.Namespace, samples: Samples, parameters: int, versions: Mapping[str, str]
    ) -> None:
        self.options = options
        self.head = {"name": options.name, "seed": options.seed, "size": samples.size, "classes": samples.classes}
        self.tail = {"parameters": parameters, "versions": dict(versions)}
        self.epochs: list[dict[str, Any]] = []
        print(f"{options.name}, seed {options.seed}: {parameters:,} parameters, {self.tail['versions']}", flush=True)

    def begin(self) -> None:
        """An epoch begins."""
        self.started = time.monotonic()

    def end(self, counts: list[np.ndarray], loss: float) -> None:
        """An epoch has ended: the validation pictures' counts, and the mean training loss."""
        scores = intersection_over_union(np.concatenate(counts))
        seconds = round(time.monotonic() - self.started, 2)
        self.epochs.append({"epoch": len(self.epochs) + 1, **scores._asdict(), "seconds": seconds})
        print(
            f"epoch {len(self.epochs)}/{self.options.epochs}  {self.epochs[-1]['seconds']:.1f} s  "
            f"loss {loss:.4f}  IoU {scores.iou:.4f}, per image {scores.iou_per_image:.4f}",
            flush=True,
        )

    def write(self, pictures_seen: int) -> None:
        """The training has ended: write scores.json."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu = usage.ru_utime + usage.ru_stime
        write_scores(self.options.out, {**self.head, "epochs": self.epochs, **self.tail}, pictures_seen, cpu)


def write_scores(path: Path, scores: Mapping[str, Any], pictures_seen: int, cpu_seconds: float | None) -> None:
    """Add what every contender has, and write the whole."""
    measured = {
        "pictures_seen": pictures_seen,
        "wall_seconds": round(sum(row["seconds"] for row in scores["epochs"]), 1),
        "cpu_seconds": None if cpu_seconds is None else round(cpu_seconds, 1),
        "processors": len(os.sched_getaffinity(0)),
    }
    write_json(path, {**scores, **measured})


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all: one that exists stands for a run that has ended."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)  # noqa: PTH105 - the name of the guarantee
