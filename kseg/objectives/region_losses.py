"""Losses of whole regions, with a value per class: Tversky, of which Dice and Jaccard are cases, and Lovász.

They average the values of the classes present in the truth: an absent class has no region to overlap with,
its value is 1 whatever the logits and its gradient 0; and every pixel falsely given to it is already missing
from a present class. In a binary problem the person is the class that counts (weights 0 and 1 unless given).
Where no present class has a weight, the present ones count alike: so a batch without people is judged by its
background, and false people are still unlearnt.
"""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kseg.errors import ConfigError
from kseg.objectives import overlap
from kseg.objectives.loss_base import SegmentationLoss, at_least_zero
from kseg.objectives.overlap import Counts, Pixels


class RegionLoss(SegmentationLoss):
    """A value per class, averaged over classes (and images) by the rule at the head of this module.

    Args:
        per_image: False sums over the whole batch before the formula; True is the mean of the images' losses.
        **options: those of `SegmentationLoss`.
    """

    def __init__(self, per_image: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.per_image = per_image

    def mean_over_classes(self, losses: Any, truth: Any, pixels: Pixels) -> Any:
        """Mean over present classes, then over rows that have any: float32 scalar.

        Args:
            losses: float32 (R, K); R is B per image, 1 for the whole batch.
            truth: float32 (R, K), area of each class in the truth.
            pixels: the batch.
        """
        present = ops.cast(truth > 0, "float32")
        default = (0.0, 1.0) if pixels.logits.shape[-1] == 1 else None
        weights = present * self.id_weights(pixels, default)
        weights = ops.where(ops.any(weights > 0, axis=-1, keepdims=True), weights, present)
        rows = tf.math.divide_no_nan(ops.sum(weights * losses, axis=-1), ops.sum(weights, axis=-1))
        used = ops.cast(ops.any(truth > 0, axis=-1), "float32")
        return tf.math.divide_no_nan(ops.sum(rows * used), ops.sum(used))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        return {**super().get_config(), "per_image": self.per_image}


@keras.saving.register_keras_serializable(package="kseg")
class TverskyLoss(RegionLoss):
    """1 − (I + s) / (I + α (P − I) + β (T − I) + s), with I, P, T summed from probabilities.

    Salehi et al., "Tversky loss function for image segmentation", 2017; the index is `overlap.tversky`.

    Args:
        alpha: price of a false positive, at least 0.
        beta: price of a miss, at least 0, and not 0 together with alpha.
        smooth: s in pixels, at least 0: makes small regions weigh less.
        **options: those of `RegionLoss`.
    """

    def __init__(self, alpha: float = 0.5, beta: float = 0.5, smooth: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.alpha = at_least_zero("alpha", alpha)
        self.beta = at_least_zero("beta", beta)
        self.smooth = at_least_zero("smooth", smooth)
        if not self.alpha + self.beta:
            raise ConfigError("tversky: alpha and beta are both 0, so that no mistake costs anything.")

    def value(self, pixels: Pixels) -> Any:
        """Return the mean over classes: float32 scalar in [0, 1]."""
        counts = overlap.soft_counts(pixels)  # (B, K)
        if not self.per_image:
            counts = Counts(*(ops.sum(c, axis=0, keepdims=True) for c in counts))  # (1, K)
        losses = 1.0 - overlap.tversky(counts, self.alpha, self.beta, self.smooth)
        return self.mean_over_classes(losses, counts.truth, pixels)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta, "smooth": self.smooth}


class _FixedTversky(TverskyLoss):
    """A Tversky loss whose prices are those of a named score."""

    score_name: str

    def __init__(self, smooth: float = 0.0, **options: Any) -> None:
        alpha, beta = overlap.TVERSKY_WEIGHTS[self.score_name]
        super().__init__(alpha, beta, smooth, **options)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        return {k: v for k, v in super().get_config().items() if k not in ("alpha", "beta")}


@keras.saving.register_keras_serializable(package="kseg")
class DiceLoss(_FixedTversky):
    """1 − 2 I / (T + P), summed from probabilities (Milletari et al., "V-Net", 2016, with Σ p for Σ p²)."""

    score_name = "dice"


@keras.saving.register_keras_serializable(package="kseg")
class JaccardLoss(_FixedTversky):
    """1 − I / (T + P − I), summed from probabilities (Rahman and Wang, "Optimizing IoU", 2016)."""

    score_name = "jaccard"


@keras.saving.register_keras_serializable(package="kseg")
class LovaszLoss(RegionLoss):
    """Lovász extension of the Jaccard loss: Σ_i m_(i) g_i, errors m sorted from large to small.

    Berman et al., "The Lovász-Softmax loss", 2018. Errors: max(0, 1 − s x) of the logit x and the sign s = ±1
    of the truth for binary (hinge); |[y = k] − p_k| for more (softmax). g_i is what the Jaccard loss 1 − I/U
    grows by when the i-th pixel becomes a mistake too: 1 / U_i for a pixel of the class (one less hit), and
    I_i / (U_i (U_i − 1)) for another (one more in the union). With probabilities 0 and 1 the softmax form
    *is* 1 − Jaccard.
    """

    def value(self, pixels: Pixels) -> Any:
        """Return the mean over classes: float32 scalar, in [0, 1] for softmax."""
        truth = overlap.one_hot_truth(pixels)  # (B, N, K)
        errors = self._errors(pixels, truth)  # (B, N, K), or (B, N, 1) when binary
        # What does not count comes last in the order, where it changes no other's step, and is worth nothing.
        errors = ops.where(pixels.counted[..., None], errors, -math.inf)
        if not self.per_image:
            truth, errors = (ops.reshape(x, (1, -1, x.shape[-1])) for x in (truth, errors))
        truth, errors = (ops.transpose(x, (0, 2, 1)) for x in (truth, errors))  # (R, K, N)
        area = ops.sum(truth, axis=-1)
        order = tf.argsort(errors, axis=-1, direction="DESCENDING")
        errors = tf.gather(errors, order, batch_dims=2)
        truth = tf.gather(truth, tf.broadcast_to(order, tf.shape(truth)), batch_dims=2)
        losses = ops.sum(ops.relu(errors) * self._steps(truth), axis=-1)  # (R, K)
        return self.mean_over_classes(losses, area, pixels)

    def _errors(self, pixels: Pixels, truth: Any) -> Any:
        if pixels.logits.shape[-1] != 1:
            return ops.abs(truth - overlap.probabilities(pixels.logits))
        # The same for background and person: one column, sorted once, serves both.
        sign = 2.0 * ops.cast(pixels.ids, "float32")[..., None] - 1.0
        return 1.0 - sign * pixels.logits

    def _steps(self, truth: Any) -> Any:
        """g, float32 (..., N), from the truth in the order of the errors, (..., N)."""
        # float32 stops counting at 2**24 pixels.
        truth = ops.cast(ops.stop_gradient(truth), "float64")
        area = ops.sum(truth, axis=-1, keepdims=True)
        intersection = area - ops.cumsum(truth, axis=-1)
        union = area + ops.cumsum(1.0 - truth, axis=-1)
        missed = tf.math.divide_no_nan(tf.ones_like(union), union)
        added = tf.math.divide_no_nan(intersection, union * (union - 1.0))
        return ops.cast(ops.where(truth > 0, missed, added), "float32")
