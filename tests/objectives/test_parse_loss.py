"""The settings' language for losses: what it builds, and what it says about what it cannot read."""

import re

import keras
import numpy as np
import pytest

from kseg.errors import ConfigError
from kseg.objectives.losses import (
    CrossEntropy,
    DiceLoss,
    FocalLoss,
    JaccardLoss,
    LovaszLoss,
    TverskyLoss,
    WeightedSum,
    parse_loss,
)


def parts(loss):
    """[(weight, class, settings other than defaults and names)]"""
    terms = zip(loss.weights, loss.losses, strict=True) if isinstance(loss, WeightedSum) else [(1.0, loss)]
    result = []
    for weight, term in terms:
        defaults = type(term)().get_config()
        changed = {k: v for k, v in term.get_config().items() if v != defaults[k] and k != "name"}
        result.append((weight, type(term), changed))
    return result


@pytest.mark.parametrize(
    ("text", "num_classes", "expected"),
    [
        ("bce", 1, [(1.0, CrossEntropy, {})]),
        ("ce", 5, [(1.0, CrossEntropy, {})]),
        ("bce + 0.5 dice", 1, [(1.0, CrossEntropy, {}), (0.5, DiceLoss, {})]),
        ("0.7 ce+0.3 lovasz", 3, [(0.7, CrossEntropy, {}), (0.3, LovaszLoss, {})]),
        ("  2*jaccard  ", 1, [(2.0, JaccardLoss, {})]),
        ("1e+1 dice+1e-3 * bce", 1, [(10.0, DiceLoss, {}), (0.001, CrossEntropy, {})]),
        ("1 dice", 1, [(1.0, DiceLoss, {})]),
        ("focal", 1, [(1.0, FocalLoss, {})]),
        ("focal(gamma=3, alpha=.25)", 1, [(1.0, FocalLoss, {"gamma": 3.0, "alpha": 0.25})]),
        ("tversky(alpha=0.3,beta=0.7)", 3, [(1.0, TverskyLoss, {"alpha": 0.3, "beta": 0.7})]),
        (
            "tversky ( beta = 1e+2 ) + lovasz(per_image=true) + dice(smooth=1, per_image=false)",
            3,
            [
                (1.0, TverskyLoss, {"beta": 100.0}),
                (1.0, LovaszLoss, {"per_image": True}),
                (1.0, DiceLoss, {"smooth": 1.0}),
            ],
        ),
        ("dice()", 1, [(1.0, DiceLoss, {})]),
    ],
)
def test_what_is_built(text, num_classes, expected):
    assert parts(parse_loss(text, num_classes=num_classes)) == expected


def test_options_reach_every_term():
    loss = parse_loss(
        "ce + focal + dice", num_classes=3, ignore_class=255, class_weights=(1, 2, 3), label_smoothing=0.1
    )
    shared = {"ignore_class": 255, "class_weights": [1.0, 2.0, 3.0]}
    smoothed = {**shared, "label_smoothing": 0.1}
    assert parts(loss) == [(1.0, CrossEntropy, smoothed), (1.0, FocalLoss, smoothed), (1.0, DiceLoss, shared)]


def test_value_and_serialisation():
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(0, 2, (2, 4, 4)), rng.normal(size=(2, 4, 4, 1))
    loss = parse_loss("0.25 bce + 3 dice", num_classes=1)
    expected = 0.25 * float(CrossEntropy()(truth, logits)) + 3 * float(DiceLoss()(truth, logits))
    assert float(loss(truth, logits)) == pytest.approx(expected)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert parts(again) == parts(loss)
    assert float(again(truth, logits)) == float(loss(truth, logits))


@pytest.mark.parametrize(
    ("text", "num_classes", "messages"),
    [
        ("", 1, ["cannot read ''", "bce, ce, dice, jaccard, tversky, focal, lovasz"]),
        ("bce +", 1, ["cannot read ''"]),
        ("bce ++ dice", 1, ["cannot read ''"]),
        ("bce dice", 1, ["cannot read 'bce dice'", "'+' between them"]),
        ("bce - dice", 1, ["cannot read 'bce - dice'"]),
        ("0.5", 1, ["cannot read '0.5'"]),
        ("dice(smooth=1", 1, ["cannot read 'dice(smooth=1'"]),
        ("bce + dise", 1, ["unknown loss 'dise'", "did you mean dice?", "lovasz"]),
        ("Dice", 1, ["unknown loss 'Dice'", "did you mean dice?"]),
        ("__import__('os')", 1, ["unknown loss '__import__'"]),
        ("zzz", 1, ["unknown loss 'zzz'; there is bce"]),
        ("-1 bce", 1, ["weight of bce is -1", "above 0"]),
        ("0 dice", 1, ["weight of dice is 0"]),
        ("1.2.3 dice", 1, ["weight of dice is '1.2.3'", "not a finite number"]),
        ("1e999 dice", 1, ["weight of dice is '1e999'"]),
        ("focal(gama=2)", 1, ["unknown parameter of focal 'gama'", "did you mean gamma?", "alpha"]),
        ("bce(gamma=2)", 1, ["unknown parameter of bce 'gamma'", "there is none"]),
        ("focal(gamma=two)", 1, ["gamma of focal is 'two'"]),
        ("focal(gamma=)", 1, ["gamma of focal is ''"]),
        ("focal(gamma=nan)", 1, ["gamma of focal is 'nan'"]),
        ("focal(gamma=-1)", 1, ["gamma: -1.0"]),
        ("focal(2)", 1, ["'2' in focal(...)", "parameter=value"]),
        ("focal(gamma=1, gamma=2)", 1, ["gamma twice"]),
        ("lovasz(per_image=yes)", 1, ["per_image of lovasz is 'yes'", "true or false"]),
        ("ce", 1, ["'ce' does not fit num_classes=1", "use 'bce'"]),
        ("dice + bce", 3, ["'bce' does not fit num_classes=3", "use 'ce'"]),
        ("focal(alpha=0.5)", 3, ["alpha is for one class", "class_weights"]),
    ],
)
def test_what_cannot_be_read(text, num_classes, messages):
    with pytest.raises(ConfigError) as caught:
        parse_loss(text, num_classes=num_classes)
    for message in messages:
        assert re.search(re.escape(message), str(caught.value)), str(caught.value)


def test_options_that_do_not_fit():
    with pytest.raises(ConfigError, match="nothing in 'dice \\+ lovasz' has labels to smooth"):
        parse_loss("dice + lovasz", num_classes=1, label_smoothing=0.1)
    with pytest.raises(ConfigError, match=r"1 numbers for 2 ids \(background, person\)"):
        parse_loss("bce", num_classes=1, class_weights=[1.0])
    with pytest.raises(ConfigError, match="2 numbers for 3 ids:"):
        parse_loss("ce", num_classes=3, class_weights=[1.0, 2.0])
