"""All losses, sums of them, and the settings' language for such sums ("bce + 0.5 dice")."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from kseg.errors import ConfigError, did_you_mean
from kseg.objectives.loss_base import SegmentationLoss, check_class_weights
from kseg.objectives.pixel_losses import CrossEntropy, FocalLoss
from kseg.objectives.region_losses import DiceLoss, JaccardLoss, LovaszLoss, TverskyLoss

__all__ = [
    "CrossEntropy",
    "DiceLoss",
    "FocalLoss",
    "JaccardLoss",
    "LovaszLoss",
    "TverskyLoss",
    "WeightedSum",
    "parse_loss",
]


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

    def __init__(self, losses: Sequence[keras.losses.Loss], weights: Sequence[float], name: str | None = None) -> None:
        super().__init__(name=name)
        if not losses or len(losses) != len(weights):
            raise ConfigError(f"{len(losses)} losses and {len(weights)} weights: give one weight for each loss.")
        if not all(0.0 < w < math.inf for w in weights):
            raise ConfigError(f"weights={list(weights)}: each must be a finite number above 0.")
        self.losses = list(losses)
        self.weights = [float(w) for w in weights]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the sum: float32 scalar. Keras has reduced each loss, and scaled it for its replica."""
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
_TERM = re.compile(r"(?P<weight>[^\sA-Za-z_*(]\S*?)?\s*\*?\s*(?P<name>[A-Za-z_]\w*)\s*(?:\((?P<parameters>[^()]*)\))?")


def parse_loss(
    text: str,
    *,
    num_classes: int,
    ignore_class: int | None = None,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> keras.losses.Loss:
    """Build a loss from a sum of terms: "bce + 0.5 dice", "0.7 ce + 0.3 tversky(alpha=0.3, beta=0.7)".

    A term is `[weight] name[(parameter=value, ...)]`. Names: bce (one class) or ce (more), dice, jaccard,
    tversky (alpha, beta), focal (gamma, alpha), lovasz. dice, jaccard and tversky take smooth; all regions
    take per_image=true.

    Args:
        text: the sum.
        num_classes: C, the number of logits.
        ignore_class: the id of pixels that count nowhere.
        class_weights: one number per id, for binary (background, person).
        label_smoothing: ε for the terms that have labels to smooth (bce, ce, focal); one of them must be
            there.

    Raises:
        ConfigError: names the piece that cannot be read, and what would be right.
    """
    if class_weights is not None:
        check_class_weights(class_weights, max(num_classes, 2))
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
        raise ConfigError(f"label_smoothing={label_smoothing!r}, but nothing in {text!r} has labels to smooth.")
    return losses[0] if weights == [1.0] else WeightedSum(losses, weights)


def _parse_term(piece: str, text: str) -> tuple[float, str, dict[str, Any]]:
    """Weight, name and parameters of one term."""
    match = _TERM.fullmatch(piece)
    if match is None:
        raise ConfigError(
            f"loss {text!r}: cannot read {piece!r}. Write terms such as 'bce', '0.5 dice' or "
            f"'focal(gamma=2)' with '+' between them; names are {', '.join(_LOSSES)}."
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
    return f"unknown {what} {word!r}{did_you_mean(word.lower(), known)}; there is {', '.join(known) or 'none'}"


def _check_fits(name: str, parameters: Mapping[str, Any], num_classes: int) -> None:
    """A loss for one logit with several classes, or the other way round, is a mistake in the settings."""
    right = "bce" if num_classes == 1 else "ce"
    if name in ("bce", "ce") and name != right:
        raise ConfigError(f"loss {name!r} does not fit num_classes={num_classes}: use {right!r}.")
    if name == "focal" and "alpha" in parameters and num_classes != 1:
        raise ConfigError(f"focal: alpha is for one class, and num_classes={num_classes}: use class_weights.")
