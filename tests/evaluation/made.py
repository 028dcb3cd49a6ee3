"""Photos with masks and logits for tests, and their counts."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from kseg.evaluation.counting import PhotoCounts, count_photo
from kseg.evaluation.evaluation import Evaluation

CLASSES = {1: ("background", "person"), 3: ("background", "road", "car")}


class Made(NamedTuple):
    """A photo's name, mask of ids, uint8 (H, W), and logits, float32 (H, W, C)."""

    name: str
    truth: np.ndarray
    logits: np.ndarray

    def count(self, threshold: float = 0.5) -> PhotoCounts:
        return count_photo(*self, threshold=threshold)


def make(channels: int, photos: int, seed: int = 0, error: float = 1.0, side: int = 40) -> list[Made]:
    """Photos of several sizes with regions of every class, logits that are wrong here and there, ignored pixels.

    The truth is the same whatever the error.
    """
    dice = np.random.default_rng(seed)
    made = []
    for index in range(photos):
        shape = tuple(dice.integers(side // 2, 2 * side, 2))
        fields = np.stack([ndimage.gaussian_filter(dice.normal(size=shape), 3) for _ in range(channels)], axis=-1)
        wrong = np.stack([ndimage.gaussian_filter(dice.normal(size=shape), 2) for _ in range(channels)], axis=-1)
        truth = fields[..., 0] > 0.03 if channels == 1 else fields.argmax(axis=-1)
        truth = np.where(dice.random(shape) < 0.05, 255, truth).astype(np.uint8)
        made.append(Made(f"p{index}", truth, (20 * (fields + error * wrong)).astype(np.float32)))
    return made


def evaluation(photos: list[Made], model: str = "runs/a", threshold: float = 0.5) -> Evaluation:
    """Of photos that are all of one kind."""
    channels = photos[0].logits.shape[-1]
    classes = CLASSES[channels]
    return Evaluation(
        model=model,
        split="validation",
        classes=classes,
        scored=classes[1:] if channels == 1 else classes,
        threshold=threshold if channels == 1 else None,
        flip=False,
        photos=tuple(photo.count(threshold) for photo in photos),
    )
