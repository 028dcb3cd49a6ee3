"""A trained network as TensorFlow operations on constants: what it computes, without what only training needs.

Keras keeps weights in variables, which TensorFlow packs anew for the processor at every call, and normalises in several
passes. Here weights are constants of the precision they are used in, every BatchNorm is folded into the convolution
before it, and a transposed convolution is an ordinary one, so that convolution, bias, sum and ReLU run as one kernel.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from kseg.errors import ExportError

Array = NDArray[np.float32]
Operation = Callable[..., tf.Tensor]

PRECISIONS = ("float32", "bfloat16")
CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose)


class _Step(NamedTuple):
    """One operation: its name, the names of its inputs, and what it does."""

    name: str
    inputs: tuple[str, ...]
    operation: Operation


def as_constants(model: keras.Model, precision: str = "float32") -> Callable[[tf.Tensor], tf.Tensor]:
    """What a network of ``build_segmenter`` computes, as a function that knows no Keras: pixels to logits.

    The function takes float32 (B, H, W, C) pixels in [0, 255], H and W multiples of 32, and gives float32
    (B, H, W, num_classes) logits. ``precision``, "float32" or "bfloat16", is that of everything but the normalisation
    of the pixels and the last layer, which stay in float32.

    Raises:
        ExportError: the network has a layer that is not one of kseg's.
    """
    dtype = tf.as_dtype(precision)
    steps = list(_steps(model, dtype))

    def network(pixels: tf.Tensor) -> tf.Tensor:
        made = {model.layers[0].name: pixels}
        for name, inputs, operation in steps:
            made[name] = operation(*(made[source] for source in inputs))
        return tf.cast(made[steps[-1].name], tf.float32)

    return network


def _steps(model: keras.Model, dtype: tf.DType) -> Iterator[_Step]:
    """The network's layers in their order; what follows a convolution and reads nothing else becomes part of it."""
    readers = Counter(source for layer in model.layers for source in _sources(layer))
    followers = {_sources(layer)[0]: layer for layer in model.layers if len(_sources(layer)) == 1}
    renamed: dict[str, str] = {}

    def follower(name: str, kind: type) -> Any:
        layer = followers.get(name)
        return layer if isinstance(layer, kind) and readers[name] == 1 else None

    for layer in model.layers[1:]:
        name = layer.name
        if name in renamed:
            continue
        inputs = tuple(renamed.get(source, source) for source in _sources(layer))
        if not isinstance(layer, CONVOLUTIONS):
            yield _Step(name, inputs, _operation(layer, dtype))
            continue
        norm = follower(name, layers.BatchNormalization)
        last = norm.name if norm else name
        relu = follower(last, layers.ReLU)
        renamed |= {part.name: name for part in (norm, relu) if part}
        if layer is not model.layers[-1]:
            yield _Step(name, inputs, _convolution(layer, norm, relu is not None, dtype))
        elif isinstance(layer, layers.Conv2D) and layer.filters == 1 and norm is None and relu is None:
            yield _Step(name, inputs, _to_one_channel(layer))
        else:
            yield _Step(name, inputs, _convolution(layer, norm, relu is not None, tf.float32))


def _sources(layer: keras.Layer) -> list[str]:
    """The names of the layers whose outputs a layer reads."""
    if isinstance(layer, layers.InputLayer):
        return []
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in inputs]


def _operation(layer: keras.Layer, dtype: tf.DType) -> Operation:
    """What a layer without a kernel does."""
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


def _to_one_channel(layer: layers.Conv2D) -> Operation:
    """A float32 convolution to a single channel, each of the inputs' channels apart, and then summed.

    Convolutions compute 16 channels of output at a time, and one alone would take as long as 16.
    """
    kernel, bias = _folded(layer, None, output_axis=3)
    strides, padding = [1, *layer.strides, 1], layer.padding.upper()

    def convolve(x: tf.Tensor) -> tf.Tensor:
        parts = tf.nn.depthwise_conv2d(tf.cast(x, tf.float32), kernel, strides, padding)
        return tf.reduce_sum(parts, axis=-1, keepdims=True) + bias

    return convolve


def _convolution(
    layer: layers.Conv2D | layers.Conv2DTranspose, norm: layers.BatchNormalization | None, relu: bool, dtype: tf.DType
) -> Operation:
    """A convolution with the BatchNorm and the ReLU after it."""
    transposed = isinstance(layer, layers.Conv2DTranspose)
    kernel, bias = _folded(layer, norm, output_axis=2 if transposed else 3)
    if transposed:
        kernel, bias = _four_in_one(kernel), np.tile(bias, 4)
    kernel, bias = (tf.cast(value, dtype).numpy() for value in (kernel, bias))
    strides, padding = (1, "VALID") if transposed else (layer.strides, layer.padding.upper())

    def convolve(x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.bias_add(tf.nn.conv2d(tf.cast(x, dtype), kernel, strides, padding), bias)
        return tf.nn.relu(x) if relu else x

    if not transposed:
        return convolve
    margin = kernel.shape[0] - 1

    def double(x: tf.Tensor) -> tf.Tensor:
        around = [[0, 0], [margin, margin], [margin, margin], [0, 0]]
        x = tf.nn.depth_to_space(convolve(tf.pad(x, around) if margin else x), 2)
        return x[:, margin:-margin, margin:-margin] if margin else x

    return double


def _folded(
    layer: layers.Conv2D | layers.Conv2DTranspose, norm: layers.BatchNormalization | None, output_axis: int
) -> tuple[Array, Array]:
    """Kernel and bias, float32, of a convolution and the BatchNorm after it.

    With kernel k and BatchNorm's scale g, shift b, mean m and variance v, both are one convolution with the kernel
    k g / sqrt(v + e) and the bias b - m g / sqrt(v + e).
    """
    kernel = np.asarray(layer.kernel, np.float64)
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(layer.filters)
    if norm is not None:
        gamma, beta, mean, variance = (
            np.asarray(value, np.float64) for value in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
        )
        scale = gamma / np.sqrt(variance + norm.epsilon)
        kernel = kernel * np.expand_dims(scale, [axis for axis in range(4) if axis != output_axis])
        bias = beta + (bias - mean) * scale
    return kernel.astype(np.float32), bias.astype(np.float32)


def _four_in_one(kernel: Array) -> Array:
    """A transposed convolution of stride 2 as an ordinary one: (2h, 2h, F, C) -> (h, h, C, 4 F).

    Every input pixel becomes 2 x 2 output pixels. In one dimension, output 2 p - h + 1 + s, with s 0 or 1, is the sum
    over j < h of input p - j times the kernel's tap s + 2 j: a convolution of h taps. All four (in two dimensions)
    are one convolution with four times the channels, that ``depth_to_space`` puts side by side.
    """
    half, filters, channels = kernel.shape[0] // 2, *kernel.shape[2:]
    taps = kernel.reshape(half, 2, half, 2, filters, channels)[
        ::-1, :, ::-1
    ]  # j descends as the input's position grows
    return taps.transpose(0, 2, 5, 1, 3, 4).reshape(half, half, channels, 4 * filters)


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
