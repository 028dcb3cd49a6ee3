import keras
import numpy as np
import pytest
import tensorflow as tf

from kseg.training.adam import Pace, PacedAdam
from kseg.training.muon import POLYNOMIALS, PacedMuon, orthogonal

TALL, WIDE, SQUARE = (288, 64), (64, 288), (96, 96)


@pytest.fixture
def policy():
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def matrix(shape, seed=0):
    """Singular values from 1 down to 0.01, as gradients have them, times a scale that must not matter."""
    dice = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(dice.normal(size=shape), full_matrices=False)
    values = np.geomspace(1, 0.01, min(shape))
    return left, values, right, 1e-3 * (left * values) @ right


@pytest.mark.parametrize("shape", [TALL, WIDE, SQUARE])
def test_singular_values_become_alike_and_vectors_stay(shape):
    left, _, right, given = matrix(shape)
    found = orthogonal(tf.constant(given, tf.float32)).numpy()
    inner = left.T @ found @ right.T  # diagonal, if the vectors are still the same
    np.testing.assert_allclose(inner - np.diag(np.diag(inner)), 0, atol=2e-3)
    assert np.diag(inner).min() > 0.4
    assert np.diag(inner).max() < 1.6


def test_the_same_as_the_polynomials_on_singular_values():
    left, values, right, given = matrix(TALL)
    values = values / np.sqrt(1.02 * (values**2).sum())
    for a, b, c in POLYNOMIALS:
        values = a * values + b * values**3 + c * values**5
    np.testing.assert_allclose(orthogonal(tf.constant(given, tf.float32)), (left * values) @ right, atol=1e-3)


def test_bfloat16_where_the_network_computes_in_it(policy):
    _, _, _, given = matrix(TALL)
    exact = orthogonal(tf.constant(given, tf.float32)).numpy()
    policy("mixed_bfloat16")
    rounded = orthogonal(tf.constant(given, tf.float32)).numpy()
    assert rounded.dtype == np.float32
    assert np.abs(rounded - exact).max() > 1e-4
    cosine = (rounded * exact).sum() / np.linalg.norm(rounded) / np.linalg.norm(exact)
    assert cosine > 0.9


def test_a_gradient_of_zeros_moves_nothing():
    np.testing.assert_array_equal(orthogonal(tf.zeros(TALL)), np.zeros(TALL))


def weights():
    keras.utils.set_random_seed(1)
    shapes = {"kernel": (3, 3, 32, 64), "narrow": (3, 3, 3, 64), "bias": (64,)}
    return [keras.Variable(np.random.default_rng(2).normal(size=s), dtype="float32", name=n) for n, s in shapes.items()]


def gradients(step):
    return [tf.constant(np.random.default_rng(step).normal(size=w.shape), tf.float32) for w in weights()]


def test_kernels_by_hand_and_all_else_as_adam():
    ours, adams = weights(), weights()
    expected = np.asarray(ours[0], np.float64)
    muon = PacedMuon(learning_rate=0.01, decay=0.1, undecayed=("bias",))
    adam = PacedAdam(learning_rate=0.01, decay=0.1, undecayed=("bias",))
    momentum = np.zeros(expected.shape)
    for step in range(3):
        muon.apply(gradients(step), ours)
        adam.apply(gradients(step), adams)
        gradient = gradients(step)[0].numpy()
        expected *= 1 - 0.01 * 0.1
        momentum = 0.95 * momentum + 0.05 * gradient
        ahead = (0.95 * momentum + 0.05 * gradient).reshape(288, 64)
        direction = orthogonal(tf.constant(ahead, tf.float32)).numpy()
        expected -= 0.01 * 0.2 * np.sqrt(288) * direction.reshape(expected.shape)
    np.testing.assert_allclose(ours[0], expected, atol=1e-5)
    for mine, theirs in zip(ours[1:], adams[1:], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    step = np.asarray(ours[0]) - np.asarray(weights()[0]) * (1 - 0.001) ** 3
    assert 0.002 < np.sqrt((step**2).mean()) < 0.01  # three steps of 0.2 rates each, not all in one direction


def test_a_kernel_keeps_its_pace():
    slow, fast = weights(), weights()
    before = np.asarray(slow[0])
    PacedMuon(lambda _: Pace(rate=0.1), learning_rate=0.01).apply(gradients(0), slow)
    PacedMuon(learning_rate=0.01).apply(gradients(0), fast)
    np.testing.assert_allclose(10 * (slow[0] - before), fast[0] - before, atol=1e-5)
