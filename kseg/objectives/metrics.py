"""Scores of a segmentation as Keras metrics: sums over the data set first, or the mean over its images.

Formulas and the rule for empty classes are those of `kseg.objectives.overlap`. Integers are counted in int64
and per-image scores summed in float64, so a result depends neither on the batch size, nor on the order of the
images, nor on the precision the network computes in.
"""

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from kseg.errors import ConfigError
from kseg.objectives import overlap
from kseg.objectives.overlap import Counts

Reduction = Literal["dataset", "per_image"]

_FORMULAS = tuple(overlap.TVERSKY_WEIGHTS)
# The scores that are averaged over images, and their rows in the variable that sums them.
_SCORES = (*_FORMULAS, "pixel_accuracy")


class OverlapMetric(keras.metrics.Metric):
    """Counts of all images seen since the last reset, and every score that follows from them.

    Subclasses only choose what `result` returns.

    Args:
        num_classes: C, the number of logits; 1 is binary, and scores the person class only.
        ignore_class: the id of pixels that count nowhere.
        threshold: binary only: a probability above it is a person.
        name: name of the metric.

    Raises:
        ConfigError: an argument is out of range; `update_state` is given sample weights, or logits of another
            C.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: int | None = None,
        threshold: float = 0.5,
        name: str | None = None,
    ) -> None:
        if num_classes < 1:
            raise ConfigError(f"num_classes={num_classes!r}: at least 1 is needed (1 is person or background).")
        super().__init__(name=name)
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.threshold = overlap.check_threshold(threshold)
        num_ids = max(num_classes, 2)
        # Over the data set: I, T and P of every id, background included.
        self.counts = self._variable("counts", (3, num_ids), "int64")
        # Over images: how many had a counted pixel, and their scores' sums.
        self.images = self._variable("images", (), "int64")
        self.image_sums = self._variable("image_sums", (len(_SCORES),), "float64")
        # Over images, class by class: in how many the class was seen, and the sums of its scores there.
        self.class_images = self._variable("class_images", (num_classes,), "int64")
        self.class_sums = self._variable("class_sums", (len(_FORMULAS), num_classes), "float64")

    def _variable(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        return self.add_variable(shape=shape, initializer="zeros", dtype=dtype, name=name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: None = None) -> None:
        """Count a batch.

        Args:
            y_true: class ids, integers (B, H, W) or (B, H, W, 1).
            y_pred: logits (B, H, W, C) of any floating type.
            sample_weight: must be None.
        """
        if sample_weight is not None:
            raise ConfigError(
                f"{type(self).__name__} counts pixels and takes no sample_weight. Pixels that shall not "
                f"count have the id ignore_class (here {self.ignore_class}) in the mask."
            )
        if y_pred.shape[-1] != self.num_classes:
            raise ConfigError(
                f"{type(self).__name__}(num_classes={self.num_classes}) was given {y_pred.shape[-1]} logits per pixel."
            )
        counts = overlap.count_classes(y_true, y_pred, self.ignore_class, self.threshold)
        self.counts.assign_add(ops.stack([ops.sum(c, axis=0) for c in counts]))
        self._add_images(counts)

    def _add_images(self, counts: Counts) -> None:
        """Add the scores of a batch's images from their counts, int64 (B, K)."""
        is_image = ops.any(counts.truth > 0, axis=-1)  # (B,): not all of it ignored
        self.images.assign_add(ops.sum(ops.cast(is_image, "int64")))

        classes = overlap.reported(counts, self.num_classes)
        seen = classes.truth + classes.predicted > 0  # (B, C)
        self.class_images.assign_add(ops.sum(ops.cast(seen, "int64"), axis=0))

        scores = ops.stack([overlap.score(name, classes) for name in _FORMULAS])  # (4, B, C)
        self.class_sums.assign_add(ops.sum(ops.where(seen, scores, 0.0), axis=1))

        image_scores = ops.concatenate([overlap.mean_defined(scores), overlap.accuracy(counts)[None]])  # (5, B)
        self.image_sums.assign_add(ops.sum(ops.where(is_image, image_scores, 0.0), axis=1))

    def _over_dataset(self, name: str) -> Any:
        """A score, sums first: float64 scalar."""
        counts = Counts(*ops.unstack(ops.convert_to_tensor(self.counts)))
        if name == "pixel_accuracy":
            return overlap.mean_defined(overlap.accuracy(counts)[None])
        return overlap.mean_defined(overlap.score(name, overlap.reported(counts, self.num_classes)))

    def _over_images(self, name: str) -> Any:
        """A score, the mean over images: float64 scalar."""
        mean = self.image_sums[_SCORES.index(name)] / ops.cast(self.images, "float64")
        return overlap.mean_defined(mean[None])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this metric again."""
        return {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "threshold": self.threshold,
            "name": self.name,
        }


class _ScalarMetric(OverlapMetric):
    """One score, by one reduction; a subclass names the score.

    Args:
        num_classes: C, the number of logits; 1 is binary, and scores the person class only.
        reduction: "dataset" sums over the data set first; "per_image" is the mean of the images' scores.
        ignore_class: the id of pixels that count nowhere.
        threshold: binary only: a probability above it is a person.
        name: by default the score's name, followed by "_per_image" for that reduction.
    """

    score_name: str

    def __init__(
        self,
        num_classes: int,
        reduction: Reduction = "dataset",
        ignore_class: int | None = None,
        threshold: float = 0.5,
        name: str | None = None,
    ) -> None:
        if reduction not in ("dataset", "per_image"):
            raise ConfigError(f'reduction={reduction!r} is unknown: use "dataset" or "per_image".')
        default = self.score_name if reduction == "dataset" else f"{self.score_name}_per_image"
        super().__init__(num_classes, ignore_class, threshold, name or default)
        self.reduction = reduction

    def result(self) -> Any:
        """Return the score: float64 scalar in [0, 1]."""
        over = self._over_dataset if self.reduction == "dataset" else self._over_images
        return over(self.score_name)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this metric again."""
        return {**super().get_config(), "reduction": self.reduction}


@keras.saving.register_keras_serializable(package="kseg")
class Jaccard(_ScalarMetric):
    """Mean over classes of I / (T + P − I), intersection over union."""

    score_name = "jaccard"


@keras.saving.register_keras_serializable(package="kseg")
class Dice(_ScalarMetric):
    """Mean over classes of 2 I / (T + P), the F1 score of pixels."""

    score_name = "dice"


@keras.saving.register_keras_serializable(package="kseg")
class Precision(_ScalarMetric):
    """Mean over classes of I / P: what share of the found was right."""

    score_name = "precision"


@keras.saving.register_keras_serializable(package="kseg")
class Recall(_ScalarMetric):
    """Mean over classes of I / T: what share of the true was found."""

    score_name = "recall"


@keras.saving.register_keras_serializable(package="kseg")
class PixelAccuracy(_ScalarMetric):
    """Share of right pixels, background included; "per_image" is the mean of the images' shares."""

    score_name = "pixel_accuracy"


@keras.saving.register_keras_serializable(package="kseg")
class Scores(OverlapMetric):
    """All scores at once from one set of counts; in `fit`'s logs each stands under its own name.

    Args:
        num_classes: C, the number of logits; 1 is binary, and scores the person class only.
        ignore_class: the id of pixels that count nowhere.
        threshold: binary only: a probability above it is a person.
        name: name of the metric (it does not appear in the logs).
    """

    def result(self) -> dict[str, Any]:
        """Return float64 scalars in [0, 1]; names without "_per_image" are over the data set, sums first."""
        return {
            "jaccard": self._over_dataset("jaccard"),
            "dice": self._over_dataset("dice"),
            "jaccard_per_image": self._over_images("jaccard"),
            "dice_per_image": self._over_images("dice"),
            "pixel_accuracy": self._over_dataset("pixel_accuracy"),
            "precision": self._over_dataset("precision"),
            "recall": self._over_dataset("recall"),
        }

    def per_class(self) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """Return each class's scores, outside of graphs: float64 (C,), NaN for a class seen nowhere.

        "jaccard", "dice", "precision" and "recall" are over the data set; "jaccard_per_image" and
        "dice_per_image" are means over the images in which the class was seen, in truth or prediction.
        """
        counts = overlap.reported(Counts(*ops.unstack(ops.convert_to_tensor(self.counts))), self.num_classes)
        scores = {name: overlap.score(name, counts) for name in _FORMULAS}
        images = ops.cast(self.class_images, "float64")
        for name in ("jaccard", "dice"):
            scores[f"{name}_per_image"] = self.class_sums[_FORMULAS.index(name)] / images
        return {name: np.asarray(values) for name, values in scores.items()}
