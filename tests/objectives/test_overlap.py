"""Counts against sklearn and by hand; formulas; the rule for empty classes; more pixels than float32 can count."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix

from kseg.errors import ConfigError, DataError
from kseg.objectives import overlap
from kseg.objectives.overlap import Counts

SHAPE = (3, 4, 5)
FORMULAS = ("jaccard", "dice", "precision", "recall")


def logits_of(ids: np.ndarray, num_classes: int) -> np.ndarray:
    """Logits that decide for `ids`."""
    if num_classes == 1:
        return np.where(ids == 1, 2.0, -2.0).astype("float32")[..., None]
    return (2.0 * np.eye(num_classes)[ids] - 1.0).astype("float32")


def counts(hit: float, truth: float, predicted: float) -> Counts:
    return Counts(*(tf.constant(v, tf.int64) for v in (hit, truth, predicted)))


def test_counts_by_hand():
    truth = np.array([[[1, 1, 0], [0, 1, 255]]], "uint8")
    logits = np.array([[[3.0, -1.0, 0.5], [-2.0, 0.1, 9.0]]], "float32")[..., None]
    # Person found at (0,0), (0,2) and (1,1), and at (1,2), which is ignored.
    # True persons: (0,0), (0,1), (1,1): T = 3. Found: P = 3. Both: (0,0), (1,1): I = 2.
    # Background found at (0,1) and (1,0): P = 2. True: (0,2), (1,0): T = 2. Both: (1,0): I = 1.
    got = overlap.count_classes(truth, logits, ignore_class=255)
    assert [np.asarray(c).tolist() for c in got] == [[[1, 2]], [[2, 3]], [[2, 3]]]
    assert all(c.dtype == tf.int64 for c in got)
    got = overlap.reported(got, num_classes=1)
    assert [np.asarray(c).tolist() for c in got] == [[[2]], [[3]], [[3]]]
    assert all(c.dtype == tf.int64 for c in got)


@given(
    st.sampled_from([1, 3]),
    hnp.arrays("uint8", SHAPE, elements=st.integers(0, 3)),
    hnp.arrays("float32", (*SHAPE, 3), elements=st.floats(-4, 4, width=16)),
)
@settings(deadline=None, max_examples=40)
def test_counts_are_those_of_a_confusion_matrix(num_classes, ids, logits):
    num_ids = max(num_classes, 2)
    truth = np.where(ids < num_ids, ids, 255).astype("uint8")
    logits = logits[..., :num_classes]
    decided = (logits[..., 0] > 0).astype(int) if num_classes == 1 else logits.argmax(-1)
    hit, true, predicted = (np.asarray(c) for c in overlap.count_classes(truth, logits, ignore_class=255))
    for image in range(len(truth)):
        counted = truth[image] != 255
        if not counted.any():
            assert not true[image].any()
            assert not predicted[image].any()
            continue
        matrix = confusion_matrix(truth[image][counted], decided[image][counted], labels=range(num_ids))
        assert hit[image].tolist() == matrix.diagonal().tolist()
        assert true[image].tolist() == matrix.sum(1).tolist()
        assert predicted[image].tolist() == matrix.sum(0).tolist()
    only = overlap.reported(overlap.count_classes(truth, logits, ignore_class=255), num_classes)
    first = 1 if num_classes == 1 else 0
    assert np.array_equal(np.asarray(only.predicted), predicted[:, first:])


def test_threshold_is_on_the_probability_and_strict():
    # sigmoid(log 3) = 3/4
    logits = tf.constant([[math.log(3) - 1e-3], [math.log(3) + 1e-3], [0.0]])
    assert overlap.predicted_ids(logits, 0.75).numpy().tolist() == [0, 1, 0]
    assert overlap.predicted_ids(logits).numpy().tolist() == [1, 1, 0]  # exactly 1/2: no person
    with pytest.raises(ConfigError, match=r"threshold=1\.0"):
        overlap.predicted_ids(logits, 1.0)


def test_form_of_the_input_changes_nothing():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, SHAPE)
    logits = tf.cast(tf.constant(rng.normal(size=(*SHAPE, 3))), tf.bfloat16)
    expected = overlap.count_classes(truth.astype("uint8"), tf.cast(logits, tf.float32))
    for form in (truth.astype("int32"), truth[..., None].astype("uint8"), truth):
        got = overlap.count_classes(form, logits)
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("num_classes", [1, 2])
def test_counts_beyond_what_float32_can_count(num_classes):
    side = 4097  # 4097 * 4097 = 16 785 409 > 2**24 = 16 777 216; the next float32 after 2**24 is 2**24 + 2
    truth = np.ones((1, side, side), "uint8")
    truth[0, 0, :2] = 0
    logits = np.zeros((1, side, side, num_classes), "float32")
    logits[..., -1] = 1.0
    hit, true, predicted = (int(c[0, -1]) for c in overlap.count_classes(truth, logits))
    assert (hit, true, predicted) == (16_785_407, 16_785_407, 16_785_409)


def test_formulas_by_hand():
    two_three_four = counts(2, 3, 4)
    assert float(overlap.score("jaccard", two_three_four)) == pytest.approx(2 / (3 + 4 - 2))
    assert float(overlap.score("dice", two_three_four)) == pytest.approx(2 * 2 / (3 + 4))
    assert float(overlap.score("precision", two_three_four)) == pytest.approx(2 / 4)
    assert float(overlap.score("recall", two_three_four)) == pytest.approx(2 / 3)
    floats = Counts(tf.constant(2.0), tf.constant(3.0), tf.constant(4.0))
    # 2 false positives at 0.3 and 1 miss at 0.7: 2 / (2 + 0.6 + 0.7); with s = 1: 3 / (3.3 + 1)
    assert float(overlap.tversky(floats, 0.3, 0.7)) == pytest.approx(2 / 3.3)
    assert float(overlap.tversky(floats, 0.3, 0.7, smooth=1.0)) == pytest.approx(3 / 4.3)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
@settings(deadline=None, max_examples=60)
def test_dice_follows_from_jaccard(hit, missed, false):
    if not hit + missed + false:
        return
    some = counts(hit, hit + missed, hit + false)
    jaccard, dice = (float(overlap.score(name, some)) for name in ("jaccard", "dice"))
    assert dice == pytest.approx(2 * jaccard / (1 + jaccard), rel=1e-12)
    assert 0.0 <= jaccard <= dice <= 1.0


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(
    ("case", "expected"),
    [((1, 1, 1), 1.0), ((0, 5, 0), 0.0), ((0, 0, 5), 0.0), ((0, 0, 0), math.nan)],
    ids=["in both", "in truth only", "in prediction only", "in neither"],
)
def test_empty_class(name, case, expected):
    assert np.array_equal(float(overlap.score(name, counts(*case))), expected, equal_nan=True)


def test_mean_leaves_out_what_is_undefined():
    values = tf.constant([[1.0, math.nan, 0.5], [math.nan] * 3, [0.0, math.nan, math.nan]], tf.float64)
    assert overlap.mean_defined(values).numpy().tolist() == [0.75, 1.0, 0.0]


@given(
    st.sampled_from([1, 3]),
    hnp.arrays("uint8", SHAPE, elements=st.integers(0, 3)),
    hnp.arrays("uint8", SHAPE, elements=st.integers(0, 2)),
)
@settings(deadline=None, max_examples=20)
def test_soft_counts_of_certain_predictions_are_hard_counts(num_classes, ids, predicted):
    num_ids = max(num_classes, 2)
    truth = np.where(ids < num_ids, ids, 255).astype("uint8")
    logits = 1e3 * logits_of(np.minimum(predicted, num_ids - 1), num_classes)
    soft = overlap.soft_counts(overlap.flatten_pixels(truth, logits, 255))
    hard = overlap.count_classes(truth, logits, 255)
    for a, b in zip(soft, hard, strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [((2, 4, 4), (2, 4, 5, 1)), ((2, 4, 4, 3), (2, 4, 4, 3)), ((2, 4, 4), (2, 4, 4)), ((3, 4, 4), (2, 4, 4, 2))],
)
def test_shapes_that_do_not_fit(truth, prediction):
    with pytest.raises(DataError, match="does not fit logits of shape"):
        overlap.flatten_pixels(np.zeros(truth, "uint8"), np.zeros(prediction, "float32"))


@pytest.mark.parametrize(("wrong", "num_classes"), [(255, 1), (2, 1), (3, 3), (-1, 3)])
def test_unknown_id_is_refused_in_a_graph(wrong, num_classes):
    truth = np.zeros((1, 2, 2), "int32")
    truth[0, 1, 1] = wrong
    count = tf.function(lambda y, x: overlap.count_classes(y, x, ignore_class=254))
    with pytest.raises(tf.errors.InvalidArgumentError, match="neither one of the"):
        count(truth, np.zeros((1, 2, 2, num_classes), "float32"))
