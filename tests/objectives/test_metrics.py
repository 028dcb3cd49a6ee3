"""Metrics against scores of plain Python sets, against sklearn, and inside Keras's own loops."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from kseg.errors import ConfigError
from kseg.objectives import metrics
from kseg.objectives.metrics import Dice, Jaccard, PixelAccuracy, Precision, Recall, Scores

IGNORED = 255
SHAPE = (5, 4, 4)
KEYS = ["jaccard", "dice", "jaccard_per_image", "dice_per_image", "pixel_accuracy", "precision", "recall"]
SCALARS = [Jaccard, Dice, Precision, Recall, PixelAccuracy]


def decide(logits):
    return (logits[..., 0] > 0).astype(int) if logits.shape[-1] == 1 else logits.argmax(-1)


def set_scores(truth: set, found: set) -> dict[str, float] | None:
    """Scores of two sets of pixels; None if there is nothing to score."""
    if not truth | found:
        return None
    both = len(truth & found)
    return {
        "jaccard": both / len(truth | found),
        "dice": 2 * both / (len(truth) + len(found)),
        "precision": both / len(found) if found else 0.0,
        "recall": both / len(truth) if truth else 0.0,
    }


def mean(values):
    kept = [v for v in values if v is not None]
    return sum(kept) / len(kept) if kept else 1.0


def slow_scores(truth, logits):
    """All of Scores from sets of (image, row, column), by the rules as they are written down."""
    decided = decide(logits)
    classes = [1] if logits.shape[-1] == 1 else range(logits.shape[-1])
    pixels = [p for p in np.ndindex(truth.shape) if truth[p] != IGNORED]

    def areas(k, images):
        chosen = [p for p in pixels if p[0] in images]
        return {p for p in chosen if truth[p] == k}, {p for p in chosen if decided[p] == k}

    everything = {k: set_scores(*areas(k, range(len(truth)))) for k in classes}
    images = sorted({p[0] for p in pixels})
    per_image = {i: {k: set_scores(*areas(k, [i])) for k in classes} for i in images}
    right = {i: [truth[p] == decided[p] for p in pixels if p[0] == i] for i in images}

    result = {n: mean([s and s[n] for s in everything.values()]) for n in ("jaccard", "dice", "precision", "recall")}
    for n in ("jaccard", "dice", "precision", "recall"):
        result[f"{n}_per_image"] = mean([mean([s and s[n] for s in per_image[i].values()]) for i in images])
    result["pixel_accuracy"] = mean([float(r) for i in images for r in right[i]])
    result["pixel_accuracy_per_image"] = mean([np.mean(right[i]) for i in images])

    by_class = {
        n: [s[n] if s else np.nan for s in everything.values()] for n in ("jaccard", "dice", "precision", "recall")
    }
    for n in ("jaccard", "dice"):
        seen = {k: [per_image[i][k][n] for i in images if per_image[i][k]] for k in classes}
        by_class[f"{n}_per_image"] = [np.mean(v) if v else np.nan for v in seen.values()]
    return result, by_class


def batches(num_classes, seed=0, count=10, shape=(6, 7)):
    """Random truth and logits with ignored pixels, an ignored image, and an image without people."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, max(num_classes, 2), (count, *shape)).astype("uint8")
    truth[rng.random(truth.shape) < 0.2] = IGNORED
    truth[1] = IGNORED
    truth[2] = 0
    logits = rng.normal(size=(*truth.shape, num_classes)).astype("float32")
    logits[2, ..., 0] = -1.0 if num_classes == 1 else 9.0
    return truth, logits


def update(metric, truth, logits, batch_size=None):
    for start in range(0, len(truth), batch_size or len(truth)):
        stop = start + (batch_size or len(truth))
        metric.update_state(truth[start:stop], logits[start:stop])
    return metric


def values(metric):
    return {k: float(v) for k, v in metric.result().items()}


@given(
    st.sampled_from([1, 3]),
    hnp.arrays("uint8", SHAPE, elements=st.sampled_from([0, 0, 0, 1, 2, IGNORED])),
    hnp.arrays("float32", (*SHAPE, 3), elements=st.floats(-4, 4, width=16)),
)
@settings(deadline=None, max_examples=25)
def test_scores_are_those_of_sets(num_classes, truth, logits):
    if num_classes == 1:
        truth = np.where(truth == 2, 1, truth).astype("uint8")
    logits = logits[..., :num_classes]
    expected, by_class = slow_scores(truth, logits)
    scores = update(Scores(num_classes, ignore_class=IGNORED), truth, logits, batch_size=2)
    assert values(scores) == pytest.approx({k: expected[k] for k in KEYS}, abs=1e-12)
    per_class = scores.per_class()
    assert sorted(per_class) == sorted(by_class)
    for name, row in per_class.items():
        assert row.shape == (num_classes,)
        assert row == pytest.approx(np.array(by_class[name]), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("num_classes", [1, 4])
@pytest.mark.parametrize("kind", SCALARS)
def test_scalar_metrics_are_those_of_sets(kind, num_classes):
    truth, logits = batches(num_classes)
    expected, _ = slow_scores(truth, logits)
    for reduction, suffix in (("dataset", ""), ("per_image", "_per_image")):
        metric = update(kind(num_classes, reduction, ignore_class=IGNORED), truth, logits, 3)
        assert metric.name == kind.score_name + suffix
        assert float(metric.result()) == pytest.approx(expected[metric.name], abs=1e-12)


@pytest.mark.parametrize("num_classes", [1, 4])
def test_data_set_scores_are_sklearns(num_classes):
    truth, logits = batches(num_classes)
    counted = truth != IGNORED
    y, p = truth[counted], decide(logits)[counted]
    options = {"labels": [1] if num_classes == 1 else range(num_classes), "average": "macro"}
    got = values(update(Scores(num_classes, ignore_class=IGNORED), truth, logits))
    assert got["jaccard"] == pytest.approx(jaccard_score(y, p, **options))
    assert got["dice"] == pytest.approx(f1_score(y, p, **options))
    assert got["precision"] == pytest.approx(precision_score(y, p, **options))
    assert got["recall"] == pytest.approx(recall_score(y, p, **options))
    assert got["pixel_accuracy"] == pytest.approx(accuracy_score(y, p))


@pytest.mark.parametrize("num_classes", [1, 3])
def test_batch_size_and_order_change_nothing(num_classes):
    truth, logits = batches(num_classes)
    expected = update(Scores(num_classes, ignore_class=IGNORED), truth, logits)
    for batch_size in (1, 3, 7, None):
        for order in (np.arange(10), np.random.default_rng(batch_size or 0).permutation(10)):
            scores = update(Scores(num_classes, ignore_class=IGNORED), truth[order], logits[order], batch_size)
            assert values(scores) == pytest.approx(values(expected), abs=1e-12)
            for name, row in scores.per_class().items():
                assert row == pytest.approx(expected.per_class()[name], abs=1e-12, nan_ok=True)


def test_compute_precision_changes_nothing():
    truth, logits = batches(3)
    logits = tf.cast(logits, tf.bfloat16)
    before = values(update(Scores(3, ignore_class=IGNORED), truth, tf.cast(logits, tf.float32)))
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert values(update(Scores(3, ignore_class=IGNORED), truth, logits)) == before
    finally:
        keras.config.set_dtype_policy(policy)


def test_the_two_reductions_by_hand():
    # Image 1: T = 1, P = 1, I = 1. Image 2: T = 3, P = 1, I = 1. Image 3: nobody, nobody found.
    truth = np.array([[[1, 0, 0, 0]], [[1, 1, 1, 0]], [[0, 0, 0, 0]]], "uint8")
    found = np.array([[[1, 0, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]])
    got = values(update(Scores(1), truth, (2.0 * found - 1.0)[..., None]))
    assert got["jaccard"] == pytest.approx(2 / 4)  # I = 2, T = 4, P = 2: 2 / (4 + 2 - 2)
    assert got["dice"] == pytest.approx(4 / 6)
    assert got["jaccard_per_image"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert got["dice_per_image"] == pytest.approx((1 + 2 / 4 + 1) / 3)
    assert got["pixel_accuracy"] == pytest.approx(10 / 12)
    assert got["precision"] == 1.0
    assert got["recall"] == 2 / 4


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [(1, 1, 1.0), (1, 0, 0.0), (0, 1, 0.0), (0, 0, 1.0)],
    ids=["there and found", "there, not found", "not there, found", "not there, not found"],
)
def test_empty_person_class(truth, found, expected):
    """Over one image, both reductions give the same."""
    scores = update(Scores(1), np.full((1, 2, 2), truth, "uint8"), np.full((1, 2, 2, 1), found - 0.5))
    for name in ("jaccard", "dice", "precision", "recall", "jaccard_per_image", "dice_per_image"):
        assert values(scores)[name] == expected
    unseen = not truth and not found
    assert all(np.isnan(row[0]) == unseen for row in scores.per_class().values())


def test_class_seen_nowhere_is_left_out_of_the_mean():
    truth = np.array([[[0, 0, 1, 1]]], "uint8")
    logits = np.eye(3)[[[[0, 1, 1, 1]]]]  # class 2 is in neither
    got = update(Scores(3), truth, logits)
    assert values(got)["jaccard"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert got.per_class()["jaccard"] == pytest.approx([1 / 2, 2 / 3, np.nan], nan_ok=True)


def test_ignored_pixels_count_nowhere():
    truth, logits = batches(3)
    other = logits.copy()
    other[truth == IGNORED] = np.nan
    a, b = (update(Scores(3, ignore_class=IGNORED), truth, x) for x in (logits, other))
    assert values(a) == values(b)
    # The second image is all ignored: without it, nothing changes.
    kept = np.arange(10) != 1
    without = update(Scores(3, ignore_class=IGNORED), truth[kept], logits[kept])
    assert values(a) == pytest.approx(values(without), abs=1e-12)


def test_counts_beyond_what_float32_can_count():
    metric = Jaccard(1)
    truth = np.ones((1, 2048, 4096), "uint8")
    logits = np.ones((1, 2048, 4096, 1), "float32")
    metric.update_state(truth, logits)
    metric.update_state(truth, logits)  # 2**24 pixels up to here
    metric.update_state(truth[:, :1, :3] * 0, logits[:, :1, :3])
    assert metric.counts.numpy()[:, 1].tolist() == [2**24, 2**24, 2**24 + 3]
    assert float(metric.result()) == 2**24 / (2**24 + 3)


def test_reset_and_the_state_before_any_update():
    truth, logits = batches(3)
    metric = update(Scores(3, ignore_class=IGNORED), truth, logits)
    once = values(metric)
    metric.reset_state()
    assert not any(np.any(v.numpy()) for v in metric.variables)
    assert values(metric) == dict.fromkeys(KEYS, 1.0)
    assert values(update(metric, truth, logits)) == once


@pytest.mark.parametrize(
    "metric",
    [
        Scores(3, ignore_class=7, threshold=0.25, name="mine"),
        *(kind(1, "per_image", ignore_class=IGNORED, threshold=0.7) for kind in SCALARS),
    ],
    ids=lambda m: type(m).__name__,
)
def test_serialisation(metric):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()


def small_model(num_classes, **options):
    keras.utils.set_random_seed(1)
    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(num_classes, 3, padding="same")(pixels))
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.BinaryCrossentropy(from_logits=True) if num_classes == 1 else None,
        metrics=[Scores(num_classes, ignore_class=None if num_classes == 1 else IGNORED)],
        **options,
    )
    return model


@pytest.mark.parametrize(
    "options",
    [{}, {"steps_per_execution": 2}, {"jit_compile": True}, {"run_eagerly": True}],
    ids=["graph", "two steps at once", "XLA", "eager"],
)
def test_scores_inside_fit_and_evaluate(options):
    rng = np.random.default_rng(5)
    pictures = rng.normal(size=(8, 6, 6, 3)).astype("float32")
    truth = (pictures[..., :1] > 0).astype("uint8")
    data = tf.data.Dataset.from_tensor_slices((pictures, truth)).batch(2)
    model = small_model(1, **{"jit_compile": False, **options})
    history = model.fit(data, validation_data=data, epochs=3, verbose=0, shuffle=False).history
    assert sorted(history) == sorted(["loss", "val_loss", *KEYS, *(f"val_{k}" for k in KEYS)])
    assert all(isinstance(v, float) for row in history.values() for v in row)
    got = model.evaluate(data, return_dict=True, verbose=0)
    assert sorted(got) == sorted(["loss", *KEYS])
    expected, _ = slow_scores(truth[..., 0], model.predict(pictures, verbose=0))
    assert {k: got[k] for k in KEYS} == pytest.approx({k: expected[k] for k in KEYS}, abs=1e-12)
    # The last validation saw the same data and the same weights: nothing was left over from an epoch before.
    assert history["val_jaccard"][-1] == got["jaccard"]


def test_wrong_use():
    with pytest.raises(ConfigError, match="takes no sample_weight"):
        Scores(1).update_state(np.zeros((1, 2, 2)), np.zeros((1, 2, 2, 1)), np.ones(1))
    with pytest.raises(ConfigError, match=r"Jaccard\(num_classes=3\) was given 1 logits"):
        Jaccard(3).update_state(np.zeros((1, 2, 2)), np.zeros((1, 2, 2, 1)))
    with pytest.raises(ConfigError, match="num_classes=0"):
        Scores(0)
    with pytest.raises(ConfigError, match=r"threshold=1\.5"):
        Dice(1, threshold=1.5)
    with pytest.raises(ConfigError, match="reduction='mean'"):
        metrics.Recall(1, reduction="mean")
