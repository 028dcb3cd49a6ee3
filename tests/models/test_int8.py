import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from served import KINDS, SMALL, trained

from kseg.models.constants import as_constants
from kseg.models.int8 import as_int8, ranges_of


def photos(seed, height=96, width=128):
    return np.random.default_rng(seed).uniform(0, 255, (2, height, width, 3)).astype(np.float32)


def as_graph(network):
    return tf.function(network, autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])


@pytest.mark.parametrize("network", KINDS, ids=str)
def test_nearly_the_same_logits(network):
    model = trained(**network)
    for images in (photos(3), photos(4, 64, 32)):
        expected = as_graph(as_constants(model))(images).numpy()
        # The ranges are of the same photos: those of random networks differ widely from one to the next.
        found = as_graph(as_int8(model, ranges_of(model, [images])))(images).numpy()
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).mean() < 0.1 * expected.std()
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_the_ranges_are_those_of_the_layers():
    model = trained(**SMALL)
    batches = [photos(1), photos(2, 64, 64)]
    found = ranges_of(model, batches)
    for name in (
        "layer1_0_add",
        "layer2_0_downsample_1",
        "layer3_1_relu",
        "layer1_maxpool",
        "decoder2_up_relu",
        "head",
    ):
        layer = keras.Model(model.input, model.get_layer(name).output)
        made = [layer.predict(batch, verbose=0) for batch in batches]
        expected = min(map(np.min, made)), max(map(np.max, made))
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


def test_all_but_the_first_and_the_last_convolution_are_in_eight_bits():
    model = trained(**(SMALL | {"encoder": "resnet34"}))
    graph = as_graph(as_int8(model, ranges_of(model, [photos(1)]))).get_concrete_function().graph
    kinds = [operation.type for operation in graph.get_operations()]
    convolutions = sum(isinstance(layer, layers.Conv2D | layers.Conv2DTranspose) for layer in model.layers)
    assert kinds.count("_FusedQuantizedConv2D") == convolutions - 2
    assert (kinds.count("Conv2D"), kinds.count("DepthwiseConv2dNative")) == (2, 1)  # the pixels' scale, stem; head
    # what is added in a residual block is added by the convolution
    assert kinds.count("DeepCopy") == 16
    assert not {"Add", "BiasAdd", "VarHandleOp", "ReadVariableOp"} & set(kinds[kinds.index("_FusedQuantizedConv2D") :])


def assert_near(model):
    """In eight bits, a network of 16 channels in and one out gives nearly what it gives in Keras."""
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 16)).astype(np.float32)
    spec = tf.TensorSpec([None, None, None, 16], tf.float32)
    eight = tf.function(as_int8(model, ranges_of(model, [pixels])), autograph=False, input_signature=[spec])
    expected = model.predict(pixels, verbose=0)
    assert np.abs(eight(pixels) - expected).max() < 0.03 * np.ptp(expected)


def test_a_shortcut_that_is_read_elsewhere_is_added_in_floats():
    images = keras.Input((None, None, 16))
    x = layers.Rescaling(1 / 255)(images)
    branch, shortcut = (layers.Conv2D(16, 1, name=name)(x) for name in ("branch", "shortcut"))
    summed = layers.ReLU()(layers.Add()([branch, shortcut]))
    both = layers.Concatenate()([summed, shortcut])
    model = keras.Model(images, layers.Conv2D(1, 3, padding="same")(both))
    assert_near(model)


@pytest.mark.parametrize("joined", [layers.Add, layers.Concatenate])
def test_a_convolution_that_was_not_seen_to_make_anything_negative(joined):
    images = keras.Input((None, None, 16))
    x = layers.Rescaling(1 / 255)(images)
    positive = {"kernel_initializer": keras.initializers.RandomUniform(0, 0.1, seed=1)}
    branches = [layers.Conv2D(16, 1, **positive)(x), layers.ReLU()(layers.Conv2D(16, 1, **positive)(x))]
    joint = layers.ReLU()(joined()(branches))
    model = keras.Model(images, layers.Conv2D(1, 3, padding="same")(joint))
    assert_near(model)
