"""What a network is trained towards, as Keras losses on logits, and the settings' language for sums of them.

Shared by all: truth y is class ids (B, H, W), prediction is logits (B, H, W, C), computed in float32 whatever the
network's precision. C = 1 is binary, with two ids (background, person) and p the sigmoid; otherwise p is the softmax.
K is the number of ids: 2 for binary, else C. Pixels of `ignore_class` are in no sum and get no gradient; a batch of
nothing else has loss 0. `class_weights` w, one number per id, turn every mean of l into Σ w l / Σ w.

The region losses (Dice, Jaccard, Tversky, Lovász) have a value per class. They average those of the classes present
in the truth: an absent class has no region to overlap with, its value is 1 whatever the logits, and its gradient 0;
and every pixel falsely given to it is already missing from a present class. In a binary problem the person is the
class that counts (weights 0 and 1 unless given), and where the truth has no present class with a weight, the present
ones count alike: a batch without people is judged by its background, so that false people are still unlearnt.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from kseg.errors import ConfigError
from kseg.objectives import overlap
from kseg.objectives.overlap import Counts, Pixels


class SegmentationLoss(keras.losses.Loss):
    """Options of all losses; a subclass gives `value`.

    Args:
        ignore_class: the id of pixels that count nowhere.
        class_weights: K numbers, at least 0 and not all 0; for binary (background, person).
        label_smoothing: ε in [0, 1): the truth is 1 − ε + ε/K at the true id and ε/K at others.
        name: name of the loss.

    Raises:
        ConfigError: an argument is out of range; the loss cannot smooth labels; it is called with sample weights, or
            with logits that do not fit `class_weights`.
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
            class_weights = [_at_least_zero("class_weights", w) for w in class_weights]
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
                f"{type(self).__name__} takes no sample_weight: use class_weights, or give pixels that shall not count "
                f"the id ignore_class (here {self.ignore_class})."
            )
        return super().__call__(y_true, y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of a batch as float32 (1,).

        One value for the batch, not one per sample: a mean over samples of different numbers of counted pixels would
        be another loss. Keras averages this vector and divides by the number of replicas; a scalar it would pass on
        undivided.
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
        if len(weights) != pixels.num_ids:
            raise ConfigError(_wrong_number(weights, pixels.num_ids))
        return ops.convert_to_tensor(weights, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        config = {"ignore_class": self.ignore_class, "class_weights": self.class_weights, "name": self.name}
        return {**config, "label_smoothing": self.label_smoothing} if self.smooths_labels else config


def _at_least_zero(what: str, number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 <= number < math.inf:
        raise ConfigError(f"{what}: {number!r} is not a finite number of at least 0.")
    return float(number)


def _wrong_number(weights: Sequence[float], wanted: int) -> str:
    binary = " (background, person)" if wanted == 2 else ""
    return f"class_weights has {len(weights)} numbers, but there are {wanted} ids{binary}: give one for each."


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

    Lin et al., "Focal Loss for Dense Object Detection", 2017, eq. 5. γ = 0 without α is `CrossEntropy`. The mean is
    over pixels (the paper divides by its number of objects); α does not enter the mean's divisor, w does.

    Args:
        gamma: γ, at least 0.
        alpha: binary only: weight of the person, in [0, 1]; the background's is 1 − α. More classes have
            `class_weights` for it.
        **options: those of `SegmentationLoss`.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.gamma = _at_least_zero("gamma", gamma)
        if alpha is not None and _at_least_zero("alpha", alpha) > 1.0:
            raise ConfigError(f"alpha={alpha!r} is not in [0, 1].")
        self.alpha = alpha

    def log_likelihood(self, logits: Any) -> Any:
        """Damped log p: float32 (B, N, K)."""
        log_p = super().log_likelihood(logits)
        # Kept above 0, where the slope of a power γ < 1 is infinite.
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


class RegionLoss(SegmentationLoss):
    """A loss with a value per class, averaged over classes (and images) by the rule at the head of this module.

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
        weights = present * self.id_weights(
            pixels, default=(0.0, 1.0) if pixels.logits.shape[-1] == 1 else None
        )
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
        self.alpha = _at_least_zero("alpha", alpha)
        self.beta = _at_least_zero("beta", beta)
        self.smooth = _at_least_zero("smooth", smooth)
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
    """1 − 2 I / (T + P), with sums of probabilities (Milletari et al., "V-Net", 2016, with P in place of Σ p²)."""

    score_name = "dice"


@keras.saving.register_keras_serializable(package="kseg")
class JaccardLoss(_FixedTversky):
    """1 − I / (T + P − I), with sums of probabilities (Rahman and Wang, "Optimizing IoU", 2016)."""

    score_name = "jaccard"


@keras.saving.register_keras_serializable(package="kseg")
class LovaszLoss(RegionLoss):
    """Lovász extension of the Jaccard loss: Σ_i m_(i) g_i, errors m sorted from large to small.

    Berman et al., "The Lovász-Softmax loss", 2018. Errors: max(0, 1 − s x) of the logit x and the sign s = ±1 of the
    truth for binary (hinge); |[y = k] − p_k| for more (softmax). g_i is what the Jaccard loss 1 − I/U grows by when the
    i-th pixel becomes a mistake too: 1 / U_i for a pixel of the class (one less hit), and I_i / (U_i (U_i − 1)) for
    another (one more in the union). With probabilities 0 and 1 the softmax form *is* 1 − Jaccard.
    """

    def value(self, pixels: Pixels) -> Any:
        """Return the mean over classes: float32 scalar, in [0, 1] for softmax."""
        truth = overlap.one_hot_truth(pixels)  # (B, N, K)
        errors = self._errors(pixels, truth)  # (B, N, K), or (B, N, 1) when binary
        # Before all others' errors in no order, and worth nothing: what does not count comes last.
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
        """g from the truth in the order of the errors, (..., N) both; sums in float64: float32 stops at 2**24."""
        truth = ops.cast(ops.stop_gradient(truth), "float64")
        area = ops.sum(truth, axis=-1, keepdims=True)
        intersection = area - ops.cumsum(truth, axis=-1)
        union = area + ops.cumsum(1.0 - truth, axis=-1)
        missed = tf.math.divide_no_nan(tf.ones_like(union), union)
        added = tf.math.divide_no_nan(intersection, union * (union - 1.0))
        return ops.cast(ops.where(truth > 0, missed, added), "float32")


@keras.saving.register_keras_serializable(package="kseg")
class WeightedSum(keras.losses.Loss):
    """Σ_j λ_j L_j: several losses of the same logits.

    Args:
        losses: Keras losses, each with a scalar value.
        weights: λ, one number above 0 for each.
        name: name of the loss.

    Raises:
        ConfigError: there are no losses, or not as many weights, or a weight is not above 0.
    """

    def __init__(
        self, losses: Sequence[keras.losses.Loss], weights: Sequence[float], name: str | None = None
    ) -> None:
        super().__init__(name=name)
        if not losses or len(losses) != len(weights):
            raise ConfigError(
                f"{len(losses)} losses and {len(weights)} weights: give one weight for each loss."
            )
        if not all(0.0 < w < math.inf for w in weights):
            raise ConfigError(f"weights={list(weights)}: each must be a finite number above 0.")
        self.losses = list(losses)
        self.weights = [float(w) for w in weights]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the sum: float32 scalar. Each loss has already been reduced, and scaled for its replica, by Keras."""
        terms = zip(self.weights, self.losses, strict=True)
        return sum(weight * loss(y_true, y_pred, sample_weight) for weight, loss in terms)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        losses = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {"losses": losses, "weights": self.weights, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WeightedSum":
        """Build from `get_config`'s answer."""
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(**{**config, "losses": losses})


class _Named(NamedTuple):
    """A loss of the settings' language: its class and the parameters it takes there, with their types."""

    loss: type[SegmentationLoss]
    parameters: Mapping[str, type]


_REGION: dict[str, type] = {"per_image": bool}
_SMOOTH = {"smooth": float, **_REGION}
_LOSSES = {
    "bce": _Named(CrossEntropy, {}),
    "ce": _Named(CrossEntropy, {}),
    "dice": _Named(DiceLoss, _SMOOTH),
    "jaccard": _Named(JaccardLoss, _SMOOTH),
    "tversky": _Named(TverskyLoss, {"alpha": float, "beta": float, **_SMOOTH}),
    "focal": _Named(FocalLoss, {"gamma": float, "alpha": float}),
    "lovasz": _Named(LovaszLoss, _REGION),
}
# A "+" between terms: not the one of 1e+3, and not inside parentheses.
_PLUS = re.compile(r"(?<!\d[eE])\+(?![^()]*\))")
_TERM = re.compile(
    r"(?P<weight>[^\sA-Za-z_*(]\S*?)?\s*\*?\s*(?P<name>[A-Za-z_]\w*)\s*(?:\((?P<parameters>[^()]*)\))?"
)


def parse_loss(
    text: str,
    *,
    num_classes: int,
    ignore_class: int | None = None,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> keras.losses.Loss:
    """Build a loss from a sum of terms such as "bce + 0.5 dice" or "0.7 ce + 0.3 tversky(alpha=0.3, beta=0.7)".

    A term is `[weight] name[(parameter=value, ...)]`. Names: bce (one class) or ce (more), dice, jaccard, tversky
    (alpha, beta), focal (gamma, alpha), lovasz. dice, jaccard and tversky take smooth; all regions take per_image=true.

    Args:
        text: the sum.
        num_classes: C, the number of logits.
        ignore_class: the id of pixels that count nowhere.
        class_weights: one number per id, for binary (background, person).
        label_smoothing: ε for the terms that have labels to smooth (bce, ce, focal); one of them must be there.

    Raises:
        ConfigError: names the piece that cannot be read, and what would be right.
    """
    num_ids = max(num_classes, 2)
    if class_weights is not None and len(class_weights) != num_ids:
        raise ConfigError(_wrong_number(class_weights, num_ids))
    options: dict[str, Any] = {"ignore_class": ignore_class, "class_weights": class_weights}
    weights, losses = [], []
    for piece in _PLUS.split(text):
        weight, name, parameters = _parse_term(piece.strip(), text)
        _check_fits(name, parameters, num_classes)
        kind = _LOSSES[name].loss
        smoothing: dict[str, Any] = {"label_smoothing": label_smoothing} if kind.smooths_labels else {}
        weights.append(weight)
        losses.append(kind(**parameters, **options, **smoothing))
    if label_smoothing and not any(loss.smooths_labels for loss in losses):
        raise ConfigError(
            f"label_smoothing={label_smoothing!r}, but nothing in {text!r} has labels to smooth."
        )
    return losses[0] if weights == [1.0] else WeightedSum(losses, weights)


def _parse_term(piece: str, text: str) -> tuple[float, str, dict[str, Any]]:
    """Weight, name and parameters of one term."""
    match = _TERM.fullmatch(piece)
    if match is None:
        raise ConfigError(
            f"loss {text!r}: cannot read {piece!r}. Write terms such as 'bce', '0.5 dice' or 'focal(gamma=2)' "
            f"with '+' between them; names are {', '.join(_LOSSES)}."
        )
    name = match["name"]
    if name not in _LOSSES:
        raise ConfigError(f"loss {text!r}: {_unknown('loss', name, _LOSSES)}")
    weight = 1.0 if match["weight"] is None else _number(match["weight"], f"loss {text!r}: weight of {name}")
    if weight <= 0.0:
        raise ConfigError(f"loss {text!r}: weight of {name} is {match['weight']}; weights are above 0.")
    return weight, name, _parse_parameters(name, match["parameters"] or "", text)


def _parse_parameters(name: str, listed: str, text: str) -> dict[str, Any]:
    """Parameters of one term, from what stands between its parentheses."""
    known = _LOSSES[name].parameters
    parameters: dict[str, Any] = {}
    for item in filter(None, map(str.strip, listed.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise ConfigError(f"loss {text!r}: {item!r} in {name}(...) is not of the form parameter=value.")
        if key not in known:
            raise ConfigError(f"loss {text!r}: {_unknown(f'parameter of {name}', key, known)}")
        if key in parameters:
            raise ConfigError(f"loss {text!r}: {name}(...) has {key} twice.")
        if known[key] is float:
            parameters[key] = _number(value, f"loss {text!r}: {key} of {name}")
        elif value in ("true", "false"):
            parameters[key] = value == "true"
        else:
            raise ConfigError(f"loss {text!r}: {key} of {name} is {value!r}; use true or false.")
    return parameters


def _number(value: str, what: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{what} is {value!r}, which is not a finite number.")
    return number


def _unknown(what: str, word: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word.lower(), known, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return f"unknown {what}: {word!r}.{guess} There is {', '.join(known) or 'none'}."


def _check_fits(name: str, parameters: Mapping[str, Any], num_classes: int) -> None:
    """A loss for one logit with several classes, or the other way round, is a mistake in the settings."""
    right = "bce" if num_classes == 1 else "ce"
    if name in ("bce", "ce") and name != right:
        raise ConfigError(f"loss {name!r} does not fit num_classes={num_classes}: use {right!r}.")
    if name == "focal" and "alpha" in parameters and num_classes != 1:
        raise ConfigError(f"focal: alpha is for one class, and num_classes={num_classes}: use class_weights.")
