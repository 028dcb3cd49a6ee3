"""The fused BatchNorm against Keras's own layer: outputs, gradients, statistics, and what is saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseg.models.segmenter import build_segmenter
from kseg.training.batch_norm import fuse_batch_norm

SMALL = {"encoder": "resnet18", "widths": (16, 16, 16, 16, 16)}


@pytest.fixture
def policy(request):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(request.param)
    yield request.param
    keras.mixed_precision.set_dtype_policy(before)


def pair_of_norms(channels=5):
    """Two models of one BatchNorm each, with the same weights and statistics, the second fused."""
    dice = np.random.default_rng(1)
    values = [dice.uniform(0.5, 1.5, channels) for _ in range(4)]
    models = []
    for _ in range(2):
        images = keras.Input((None, None, channels))
        layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm")
        models.append(keras.Model(images, layer(images)))
        layer.set_weights(values)
    fuse_batch_norm(models[1])
    return models


def step(model, pictures, weights):
    """Output, gradients of input, scale and offset, and the statistics after a step of training."""
    pictures = tf.convert_to_tensor(pictures)

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            tape.watch(pictures)
            outputs = model(pictures, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
        learnt = [variable.value for variable in model.trainable_variables]
        return [outputs, *tape.gradient(loss, [pictures, *learnt])]

    found = [np.float32(value) for value in run()]
    return found + [variable.numpy() for variable in model.non_trainable_variables]


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 2e-5), ("mixed_bfloat16", 2e-2)], indirect=["policy"])
def test_a_step_is_that_of_keras(policy, tolerance):
    dice = np.random.default_rng(2)
    pictures = dice.normal(0.7, 2.0, (3, 8, 6, 5)).astype(np.float32)
    weights = dice.normal(size=pictures.shape).astype(np.float32)
    own, fused = (step(model, pictures, weights) for model in pair_of_norms())
    for expected, found in zip(own, fused, strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_the_variance_that_is_kept_is_that_of_the_batch():
    pictures = np.float32([1, 2, 3, 6]).reshape(1, 2, 2, 1)
    _, fused = pair_of_norms(1)
    norm = fused.get_layer("norm")
    before = norm.moving_variance.numpy()
    step(fused, pictures, 1.0)
    # the mean of the squared distances 2, 1, 0 and 3 from the mean 3, over 4 and not 3
    np.testing.assert_allclose(norm.moving_variance.numpy(), 0.9 * before + 0.1 * 3.5, rtol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_it_leaves_a_frozen_layer_and_an_answer_to_keras(training):
    own, fused = pair_of_norms()
    for model in (own, fused):
        model.get_layer("norm").trainable = not training
    pictures = np.random.default_rng(3).normal(size=(2, 4, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(own(pictures, training=training), fused(pictures, training=training))
    np.testing.assert_array_equal(own.get_weights(), fused.get_weights())


def test_a_network_is_saved_as_keras_knows_it(tmp_path):
    model = build_segmenter(**SMALL)
    config = model.get_config()
    fuse_batch_norm(model)
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    pictures = np.random.default_rng(4).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(again(pictures, training=False), model(pictures, training=False))


def test_the_step_has_the_kernel_in_it():
    model = build_segmenter(**SMALL)
    fuse_batch_norm(model)
    traced = tf.function(lambda pictures: model(pictures, training=True)).get_concrete_function(
        tf.TensorSpec((2, 32, 32, 3))
    )
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kernels = [operation for operation in traced.graph.get_operations() if operation.type == "FusedBatchNormV3"]
    assert len(kernels) == len(norms)
