"""A trained network in eight bits, for processors that multiply integers faster than anything else.

Weights and feature maps become the nearest of 256 levels (Jacob et al. 2018, https://arxiv.org/abs/1712.05877). What
the highest level of a map stands for is measured on photos, and every channel of a kernel has its own. The convolutions
of the pixels themselves, and the last, stay in float32: they take little time, and everything passes through them.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kseg.models.constants import Network, interleaved, operation, parts_as_constants, widened
from kseg.models.folding import Part, kernel_and_bias, parts_of
from kseg.models.int8_tensors import Int8, concatenated, convolve, to_int8

FEWEST_CHANNELS = 16
"""A convolution of fewer stays in float32: those of the pixels."""

MOVING = layers.ZeroPadding2D, layers.MaxPooling2D
"""What they do to levels, they do to what these stand for."""

Range = tuple[float, float]
"""The least and the largest value of a part's maps."""


class _Convolution(NamedTuple):
    """A convolution in eight bits.

    Attributes:
        name: Of what it makes.
        inputs: The names of what it reads and, behind it, of what is added to it, if anything.
        part: The convolution itself.
        limit: The largest value that comes out.
        relu: Whether what is negative becomes zero.
        raised: What is added to its bias.
    """

    name: str
    inputs: tuple[str, ...]
    part: Part
    limit: float
    relu: bool
    raised: float = 0.0


class _Maps:
    """What a part makes, as numbers of either kind; it is converted once, however many ask for the other kind."""

    def __init__(self, made: tf.Tensor | Int8, found: Range) -> None:
        self.made, self.found = made, found

    @cached_property
    def real(self) -> tf.Tensor:
        """float32 (B, H, W, C)."""
        return self.made.real() if isinstance(self.made, Int8) else tf.cast(self.made, tf.float32)

    @cached_property
    def eight(self) -> Int8:
        """(B, H, W, C) in eight bits."""
        return self.made if isinstance(self.made, Int8) else to_int8(self.made, limit_of(self.found), self.found[0] < 0)


Step = Callable[..., tf.Tensor | Int8]


def ranges_of(model: keras.Model, batches: Iterable[np.ndarray]) -> dict[str, Range]:
    """The least and the largest value that every part of a network makes of photos, by the part's name.

    Args:
        model: A network of ``build_segmenter``, in float32.
        batches: Photos as the network sees them, at least one batch: (B, H, W, C) pixels in [0, 255] of any B, H and W.
    """
    every_part = parts_as_constants(model, "float32")
    pixels = tf.TensorSpec([None, None, None, model.input.shape[-1]], tf.float32)

    @tf.function(autograph=False, input_signature=[pixels])
    def ends(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.stack([tf.reduce_min(x), tf.reduce_max(x)]) for name, x in every_part(pixels).items()}

    found = [{name: value.numpy() for name, value in ends(tf.constant(batch, tf.float32)).items()} for batch in batches]
    return {name: (float(min(f[name][0] for f in found)), float(max(f[name][1] for f in found))) for name in found[0]}


def limit_of(found: Range) -> float:
    """The largest absolute value."""
    return max(map(abs, found))


def as_int8(model: keras.Model, ranges: Mapping[str, Range]) -> Network:
    """As ``kseg.models.constants.as_constants``, in eight bits; ``ranges`` as from ``ranges_of``.

    Only TensorFlow for x86-64 has the operation it is made of. Without VNNI instructions, oneDNN adds two products in
    16 bits, which could overflow where maps and kernels are both near their limits
    (https://uxlfoundation.github.io/oneDNN/dev_guide_int8_computations.html); a trained network was not seen to do so.
    The function has to be called in a graph.

    Raises:
        ExportError: the network has a layer that is not one of kseg's.
    """
    first, last = model.layers[0].name, model.layers[-1].name
    found = list(parts_of(model))
    # a convolution without a ReLU makes signed levels, even if it was not seen to make anything negative
    unsigned = {part.name for part in found if ranges[part.name][0] >= 0 and (part.relu or not _in_eight(part))}
    parts = _with_sums(found, ranges, unsigned)
    steps = [(part.name, part.inputs, *_step(part, part.name == last, ranges, unsigned)) for part in parts]

    def network(pixels: tf.Tensor) -> tf.Tensor:
        made = {first: _Maps(pixels, ranges[first])}
        for name, inputs, kind, step in steps:
            made[name] = _Maps(step(*(getattr(made[source], kind) for source in inputs)), ranges[name])
        return made[last].real

    return network


def _with_sums(parts: list[Part], ranges: Mapping[str, Range], unsigned: Container[str]) -> list[Part | _Convolution]:
    """The network's parts, with every convolution that is added to something before a ReLU as one with both.

    What is added has to be unsigned. Where it is a convolution of its own, as of a shortcut that changes the size, it
    is raised by its least value, and the sum lowered by it.
    """
    by_name = {part.name: part for part in parts}
    readers = {name: [part for part in parts if name in part.inputs] for name in by_name}
    changed: dict[str, Part | _Convolution] = dict(by_name)
    for part in parts:
        after = readers[part.name]
        if not isinstance(part.layer, layers.Add) or [type(reader.layer) for reader in after] != [layers.ReLU]:
            continue
        free = [name for name in part.inputs if len(readers[name]) == 1 and _in_eight(by_name[name])]
        free = [name for name in free if not by_name[name].relu]
        pairs = [(name, other) for name in reversed(free) for other in part.inputs if other != name]
        possible = [(name, other) for name, other in pairs if other in free or other in unsigned]
        if not possible:
            continue
        (main, other), relu = possible[0], after[0].name
        least, most = ranges[other]
        raised = max(0.0, -least)
        if other in free:
            shortcut = by_name[other]
            changed[other] = _Convolution(other, shortcut.inputs, shortcut, most + raised, relu=True, raised=raised)
        inputs = *by_name[main].inputs, other
        changed[relu] = _Convolution(relu, inputs, by_name[main], limit_of(ranges[relu]), relu=True, raised=-raised)
        del changed[main], changed[part.name]
    return [changed[part.name] for part in parts if part.name in changed]


def _in_eight(part: Part) -> bool:
    """Whether a part is a convolution that is worth eight bits; the last one is not asked for."""
    return part.convolves and part.layer.input.shape[-1] >= FEWEST_CHANNELS


def _step(
    part: Part | _Convolution, last: bool, ranges: Mapping[str, Range], unsigned: Container[str]
) -> tuple[str, Step]:
    """The kind of numbers, "real" or "eight", that a part takes, and what it does."""
    if isinstance(part, _Convolution):
        return "eight", _convolution(part)
    if _in_eight(part) and not last:
        limit = limit_of(ranges[part.name])
        return "eight", _convolution(_Convolution(part.name, part.inputs, part, limit, part.relu))
    real = operation(part, last, tf.float32)
    if isinstance(part.layer, MOVING) and part.layer.input.shape[-1] >= FEWEST_CHANNELS:
        return "eight", lambda x: x.of(real(x.plain()))
    if isinstance(part.layer, layers.Concatenate) and all(name in unsigned for name in part.inputs):
        return "eight", lambda *parts: concatenated(parts)
    return "real", real


def _convolution(chosen: _Convolution) -> Step:
    """What it does with what it reads and with what is added to it, if anything."""
    part = chosen.part
    kernel, bias = kernel_and_bias(part)
    fixed = kernel, bias + np.float32(chosen.raised), chosen.limit
    if not part.doubles:
        options: dict[str, Any] = {"strides": part.layer.strides, "padding": part.layer.padding.upper()}
        return lambda x, added=None: convolve(x, *fixed, relu=chosen.relu, added=added, **options)

    margin = kernel.shape[0] - 1

    def double(x: Int8) -> Int8:
        four = convolve(x.of(widened(x.plain(), margin)), *fixed, relu=chosen.relu)
        return four.of(interleaved(four.plain(), margin))

    return double
