"""A trained network as the parts that an export computes: every convolution with what follows it as one."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

Array = NDArray[np.float32]
Exact = NDArray[np.float64]

CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose)


class Part(NamedTuple):
    """A layer; of a convolution, together with the BatchNorm and the ReLU that follow it and read nothing else.

    Attributes:
        name: Of the last of its layers.
        inputs: The names of the parts, or of the network's input, that it reads.
        layer: The layer, or the convolution.
        norm: The BatchNorm after a convolution.
        relu: Whether a ReLU is after a convolution.
    """

    name: str
    inputs: tuple[str, ...]
    layer: keras.Layer
    norm: layers.BatchNormalization | None = None
    relu: bool = False

    @property
    def convolves(self) -> bool:
        """Whether it has a kernel."""
        return isinstance(self.layer, CONVOLUTIONS)

    @property
    def doubles(self) -> bool:
        """Whether it is a transposed convolution."""
        return isinstance(self.layer, layers.Conv2DTranspose)


def parts_of(model: keras.Model) -> Iterator[Part]:
    """A network's parts, every one after those it reads."""
    readers = Counter(source for layer in model.layers for source in _sources(layer))
    followers = {_sources(layer)[0]: layer for layer in model.layers if len(_sources(layer)) == 1}
    taken = set()

    def follower(layer: keras.Layer, kind: type) -> Any:
        after = followers.get(layer.name)
        return after if isinstance(after, kind) and readers[layer.name] == 1 else None

    for layer in model.layers[1:]:
        if layer.name in taken:
            continue
        norm = relu = None
        if isinstance(layer, CONVOLUTIONS):
            norm = follower(layer, layers.BatchNormalization)
            relu = follower(norm or layer, layers.ReLU)
        last = relu or norm or layer
        taken |= {part.name for part in (norm, relu) if part}
        yield Part(last.name, tuple(_sources(layer)), layer, norm, relu is not None)


def kernel_and_bias(part: Part) -> tuple[Array, Array]:
    """Of an ordinary convolution that does what a part does but for its ReLU: float32 (h, w, C, F) and (F,).

    With kernel k and BatchNorm's scale g, shift b, mean m and variance v, both are one convolution with the kernel
    k g / sqrt(v + e) and the bias b - m g / sqrt(v + e). F of a part that doubles is four times its filters; see
    ``_four_in_one``.
    """
    layer, norm = part.layer, part.norm
    kernel: Exact = np.asarray(layer.kernel, np.float64)
    bias: Exact = np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(layer.filters)
    if norm is not None:
        gamma, beta, mean, variance = (
            np.asarray(value, np.float64) for value in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
        )
        scale = gamma / np.sqrt(variance + norm.epsilon)
        kernel = kernel * (scale[:, None] if part.doubles else scale)
        bias = beta + (bias - mean) * scale
    if part.doubles:
        kernel, bias = _four_in_one(kernel), np.tile(bias, 4)
    return kernel.astype(np.float32), bias.astype(np.float32)


def _sources(layer: keras.Layer) -> list[str]:
    """The names of the layers whose outputs a layer reads."""
    if isinstance(layer, layers.InputLayer):
        return []
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in inputs]


def _four_in_one(kernel: Exact) -> Exact:
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
