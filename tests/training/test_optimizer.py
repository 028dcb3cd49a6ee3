import keras
import numpy as np
import pytest

from kseg.settings import TrainingSettings
from kseg.training.optimizer import averaged_weights, build_optimizer


def small_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))


def rate(optimizer, step):
    optimizer.iterations.assign(step)
    return float(optimizer.learning_rate)


def test_cosine_warms_up_then_falls_to_zero():
    settings = TrainingSettings(schedule="cosine", epochs=10, warmup_epochs=1.0, learning_rate=0.01)
    optimizer = build_optimizer(settings, 100, 10)
    assert rate(optimizer, 0) == 0
    assert rate(optimizer, 5) == pytest.approx(0.005)
    assert rate(optimizer, 10) == pytest.approx(0.01)
    assert rate(optimizer, 55) == pytest.approx(0.005)  # half way: 0.01 * (1 + cos(pi / 2)) / 2
    assert rate(optimizer, 100) == pytest.approx(0, abs=1e-8)


def test_a_cosine_without_warm_up_starts_at_the_full_rate():
    optimizer = build_optimizer(TrainingSettings(schedule="cosine", learning_rate=0.01), 100, 10)
    assert rate(optimizer, 0) == pytest.approx(0.01)


def test_decay_shrinks_kernels_and_nothing_else():
    """With zero gradients Adam moves nothing; AdamW multiplies what decays by 1 - rate * decay."""
    model = small_model()
    optimizer = build_optimizer(TrainingSettings(weight_decay=0.1, learning_rate=0.5), 10, 10)
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape, np.float32))
    optimizer.build(model.trainable_variables)
    optimizer.apply([np.zeros(v.shape, np.float32) for v in model.trainable_variables], model.trainable_variables)
    for variable in model.trainable_variables:
        expected = 0.95 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6, err_msg=variable.path)


def test_muon_for_kernels_is_a_setting():
    shape = 3, 3, 32, 32
    # channels whose gradients differ by a hundred
    gradient = (np.random.default_rng(0).normal(size=shape) * np.geomspace(1, 0.01, 32)).astype(np.float32)
    steps = {}
    for name in ("adam", "muon"):
        kernel = keras.Variable(np.zeros(shape), dtype="float32", name="kernel")
        build_optimizer(TrainingSettings(optimizer=name, learning_rate=0.1), 10, 10).apply([gradient], [kernel])
        steps[name] = kernel.numpy().reshape(-1, 32)
    # the first step of Adam is the gradient's sign, of Muon a matrix with all singular values within 0.4 to 1.6
    assert np.median(np.abs(steps["adam"])) == pytest.approx(0.1, rel=1e-3)
    values = np.linalg.svd(steps["muon"], compute_uv=False)
    assert values.max() < 4 * values.min()
    assert np.sqrt((steps["muon"] ** 2).mean()) == pytest.approx(0.2 * 0.1, rel=0.3)


def test_clipping_bounds_the_norm_of_all_gradients_together():
    optimizer = build_optimizer(TrainingSettings(clip_norm=1.0), 10, 10)
    assert optimizer.global_clipnorm == 1.0


def test_the_average_follows_the_weights_and_is_swapped_exactly():
    model = small_model()
    model.compile(build_optimizer(TrainingSettings(ema=0.5, learning_rate=0.1), 10, 10), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)).astype("f4"), rng.normal(size=(6, 1)).astype("f4")
    after = []
    for _ in range(2):
        model.train_on_batch(x, y)
        after.append([v.numpy() for v in model.trainable_variables])
    # Keras begins the average with the weights after the first step; then momentum 1/2.
    expected = [0.5 * a + 0.5 * b for a, b in zip(*after, strict=True)]
    with averaged_weights(model):
        for variable, value in zip(model.trainable_variables, expected, strict=True):
            np.testing.assert_allclose(variable.numpy(), value, atol=1e-5)
    for variable, value in zip(model.trainable_variables, after[1], strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_statistics_are_averaged_with_the_weights_and_swapped_exactly():
    model = small_model()
    statistics = model.non_trainable_variables
    assert [variable.name for variable in statistics] == ["moving_mean", "moving_variance"]
    optimizer = build_optimizer(TrainingSettings(ema=0.75, learning_rate=0.1), 10, 10, statistics)
    model.compile(optimizer, "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)).astype("f4"), rng.normal(size=(6, 1)).astype("f4")
    after = []
    for _ in range(3):
        model.train_on_batch(x, y)
        after.append([v.numpy() for v in statistics])
    with averaged_weights(model):
        for position, variable in enumerate(statistics):
            one, two, three = (values[position] for values in after)
            expected = 0.75 * (0.75 * one + 0.25 * two) + 0.25 * three
            np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)
    for variable, value in zip(statistics, after[2], strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_without_an_average_nothing_is_swapped():
    model = small_model()
    model.compile(build_optimizer(TrainingSettings(), 10, 10), "mse")
    before = [v.numpy() for v in model.trainable_variables]
    with averaged_weights(model):
        for variable, value in zip(model.trainable_variables, before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
