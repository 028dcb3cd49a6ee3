"""Semantic segmentation with Keras and TensorFlow: from photos and masks to a trained, servable model."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kseg.inference.predictor import Predictor

__version__ = "0.1.0"


def load(path: str | Path, precision: str = "auto") -> "Predictor":
    """Open a run or an exported model: ``kseg.load("runs/people-001").predict("photo.jpg")``; see ``kseg.opening``."""
    from kseg.opening import load as open_named  # here, so that importing kseg does not import TensorFlow

    return open_named(path, precision)
