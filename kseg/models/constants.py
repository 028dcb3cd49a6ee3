"""A trained network as TensorFlow operations on constants: what it computes, without what only training needs.

Keras keeps weights in variables, which TensorFlow packs anew for the processor at every call, and normalises in several
passes. Here weights are constants of the precision they are used in, every BatchNorm is folded into the convolution
before it, and a transposed convolution is an ordinary one, so that convolution, bias, sum and ReLU run as one kernel.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kseg.errors import ExportError
from kseg.models.folding import Part, kernel_and_bias, parts_of

Operation = Callable[..., tf.Tensor]

Network = Callable[[tf.Tensor], tf.Tensor]
"""float32 pixels (B, H, W, C) to float32 logits (B, H, W, num_classes)."""


def as_constants(model: keras.Model, precision: str = "float32") -> Network:
    """What a network of ``build_segmenter`` computes, as a function that knows no Keras: pixels to logits.

    The function takes float32 (B, H, W, C) pixels in [0, 255], H and W multiples of 32, and gives float32
    (B, H, W, num_classes) logits. ``precision``, "float32" or "bfloat16", is that of everything but the normalisation
    of the pixels and the last layer, which stay in float32.

    Raises:
        ExportError: the network has a layer that is not one of kseg's.
    """
    every_part = parts_as_constants(model, precision)
    last = model.layers[-1].name
    return lambda pixels: tf.cast(every_part(pixels)[last], tf.float32)


def parts_as_constants(model: keras.Model, precision: str) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """As ``as_constants``, but the function gives what every part of the network makes, by the part's name."""
    dtype = tf.as_dtype(precision)
    steps = [(part, operation(part, part.layer is model.layers[-1], dtype)) for part in parts_of(model)]

    def network(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        made = {model.layers[0].name: pixels}
        for part, compute in steps:
            made[part.name] = compute(*(made[source] for source in part.inputs))
        return made

    return network


def operation(part: Part, last: bool, dtype: tf.DType) -> Operation:
    """What a part does, on tensors of ``dtype``; ``last`` is the one that gives logits, in float32.

    Raises:
        ExportError: it is no part of kseg's networks.
    """
    layer = part.layer
    if part.convolves:
        if not last:
            return _convolution(part, dtype)
        one_channel = layer.filters == 1 and not part.doubles and part.norm is None and not part.relu
        return _to_one_channel(part) if one_channel else _convolution(part, tf.float32)
    match layer:
        case layers.Rescaling():
            return _rescaling(layer, dtype)
        case layers.ZeroPadding2D():
            return lambda x: tf.pad(x, [[0, 0], *map(list, layer.padding), [0, 0]])
        case layers.GroupNormalization():
            return _group_norm(layer)
        case layers.MaxPooling2D():
            return lambda x: tf.nn.max_pool2d(x, layer.pool_size, layer.strides, layer.padding.upper())
        case layers.ReLU():
            return tf.nn.relu
        case layers.Add():
            return tf.add
        case layers.Concatenate():
            return lambda *parts: tf.concat(parts, axis=-1)
    raise ExportError(f"layer {layer.name} is a {type(layer).__name__}, which kseg's networks have none of")


def _rescaling(layer: layers.Rescaling, dtype: tf.DType) -> Operation:
    """Every channel's scale and offset, in float32, as a 1x1 convolution: one parallel kernel.

    A product and a sum with a vector of three values, as they are written, take several times as long.
    """
    channels = layer.input.shape[-1]
    kernel = (np.eye(channels) * np.asarray(layer.scale)).astype(np.float32)[None, None]
    offset = np.broadcast_to(np.asarray(layer.offset, np.float32), [channels])
    return lambda x: tf.cast(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), offset), dtype)


def _to_one_channel(part: Part) -> Operation:
    """A float32 convolution to a single channel, each of the inputs' channels apart, and then summed.

    Convolutions compute 16 channels of output at a time, and one alone would take as long as 16.
    """
    kernel, bias = kernel_and_bias(part)
    strides, padding = [1, *part.layer.strides, 1], part.layer.padding.upper()

    def convolve(x: tf.Tensor) -> tf.Tensor:
        parts = tf.nn.depthwise_conv2d(tf.cast(x, tf.float32), kernel, strides, padding)
        return tf.reduce_sum(parts, axis=-1, keepdims=True) + bias

    return convolve


def _convolution(part: Part, dtype: tf.DType) -> Operation:
    """A convolution with the BatchNorm and the ReLU after it."""
    kernel, bias = (tf.cast(value, dtype).numpy() for value in kernel_and_bias(part))
    strides, padding = (1, "VALID") if part.doubles else (part.layer.strides, part.layer.padding.upper())

    def convolve(x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.bias_add(tf.nn.conv2d(tf.cast(x, dtype), kernel, strides, padding), bias)
        return tf.nn.relu(x) if part.relu else x

    if not part.doubles:
        return convolve
    margin = kernel.shape[0] - 1
    return lambda x: interleaved(convolve(widened(x, margin)), margin)


def widened(x: tf.Tensor, margin: int) -> tf.Tensor:
    """With zeros around, as the convolution of a part that doubles reads them, to which ``margin`` is one less than
    its kernel's height: (B, H, W, C) -> (B, H + 2 margin, W + 2 margin, C)."""
    return tf.pad(x, [[0, 0], [margin, margin], [margin, margin], [0, 0]]) if margin else x


def interleaved(x: tf.Tensor, margin: int) -> tf.Tensor:
    """What that convolution makes, its four in one side by side: (B, H + margin, W + margin, 4 C) -> (B, 2H, 2W, C)."""
    doubled = tf.nn.depth_to_space(x, 2)
    return doubled[:, margin:-margin, margin:-margin] if margin else doubled


def _group_norm(layer: layers.GroupNormalization) -> Operation:
    """(B, H, W, C) -> the same; statistics over position and the channels of a group, in float32."""
    gamma, beta = (np.asarray(value, np.float32) for value in (layer.gamma, layer.beta))

    def normalise(x: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(x)
        groups = tf.reshape(tf.cast(x, tf.float32), [shape[0], -1, layer.groups, gamma.size // layer.groups])
        mean, variance = tf.nn.moments(groups, [1, 3], keepdims=True)
        normalised = tf.reshape((groups - mean) * tf.math.rsqrt(variance + layer.epsilon), shape)
        return tf.cast(normalised * gamma + beta, x.dtype)

    return normalise
