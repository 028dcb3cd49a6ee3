"""The paced Adam against Keras's, against a slow one in NumPy, and against numbers worked by hand."""

import keras
import numpy as np
import pytest

from kseg.training.adam import Pace, PacedAdam


def variables(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (3, 4), "bias": (4,)}
    return [keras.Variable(rng.normal(size=shape).astype("f4"), name=name) for name, shape in shapes.items()]


def gradients(step, seed=1):
    rng = np.random.default_rng([seed, step])
    return [keras.ops.convert_to_tensor(rng.normal(size=shape).astype("f4")) for shape in [(3, 4), (4,)]]


def values(weights):
    return [weight.numpy() for weight in weights]


def assert_close(one, other, **tolerance):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 0.5}, {"use_ema": True, "ema_momentum": 0.9}])
def test_without_paces_it_is_kerass_adam(options):
    ours, theirs = variables(), variables()
    one = PacedAdam(learning_rate=0.01, **options)
    other = keras.optimizers.Adam(learning_rate=0.01, **options)
    for step in range(30):
        one.apply(gradients(step), ours)
        other.apply(gradients(step), theirs)
    assert_close(values(ours), values(theirs), rtol=1e-5, atol=1e-6)


def test_decay_is_adamws_on_what_decays():
    ours, theirs = variables(), variables()
    one = PacedAdam(learning_rate=0.01, decay=0.3, undecayed=("bias",))
    other = keras.optimizers.AdamW(learning_rate=0.01, weight_decay=0.3)
    other.exclude_from_weight_decay(var_names=["bias"])
    for step in range(20):
        one.apply(gradients(step), ours)
        other.apply(gradients(step), theirs)
    assert_close(values(ours), values(theirs), rtol=1e-5, atol=1e-6)


def slowly(start, pace, rate, decay, steps, weight=0):
    """Adam of one weight, by the formulas, in float64; it takes part from its pace's first step on."""
    w, m, v = start.astype("f8"), 0.0, 0.0
    for step in range(pace.first_step, steps):
        g, t, a = gradients(step)[weight].numpy().astype("f8"), step - pace.first_step + 1, rate * pace.rate
        w = w - a * decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - a * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
    return w


@pytest.mark.parametrize("pace", [Pace(), Pace(0.1, 0), Pace(1.0, 7), Pace(0.25, 7)])
def test_a_weight_has_its_own_rate_and_beginning(pace):
    kernel, bias = variables()
    start, start_of_bias = kernel.numpy(), bias.numpy()
    optimizer = PacedAdam(lambda path: pace if path.endswith("kernel") else Pace(), decay=0.2, learning_rate=0.01)
    optimizer.build([kernel, bias])
    for step in range(15):
        both = list(zip(gradients(step), [kernel, bias], strict=True))
        taking_part = both if step >= pace.first_step else both[1:]
        optimizer.apply([g for g, _ in taking_part], [w for _, w in taking_part])
    assert_close([kernel.numpy()], [slowly(start, pace, 0.01, 0.2, 15)], rtol=1e-5, atol=1e-6)
    beside = slowly(start_of_bias, Pace(), 0.01, 0.2, 15, weight=1)
    assert_close([bias.numpy()], [beside], rtol=1e-5, atol=1e-6)


def test_the_first_step_of_a_late_weight_is_the_learning_rate():
    """At its first step Adam moves by rate * sign(g): m / (1 - b1) is g, v / (1 - b2) is g^2. Not 3.2 times as far."""
    kernel, bias = variables()
    before = kernel.numpy()
    optimizer = PacedAdam(lambda path: Pace(1.0, 1000 if path.endswith("kernel") else 0), learning_rate=0.01)
    optimizer.build([kernel, bias])
    optimizer.iterations.assign(1000)
    g = gradients(0)
    optimizer.apply(g, [kernel, bias])
    np.testing.assert_allclose(kernel.numpy() - before, -0.01 * np.sign(g[0].numpy()), rtol=1e-3)
