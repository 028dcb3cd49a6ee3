"""What logits say: probabilities and class ids. Layouts are (..., H, W, C), C = 1 for one class, else one per id."""

import math
from collections.abc import Iterable

import numpy as np

LEAST_DOUBT = 1e-7
"""How near to 0 and 1 a probability is taken for at most."""

SOFT = 0.1
"""A cut-out is opaque from a probability of 1 - SOFT up, transparent below SOFT, and in between in proportion."""


def log_odds(probability: float) -> float:
    """The logit of a probability strictly between 0 and 1."""
    return math.log(probability / (1 - probability))


def decide(logits: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Class ids, uint8 (..., H, W), from logits (..., H, W, C).

    One class: 1 where its probability is above the threshold. More: the largest, of equal ones the smaller id.
    """
    if logits.shape[-1] == 1:
        return (logits[..., 0] > log_odds(threshold)).view(np.uint8)
    return logits.argmax(axis=-1).astype(np.uint8)


def decide_by_channel(channels: Iterable[np.ndarray], threshold: float = 0.5) -> np.ndarray:
    """What ``decide`` says, from one (H, W) channel after the other, so that they are never there all at once."""
    channels = iter(channels)
    largest = next(channels)
    ids = np.zeros(largest.shape, np.uint8)
    number = 0
    for number, channel in enumerate(channels, 1):
        ids[channel > largest] = number
        largest = np.maximum(largest, channel)
    return ids if number else (largest > log_odds(threshold)).view(np.uint8)


def as_probabilities(logits: np.ndarray) -> np.ndarray:
    """Probabilities of the same shape and dtype: sigmoid for one class, softmax for more."""
    if logits.shape[-1] == 1:
        return _sigmoid(logits)
    grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def as_logits(probabilities: np.ndarray) -> np.ndarray:
    """Logits that ``as_probabilities`` makes these of, but for certainty, whose logits would be infinite."""
    doubtful = np.clip(probabilities, LEAST_DOUBT, 1 - LEAST_DOUBT)
    logits = np.log(doubtful)
    return logits - np.log1p(-doubtful) if probabilities.shape[-1] == 1 else logits


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without an overflow: through the hyperbolic tangent."""
    return (np.tanh(logits / 2) + 1) / 2
