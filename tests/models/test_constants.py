import keras
import numpy as np
import pytest
import tensorflow as tf
from served import KINDS, SMALL, trained

from kseg.errors import ExportError
from kseg.models.constants import as_constants
from kseg.models.segmenter import build_segmenter


def pixels(height, width):
    return np.random.default_rng(4).uniform(0, 255, (2, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("network", KINDS, ids=str)
def test_the_same_logits_as_keras(network):
    model = trained(**network)
    images = pixels(64, 96)
    expected = model.predict(images, verbose=0)
    found = tf.function(as_constants(model))(images).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    rounded = tf.function(as_constants(model, "bfloat16"))(images).numpy()
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - expected).mean() < 0.03 * np.abs(expected).mean()


def test_a_network_that_computes_in_bfloat16_has_the_same_weights():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = trained(**SMALL)
    finally:
        keras.config.set_dtype_policy("float32")
    exact = build_segmenter(**SMALL)
    exact.set_weights(mixed.get_weights())
    images = pixels(32, 32)
    np.testing.assert_allclose(
        tf.function(as_constants(mixed))(images), exact.predict(images, verbose=0), rtol=0, atol=1e-3
    )


def test_nothing_is_left_but_convolutions_on_constants():
    model = trained(**SMALL)
    spec = tf.TensorSpec([None, None, None, 3], tf.float32)
    graph = tf.function(as_constants(model, "bfloat16"), input_signature=[spec]).get_concrete_function().graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert not kinds & {"ReadVariableOp", "VarHandleOp", "FusedBatchNormV3", "Rsqrt", "Conv2DBackpropInput"}
    convolutions = {"Conv2D", "DepthwiseConv2dNative"}
    kernels = [operation.inputs[1] for operation in graph.get_operations() if operation.type in convolutions]
    assert {kernel.op.type for kernel in kernels} == {"Const"}
    # but for the pixels' normalisation and the last layer
    assert [kernel.dtype for kernel in kernels] == [tf.float32, *[tf.bfloat16] * (len(kernels) - 2), tf.float32]


def test_pixels_of_another_number_of_channels():
    model = trained(channels=4, **SMALL)
    images = np.random.default_rng(5).uniform(0, 255, (1, 32, 64, 4)).astype(np.float32)
    expected = model.predict(images, verbose=0)
    found = tf.function(as_constants(model))(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_a_convolution_with_two_readers_keeps_its_own_output():
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=True, name="shared")(x)
    normalised = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Concatenate()([x, normalised])
    model = keras.Model(images, keras.layers.Conv2D(1, 3, padding="same")(x))
    with pytest.raises(ExportError, match="is a BatchNormalization"):
        as_constants(model)


def test_a_strange_layer_is_named():
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.UpSampling2D(name="stranger")(images))
    with pytest.raises(ExportError, match="layer stranger is a UpSampling2D"):
        as_constants(keras.Model(images, x))
