"""Losses against slow NumPy in float64, sklearn, numbers worked by hand, and inside Keras's own loops."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import jaccard_score, log_loss

from kseg.errors import ConfigError
from kseg.objectives.losses import (
    CrossEntropy,
    DiceLoss,
    FocalLoss,
    JaccardLoss,
    LovaszLoss,
    TverskyLoss,
    WeightedSum,
)

IGNORED = 255
SHAPE = (3, 3, 4)
WEIGHTS = {1: (0.5, 2.0), 3: (0.2, 1.0, 3.0)}

PIXEL_LOSSES = {
    "cross-entropy": lambda **o: CrossEntropy(**o),
    "smoothed": lambda **o: CrossEntropy(label_smoothing=0.2, **o),
    "focal": lambda **o: FocalLoss(gamma=1.5, **o),
    "focal, smoothed": lambda **o: FocalLoss(gamma=0.5, label_smoothing=0.1, **o),
}
REGION_LOSSES = {
    "dice": lambda **o: DiceLoss(**o),
    "jaccard": lambda **o: JaccardLoss(**o),
    "tversky": lambda **o: TverskyLoss(alpha=0.3, beta=0.7, **o),
    "smooth": lambda **o: DiceLoss(smooth=2.0, **o),
    "lovasz": lambda **o: LovaszLoss(**o),
}
PER_IMAGE = {f"{k}, per image": lambda make=v, **o: make(per_image=True, **o) for k, v in REGION_LOSSES.items()}
LOSSES = {**PIXEL_LOSSES, **REGION_LOSSES, **PER_IMAGE}


# Slow NumPy, one pixel or one class at a time, in float64.


def slow_probabilities(logits):
    """[image, row, column] -> list of K probabilities."""
    if len(logits) == 1:
        p = 1 / (1 + math.exp(-logits[0]))
        return [1 - p, p]
    powers = [math.exp(x - max(logits)) for x in logits]
    return [x / sum(powers) for x in powers]


def slow_pixel_loss(truth, logits, weights=None, smoothing=0.0, gamma=0.0, alpha=None):
    total = weight = 0.0
    for place in np.ndindex(truth.shape):
        if truth[place] == IGNORED:
            continue
        p = slow_probabilities(logits[place].astype(float))
        target = [(1 - smoothing) * (k == truth[place]) + smoothing / len(p) for k in range(len(p))]
        balance = [1 - alpha, alpha] if alpha is not None else [1] * len(p)
        w = weights[truth[place]] if weights else 1
        total += w * sum(-q * a * (1 - pk) ** gamma * math.log(pk) for q, a, pk in zip(target, balance, p, strict=True))
        weight += w
    return total / weight if weight else 0.0


def slow_tversky(truth, probability, alpha, beta, smooth=0.0):
    """Of one class; truth is of 0 and 1, and what is ignored has been left out."""
    hit = (truth * probability).sum()
    false = ((1 - truth) * probability).sum()
    missed = (truth * (1 - probability)).sum()
    return 1 - (hit + smooth) / (hit + alpha * false + beta * missed + smooth)


def slow_lovasz(truth, error):
    """The Lovász extension by its definition: of the set function Δ(mistakes) = |mistakes| / |truth ∪ mistakes|."""
    region = {i for i in range(len(truth)) if truth[i]}
    total = before = 0.0
    mistakes: set[int] = set()
    for i in sorted(range(len(error)), key=lambda i: -error[i]):
        mistakes.add(i)
        now = len(mistakes) / len(region | mistakes)
        total += max(error[i], 0.0) * (now - before)
        before = now
    return total


def slow_region_loss(truth, logits, of_class, weights=None, per_image=False):
    """`of_class(truth of 0 and 1, its probabilities, its hinge errors)` averaged by the rule for absent classes."""
    values = []
    for chosen in [[i] for i in range(len(truth))] if per_image else [range(len(truth))]:
        places = [(i, *p) for i in chosen for p in np.ndindex(truth.shape[1:]) if truth[(i, *p)] != IGNORED]
        ids = np.array([truth[p] for p in places])
        if not len(ids):
            continue
        x = np.array([logits[p] for p in places], float)
        p = np.array([slow_probabilities(row) for row in x])
        hinge = 1 - x[:, 0] * np.where(ids == 1, 1, -1) if x.shape[1] == 1 else None
        w = weights or ((0, 1) if x.shape[1] == 1 else (1,) * x.shape[1])
        present = sorted(set(ids.tolist()))
        if not any(w[k] for k in present):
            w = (1,) * len(w)
        losses = {k: of_class((ids == k) * 1.0, p[:, k], hinge) for k in present}
        values.append(sum(w[k] * losses[k] for k in present) / sum(w[k] for k in present))
    return sum(values) / len(values) if values else 0.0


def lovasz_of_class(truth, probability, hinge):
    return slow_lovasz(truth, hinge if hinge is not None else abs(truth - probability))


SLOW = {
    "cross-entropy": slow_pixel_loss,
    "smoothed": lambda *a, **k: slow_pixel_loss(*a, **k, smoothing=0.2),
    "focal": lambda *a, **k: slow_pixel_loss(*a, **k, gamma=1.5),
    "focal, smoothed": lambda *a, **k: slow_pixel_loss(*a, **k, gamma=0.5, smoothing=0.1),
    "dice": lambda *a, **k: slow_region_loss(*a, lambda t, p, _: slow_tversky(t, p, 0.5, 0.5), **k),
    "jaccard": lambda *a, **k: slow_region_loss(*a, lambda t, p, _: slow_tversky(t, p, 1, 1), **k),
    "tversky": lambda *a, **k: slow_region_loss(*a, lambda t, p, _: slow_tversky(t, p, 0.3, 0.7), **k),
    "smooth": lambda *a, **k: slow_region_loss(*a, lambda t, p, _: slow_tversky(t, p, 0.5, 0.5, 2), **k),
    "lovasz": lambda *a, **k: slow_region_loss(*a, lovasz_of_class, **k),
}
SLOW |= {f"{k}, per image": lambda *a, slow=SLOW[k], **o: slow(*a, **o, per_image=True) for k in REGION_LOSSES}


def batch(num_classes, seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, max(num_classes, 2), shape).astype("uint8")
    truth[rng.random(shape) < 0.2] = IGNORED
    return truth, rng.normal(size=(*shape, num_classes)).astype("float32")


def value_and_gradient(loss, truth, logits):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(truth, logits)
    return float(value), tape.gradient(value, logits).numpy()


@pytest.mark.parametrize("name", LOSSES)
@given(
    st.sampled_from([1, 3]),
    st.booleans(),
    hnp.arrays("uint8", SHAPE, elements=st.sampled_from([0, 1, 2, IGNORED])),
    hnp.arrays("float32", (*SHAPE, 3), elements=st.floats(-6, 6, width=16)),
)
@settings(deadline=None, max_examples=15)
def test_values_are_those_of_slow_numpy(name, num_classes, weighted, truth, logits):
    if num_classes == 1:
        truth = np.where(truth == 2, 1, truth).astype("uint8")
    logits = logits[..., :num_classes]
    weights = WEIGHTS[num_classes] if weighted else None
    got = LOSSES[name](ignore_class=IGNORED, class_weights=weights)(truth, logits)
    assert got.shape == ()
    assert got.dtype == tf.float32
    assert float(got) == pytest.approx(SLOW[name](truth, logits, weights=weights), rel=2e-5, abs=2e-6)


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_the_slope_of_slow_numpy(name, num_classes):
    truth, logits = batch(num_classes, seed=2)
    _, gradient = value_and_gradient(LOSSES[name](ignore_class=IGNORED), truth, logits)
    direction = np.random.default_rng(1).normal(size=logits.shape)
    ahead, behind = (SLOW[name](truth, logits.astype(float) + h * direction) for h in (1e-6, -1e-6))
    assert (gradient * direction).sum() == pytest.approx((ahead - behind) / 2e-6, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_cross_entropy_is_sklearns(num_classes):
    truth, logits = batch(num_classes)
    counted = truth != IGNORED
    p = [slow_probabilities(x) for x in logits[counted].astype(float)]
    for weights in (None, WEIGHTS[num_classes]):
        per_pixel = None if weights is None else np.array(weights)[truth[counted]]
        expected = log_loss(truth[counted], p, sample_weight=per_pixel)
        assert float(CrossEntropy(ignore_class=IGNORED, class_weights=weights)(truth, logits)) == pytest.approx(
            expected, rel=1e-5
        )


def test_values_by_hand():
    # Two pixels, one person: p = (3/4, 1/4) of logits (log 3, -log 3); the person is the first.
    truth, logits = np.array([[[1, 0]]]), np.array([[[[math.log(3)], [-math.log(3)]]]])
    # Both pixels have 3/4 on what is true.
    assert float(CrossEntropy()(truth, logits)) == pytest.approx(-math.log(3 / 4))
    assert float(FocalLoss(gamma=2)(truth, logits)) == pytest.approx(-((1 / 4) ** 2) * math.log(3 / 4))
    # alpha: 0.2 for the person, who has 3/4, and 0.8 for the background, here with 1/2.
    balanced = FocalLoss(gamma=0, alpha=0.2)(truth, np.array([[[[math.log(3)], [0.0]]]]))
    assert float(balanced) == pytest.approx(-(0.2 * math.log(3 / 4) + 0.8 * math.log(1 / 2)) / 2)
    # I = 3/4, P = 3/4 + 1/4 = 1, T = 1.
    assert float(DiceLoss()(truth, logits)) == pytest.approx(1 - 2 * (3 / 4) / (1 + 1))
    assert float(JaccardLoss()(truth, logits)) == pytest.approx(1 - (3 / 4) / (1 + 1 - 3 / 4))
    # 1/4 false, 1/4 missed.
    tversky = (3 / 4) / (3 / 4 + 0.1 / 4 + 0.9 / 4)
    assert float(TverskyLoss(0.1, 0.9)(truth, logits)) == pytest.approx(1 - tversky)
    # Hinge errors: of logits (2, -1/2) on truth (0, 1): 1 + 2 = 3, and 1 + 1/2. The first mistake is a false person:
    # Δ = 1/2; the second adds a miss: Δ = 2/2. So 3 * 1/2 + 3/2 * 1/2.
    got = LovaszLoss()(np.array([[[0, 1]]]), np.array([[[[2.0], [-0.5]]]]))
    assert float(got) == pytest.approx(3 / 2 + 3 / 4)


def test_binary_and_softmax_of_two_are_the_same():
    """A softmax over (0, x) is a sigmoid of x."""
    truth, logits = batch(1)
    two = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    for make in (*PIXEL_LOSSES.values(), *(REGION_LOSSES[k] for k in ("dice", "jaccard", "tversky", "smooth"))):
        for weights in ((1.0, 1.0), (0.3, 2.0)):
            loss = make(ignore_class=IGNORED, class_weights=weights)
            assert float(loss(truth, logits)) == pytest.approx(float(loss(truth, two)), rel=1e-5)


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_count_nowhere(name, num_classes):
    truth, logits = batch(num_classes)
    loss = LOSSES[name](ignore_class=IGNORED)
    value, gradient = value_and_gradient(loss, truth, logits)
    assert not gradient[truth == IGNORED].any()
    assert gradient[truth != IGNORED].any()
    for other in (1e4, -1e4, np.nan, np.inf):
        changed = logits.copy()
        changed[truth == IGNORED] = other
        changed_value, changed_gradient = value_and_gradient(loss, truth, changed)
        assert changed_value == value
        assert np.array_equal(changed_gradient, gradient)


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_but_ignored_pixels(name, num_classes):
    truth, logits = batch(num_classes)
    loss = LOSSES[name](ignore_class=IGNORED, class_weights=WEIGHTS[num_classes])
    value, gradient = value_and_gradient(loss, np.full_like(truth, IGNORED), logits)
    assert value == 0.0
    assert not gradient.any()  # NaN would be "any", too


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_stay_finite(name, num_classes):
    truth, logits = batch(num_classes)
    for scale in (1e4, -1e4):
        for extreme in (np.sign(logits) * scale, np.full_like(logits, scale)):
            value, gradient = value_and_gradient(LOSSES[name](ignore_class=IGNORED), truth, extreme)
            assert math.isfinite(value)
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("name", [n for n in LOSSES if "smoothed" not in n])
def test_losses_fall_towards_a_perfect_prediction(name, num_classes):
    truth, _ = batch(num_classes)
    ids = np.where(truth == IGNORED, 0, truth)
    perfect = (2.0 * ids - 1.0)[..., None] if num_classes == 1 else 2.0 * np.eye(3)[ids] - 1.0
    loss = LOSSES[name](ignore_class=IGNORED)
    values = [float(loss(truth, sure * perfect)) for sure in (-1.0, 0.0, 0.4, 0.8)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)
    assert float(loss(truth, 50.0 * perfect)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_lovasz_softmax_is_one_minus_jaccard_for_certain_predictions(num_classes):
    rng = np.random.default_rng(num_classes)
    truth = rng.integers(0, num_classes, (2, 8, 8))
    predicted = rng.integers(0, num_classes, (2, 8, 8))
    expected = 1 - jaccard_score(truth.ravel(), predicted.ravel(), average="macro")
    assert float(LovaszLoss()(truth, 1e3 * np.eye(num_classes)[predicted])) == pytest.approx(expected, rel=1e-5)
    per_image = [
        1 - jaccard_score(t.ravel(), p.ravel(), average="macro") for t, p in zip(truth, predicted, strict=True)
    ]
    got = LovaszLoss(per_image=True)(truth, 1e3 * np.eye(num_classes)[predicted])
    assert float(got) == pytest.approx(np.mean(per_image), rel=1e-5)


@pytest.mark.parametrize("name", [*REGION_LOSSES, *PER_IMAGE])
def test_false_people_are_unlearnt_where_nobody_is(name):
    truth, logits = batch(1)
    value, gradient = value_and_gradient(REGION_LOSSES.get(name, PER_IMAGE.get(name))(), truth * 0, logits)
    assert value > 0.0
    assert (gradient >= 0.0).all()
    certain = logits > -1.0  # the hinge leaves alone what is right by its margin
    assert (gradient[certain] > 0.0).all()


@pytest.mark.parametrize("name", REGION_LOSSES)
def test_absent_class_leaves_the_mean_but_is_unlearnt(name):
    truth, logits = batch(3)
    truth[truth == 2] = 1
    counted = truth != IGNORED
    loss = REGION_LOSSES[name](ignore_class=IGNORED)
    value, gradient = value_and_gradient(loss, truth, logits)
    assert value == pytest.approx(SLOW[name](truth, logits), rel=1e-5)
    # Every pixel is pulled towards its true class, and those given to the absent one away from it.
    assert (np.take_along_axis(gradient[counted], truth[counted][:, None], axis=1) < 0.0).all()
    _, gradient = value_and_gradient(loss, truth, np.broadcast_to([0.0, 0.0, 3.0], logits.shape))
    assert (gradient[counted][:, 2] > 0.0).all()


def test_one_image_of_a_batch_may_be_all_ignored():
    truth, logits = batch(3)
    truth[1] = IGNORED
    for name in LOSSES:
        loss = LOSSES[name](ignore_class=IGNORED)
        assert float(loss(truth, logits)) == pytest.approx(float(loss(truth[[0, 2]], logits[[0, 2]])), rel=1e-5)


def test_batch_sums_are_not_image_means():
    """Image 1: I = 1, T = 1, P = 1 and image 2: I = 1, T = 3, P = 1 (certain): 1 − 4/6, and mean of 0 and 1/2."""
    truth = np.array([[[1, 0, 0]], [[1, 1, 1]]])
    logits = 1e3 * np.array([[[1.0, -1, -1]], [[1, -1, -1]]])[..., None]
    assert float(DiceLoss()(truth, logits)) == pytest.approx(1 - 4 / 6)
    assert float(DiceLoss(per_image=True)(truth, logits)) == pytest.approx(1 / 4)


@pytest.mark.parametrize("name", LOSSES)
def test_low_precision_logits_are_computed_in_float32(name):
    truth, logits = batch(3, shape=(2, 32, 32))
    loss = LOSSES[name](ignore_class=IGNORED)
    for low in (tf.bfloat16, tf.float16):
        rounded = tf.cast(logits, low)
        got = loss(truth, rounded)
        assert got.dtype == tf.float32
        assert float(got) == float(loss(truth.astype("int32")[..., None], tf.cast(rounded, tf.float32)))


def test_weighted_sum():
    truth, logits = batch(1)
    parts = [CrossEntropy(ignore_class=IGNORED), DiceLoss(ignore_class=IGNORED)]
    total = WeightedSum(parts, [0.7, 2])
    expected = 0.7 * float(parts[0](truth, logits)) + 2 * float(parts[1](truth, logits))
    assert float(total(truth, logits)) == pytest.approx(expected)
    for losses, weights in (([], []), (parts, [1.0]), (parts, [1.0, 0.0]), (parts, [1.0, -1.0])):
        with pytest.raises(ConfigError):
            WeightedSum(losses, weights)


@pytest.mark.parametrize("name", [*LOSSES, "sum"])
def test_serialisation(name):
    truth, logits = batch(3)
    options = {"ignore_class": IGNORED, "class_weights": WEIGHTS[3], "name": "mine"}
    if name == "sum":
        loss = WeightedSum([FocalLoss(gamma=3.0, **options), LovaszLoss(**options)], [0.5, 2.0], name="both")
    else:
        loss = LOSSES[name](**options)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert float(again(truth, logits)) == float(loss(truth, logits))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_fit_save_and_load(policy, tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(8, 6, 6, 3)).astype("float32")
    truth = np.where(pictures[..., 0] > 0, 1, 0).astype("uint8")
    truth[:, 0] = IGNORED
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(1)
        pixels = keras.Input((None, None, 3))
        model = keras.Model(pixels, keras.layers.Conv2D(1, 1)(pixels))
    finally:
        keras.config.set_dtype_policy(before)
    loss = WeightedSum(
        [LOSSES[k](ignore_class=IGNORED) for k in ("focal, smoothed", "dice", "lovasz")], [1.0, 0.5, 0.2]
    )
    model.compile(keras.optimizers.Adam(0.05), loss, jit_compile=False)
    history = model.fit(pictures, truth, batch_size=4, epochs=4, verbose=0).history["loss"]
    assert history == sorted(history, reverse=True)
    expected = float(loss(truth, model.predict(pictures, verbose=0)))
    assert model.evaluate(pictures, truth, batch_size=8, verbose=0) == pytest.approx(expected, rel=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == loss.get_config()
    assert loaded.evaluate(pictures, truth, batch_size=8, verbose=0) == pytest.approx(expected, rel=1e-4)


def test_keras_divides_by_the_number_of_replicas():
    """It does so to a vector, and not to a scalar: hence a vector of one."""
    truth, logits = batch(3)
    for make in LOSSES.values():
        assert make(ignore_class=IGNORED).call(truth, logits).shape == (1,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiceLoss(label_smoothing=0.1), "DiceLoss has no labels to smooth"),
        (lambda: LovaszLoss(label_smoothing=0.1), "LovaszLoss has no labels to smooth"),
        (lambda: CrossEntropy(label_smoothing=1.0), r"label_smoothing=1\.0 is not in"),
        (lambda: CrossEntropy(class_weights=[1.0, -1.0]), r"class_weights: -1\.0"),
        (lambda: CrossEntropy(class_weights=[1.0, math.nan]), "class_weights: nan"),
        (lambda: CrossEntropy(class_weights=[0.0, 0.0]), "at least one must be above 0"),
        (lambda: FocalLoss(gamma=-1.0), r"gamma: -1\.0"),
        (lambda: FocalLoss(alpha=2.0), r"alpha=2\.0 is not in"),
        (lambda: TverskyLoss(alpha=0.0, beta=0.0), "both 0"),
        (lambda: DiceLoss(smooth=math.inf), "smooth: inf"),
        (lambda: CrossEntropy()(*batch(1), np.ones(3)), "takes no sample_weight"),
        (lambda: CrossEntropy(IGNORED, [1.0, 1.0])(*batch(3)), "2 numbers for 3 ids: "),
        (lambda: DiceLoss(ignore_class=IGNORED, class_weights=[1.0])(*batch(1)), r"1 numbers for 2 ids \(back"),
        (lambda: FocalLoss(alpha=0.5, ignore_class=IGNORED)(*batch(3)), "alpha is for binary"),
    ],
)
def test_wrong_use(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
