"""Logits, decisions and probabilities against TensorFlow and the definitions."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kseg.logits import as_logits, as_probabilities, decide, decide_by_channel, log_odds

logits_of = st.integers(1, 4).flatmap(
    lambda channels: arrays(np.float32, (3, 4, channels), elements=st.floats(-90, 90, width=32))
)


@pytest.mark.parametrize(("probability", "expected"), [(0.5, 0.0), (0.75, math.log(3)), (0.1, -math.log(9))])
def test_log_odds(probability, expected):
    assert log_odds(probability) == pytest.approx(expected)


@given(logits_of)
def test_probabilities_are_tensorflows(logits):
    expected = tf.sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.softmax(logits)
    found = as_probabilities(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(logits_of, st.sampled_from([0.2, 0.5, 0.9]))
def test_channel_by_channel_decides_the_same(logits, threshold):
    expected = decide(logits, threshold)
    found = decide_by_channel(np.moveaxis(logits, -1, 0), threshold)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_one_class_is_above_its_threshold_and_not_at_it():
    logits = np.array([[[log_odds(0.25)], [log_odds(0.25) + 1e-3]]])
    assert decide(logits, 0.25).tolist() == [[0, 1]]
    assert decide(np.zeros((1, 1, 1)), 0.5).tolist() == [[0]]


def test_of_equal_logits_the_smaller_id_is_taken():
    logits = np.array([[[1.0, 3.0, 3.0], [2.0, 2.0, 1.0]]])
    assert decide(logits).tolist() == [[1, 0]]
    assert decide_by_channel(np.moveaxis(logits, -1, 0)).tolist() == [[1, 0]]


@given(logits_of)
def test_logits_of_probabilities_give_them_again(logits):
    probabilities = as_probabilities(logits.astype(np.float64))
    again = as_logits(probabilities)
    assert np.isfinite(again).all()
    np.testing.assert_allclose(as_probabilities(again), probabilities, atol=1e-6)
