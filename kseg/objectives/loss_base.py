"""What all losses share: logits in float32, ignored pixels, class weights, and how Keras reduces them.

Truth y is class ids (B, H, W), prediction is logits (B, H, W, C). C = 1 is binary, with two ids (background,
person) and p the sigmoid; otherwise p is the softmax. K is the number of ids: 2 for binary, else C. Pixels of
`ignore_class` are in no sum and get no gradient; a batch of nothing else has loss 0. `class_weights` w, one
number per id, turn every mean of l into Σ w l / Σ w.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kseg.errors import ConfigError
from kseg.objectives import overlap
from kseg.objectives.overlap import Pixels


class SegmentationLoss(keras.losses.Loss):
    """Options of all losses; a subclass gives `value`.

    Args:
        ignore_class: the id of pixels that count nowhere.
        class_weights: K numbers, at least 0 and not all 0; for binary (background, person).
        label_smoothing: ε in [0, 1): the truth is 1 − ε + ε/K at the true id and ε/K at others.
        name: name of the loss.

    Raises:
        ConfigError: an argument is out of range; the loss cannot smooth labels; it is called with sample
            weights, or with logits that do not fit `class_weights`.
    """

    smooths_labels = False

    def __init__(
        self,
        ignore_class: int | None = None,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if class_weights is not None:
            class_weights = [at_least_zero("class_weights", w) for w in class_weights]
            if not any(class_weights):
                raise ConfigError(f"class_weights={class_weights}: at least one must be above 0.")
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(f"label_smoothing={label_smoothing!r} is not in [0, 1).")
        if label_smoothing and not self.smooths_labels:
            raise ConfigError(
                f"label_smoothing={label_smoothing!r}: {type(self).__name__} has no labels to smooth; "
                "only cross-entropy and focal have."
            )
        self.ignore_class = ignore_class
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: None = None) -> Any:
        """Return the loss of a batch: float32 scalar. Of weights, only None is taken."""
        if sample_weight is not None:
            raise ConfigError(
                f"{type(self).__name__} takes no sample_weight: use class_weights, or give pixels that "
                f"shall not count the id ignore_class (here {self.ignore_class})."
            )
        return super().__call__(y_true, y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of a batch as float32 (1,).

        One value for the batch, not one per sample: a mean over samples of different numbers of counted
        pixels would be another loss. Keras averages this vector and divides by the number of replicas; a
        scalar it would pass on undivided.
        """
        pixels = overlap.flatten_pixels(y_true, y_pred, self.ignore_class)
        # Zeros in place of ignored logits: nothing they hold, not even NaN, reaches a sum or a gradient.
        logits = ops.where(pixels.counted[..., None], pixels.logits, 0.0)
        return ops.reshape(self.value(pixels._replace(logits=logits)), (1,))

    def value(self, pixels: Pixels) -> Any:
        """Return the loss of a batch: float32 scalar."""
        raise NotImplementedError

    def id_weights(self, pixels: Pixels, default: Sequence[float] | None = None) -> Any:
        """Weights of the K ids, float32 (K,): `class_weights`, else `default`, else ones."""
        weights = self.class_weights or default or [1.0] * pixels.num_ids
        check_class_weights(weights, pixels.num_ids)
        return ops.convert_to_tensor(weights, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        config = {"ignore_class": self.ignore_class, "class_weights": self.class_weights, "name": self.name}
        return {**config, "label_smoothing": self.label_smoothing} if self.smooths_labels else config


def at_least_zero(what: str, number: Any) -> float:
    """Return `number` as a float if it is finite and at least 0, else raise ConfigError naming `what`."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 <= number < math.inf:
        raise ConfigError(f"{what}: {number!r} is not a finite number of at least 0.")
    return float(number)


def check_class_weights(weights: Sequence[float], num_ids: int) -> None:
    """Raise ConfigError unless there is one weight for each of the K ids."""
    if len(weights) != num_ids:
        binary = " (background, person)" if num_ids == 2 else ""
        raise ConfigError(f"class_weights has {len(weights)} numbers for {num_ids} ids{binary}: give one for each.")
