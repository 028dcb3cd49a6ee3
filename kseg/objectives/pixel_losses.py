"""Losses that are a mean over pixels: cross-entropy and its focal variant."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kseg.errors import ConfigError
from kseg.objectives import overlap
from kseg.objectives.loss_base import SegmentationLoss, at_least_zero
from kseg.objectives.overlap import Pixels


@keras.saving.register_keras_serializable(package="kseg")
class CrossEntropy(SegmentationLoss):
    """− Σ_k q_k log p_k, mean over the counted pixels.

    q is the truth, smoothed by ε: q_k = (1 − ε) [k = y] + ε / K (Szegedy et al., "Rethinking the Inception
    Architecture", 2016). With weights: Σ w_y l / Σ w_y over pixels. "bce" for one logit, "ce" for more.
    """

    smooths_labels = True

    def value(self, pixels: Pixels) -> Any:
        """Return the mean over pixels: float32 scalar."""
        truth = overlap.one_hot_truth(pixels)
        smoothed = (1.0 - self.label_smoothing) * truth + self.label_smoothing / pixels.num_ids
        losses = -ops.sum(smoothed * self.log_likelihood(pixels.logits), axis=-1)
        # The one-hot truth is all zeros where a pixel does not count, and so is its weight.
        weights = ops.sum(truth * self.id_weights(pixels), axis=-1)
        return tf.math.divide_no_nan(ops.sum(weights * losses), ops.sum(weights))

    def log_likelihood(self, logits: Any) -> Any:
        """What a right answer is worth: log p, float32 (B, N, K)."""
        return overlap.log_probabilities(logits)


@keras.saving.register_keras_serializable(package="kseg")
class FocalLoss(CrossEntropy):
    """− Σ_k q_k α_k (1 − p_k)^γ log p_k, mean over the counted pixels; easy pixels count less.

    Lin et al., "Focal Loss for Dense Object Detection", 2017, eq. 5. γ = 0 without α is `CrossEntropy`. The
    mean is over pixels (the paper divides by its number of objects); α does not enter the mean's divisor, w
    does.

    Args:
        gamma: γ, at least 0.
        alpha: binary only: weight of the person, in [0, 1]; the background's is 1 − α. More classes have
            `class_weights` for it.
        **options: those of `SegmentationLoss`.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.gamma = at_least_zero("gamma", gamma)
        if alpha is not None and at_least_zero("alpha", alpha) > 1.0:
            raise ConfigError(f"alpha={alpha!r} is not in [0, 1].")
        self.alpha = alpha

    def log_likelihood(self, logits: Any) -> Any:
        """Damped log p: float32 (B, N, K)."""
        log_p = super().log_likelihood(logits)
        # Kept above 0, where a power below 1 is infinitely steep.
        missing = ops.maximum(-ops.expm1(log_p), keras.config.epsilon())
        damped = ops.power(missing, self.gamma) * log_p
        if self.alpha is None:
            return damped
        if logits.shape[-1] != 1:
            raise ConfigError("focal: alpha is for binary problems; for more classes use class_weights.")
        return damped * ops.convert_to_tensor([1.0 - self.alpha, self.alpha], dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        return {**super().get_config(), "gamma": self.gamma, "alpha": self.alpha}
