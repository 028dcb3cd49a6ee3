"""Feature maps in eight bits, and oneDNN's convolution of them.

A value v is kept as the nearest of 256 steps: v = limit * stored / levels, with stored in 0 ... 255 where nothing is
negative, as after a ReLU, and in -127 ... 127 elsewhere; the limit is the largest value that occurs, zero is exact.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue

from kseg.models.folding import Array

LEVELS = {tf.quint8: 255, tf.qint8: 127}
PLAIN = {tf.quint8: tf.uint8, tf.qint8: tf.int8}
"""Most operations know these types only, of the same bits."""

Ends = tuple[float | Array, float | Array]
"""The least and the largest value that levels stand for."""

SMALLEST = 1e-9
"""A limit of 0, of maps or kernels that are zero all over, would be divided by."""


class Int8(NamedTuple):
    """Feature maps in eight bits.

    Attributes:
        stored: quint8, of maps without a negative value, or qint8, (B, H, W, C).
        limits: What the highest level of every channel stands for: float32 (C,), positive.
    """

    stored: tf.Tensor
    limits: Array

    @property
    def steps(self) -> Array:
        """What a level of every channel is worth: float32 (C,)."""
        return self.limits / np.float32(LEVELS[self.stored.dtype])

    def plain(self) -> tf.Tensor:
        """The levels, uint8 or int8 (B, H, W, C)."""
        return tf.bitcast(self.stored, PLAIN[self.stored.dtype])

    def of(self, plain: tf.Tensor) -> "Int8":
        """Other levels, uint8 or int8 (B, H, W, C), that stand for the same."""
        return Int8(tf.bitcast(plain, self.stored.dtype), self.limits[: plain.shape[-1]])

    def real(self) -> tf.Tensor:
        """The values, float32 (B, H, W, C)."""
        return tf.cast(self.plain(), tf.float32) * self.steps


def to_int8(values: tf.Tensor, limit: float, signed: bool) -> Int8:
    """Values, of any float type, (B, H, W, C), to the nearest levels; what is beyond the limit becomes the limit."""
    kind = tf.qint8 if signed else tf.quint8
    limit = max(limit, SMALLEST)
    least, most = _range(limit, kind)
    stored, _, _ = tf.raw_ops.QuantizeV2(
        input=tf.cast(values, tf.float32), min_range=least, max_range=most, T=kind, mode="SCALED", narrow_range=signed
    )
    return Int8(stored, np.full(values.shape[-1], limit, np.float32))


def concatenated(parts: Sequence[Int8]) -> Int8:
    """Channel after channel, each with the limit it has; all are signed, or none."""
    stored = tf.bitcast(tf.concat([part.plain() for part in parts], axis=-1), parts[0].stored.dtype)
    return Int8(stored, np.concatenate([part.limits for part in parts]))


def convolve(
    x: Int8,
    kernel: Array,
    bias: Array,
    limit: float,
    *,
    strides: Sequence[int] = (1, 1),
    padding: str = "VALID",
    relu: bool = False,
    added: Int8 | None = None,
) -> Int8:
    """A convolution, with what is added to it and the ReLU after that, as one kernel on integers.

    The operation has no name in TensorFlow's Python interface; oneDNN registers it in every build for x86-64. It takes
    one limit for all of the input's channels: the kernel takes in how far theirs are from the largest.

    Args:
        x: (B, H, W, C).
        kernel: float32 (h, w, C, F); its levels have one limit for each of the F.
        bias: float32 (F,).
        limit: The largest value that comes out.
        strides: Of the rows and of the columns.
        padding: "VALID" or "SAME".
        relu: Whether what is negative becomes zero; without it the result is signed.
        added: (B, H', W', F), as what comes out, unsigned, all channels with one limit; only with ``relu``.
    """
    if added is not None and (added.stored.dtype != tf.quint8 or not relu):
        raise ValueError("oneDNN adds unsigned maps only, and before a ReLU")
    largest, limit = float(x.limits.max()), max(limit, SMALLEST)
    kernel = kernel * (x.limits / largest)[:, None]
    widest = np.maximum(np.abs(kernel).max(axis=(0, 1, 2)), np.float32(SMALLEST))
    levels = tf.bitcast(tf.constant(np.rint(kernel / widest * 127).astype(np.int8)), tf.qint8)
    out = tf.quint8 if relu else tf.qint8
    operands, fused = [x.stored, levels, tf.constant(bias)], ["BiasAdd"]
    ranges: list[Ends] = [_range(largest, x.stored.dtype), (-widest, widest)]
    if added is not None:
        # The sum is computed in its place. Were it read by anything else, TensorFlow 2.21 would end the process.
        operands.append(added.of(tf.raw_ops.DeepCopy(x=added.plain())).stored)
        ranges.append(_range(float(added.limits[0]), added.stored.dtype))
        fused.append("Sum")
    if relu:
        fused.append("Relu")
    ranges.append(_range(limit, out))
    stored = _fused_convolution(operands, ranges, [*fused, "Requantize"], out, strides, padding)
    stored.set_shape([None, None, None, len(bias)])
    return Int8(stored, np.full(len(bias), limit, np.float32))


def _fused_convolution(
    operands: Sequence[tf.Tensor],
    ranges: Sequence[Ends],
    fused: Sequence[str],
    out: tf.DType,
    strides: Sequence[int],
    padding: str,
) -> tf.Tensor:
    """oneDNN's operation: maps, kernel, bias and maybe a summand, with what their and the result's levels stand for."""
    inputs = [*operands, *(tf.constant(end, tf.float32) for ends in ranges for end in ends)]
    results = [out, tf.float32, tf.float32]  # the last two say what the result's levels stand for
    maps, kernel, bias, *_ = operands
    attributes = {
        "Tinput": _type(maps.dtype),
        "Tfilter": _type(kernel.dtype),
        "Tbias": _type(bias.dtype),
        "Tsummand": _type(out),
        "out_type": _type(out),
        "Thost_inputs": _types(tensor.dtype for tensor in inputs),
        "Thost_outputs": _types(results),
        "Tdevice_inputs": _types([]),
        "Tdevice_outputs": _types([]),
        "strides": AttrValue(list=AttrValue.ListValue(i=[1, *strides, 1])),
        "padding": AttrValue(s=padding.encode()),
        "fused_ops": AttrValue(list=AttrValue.ListValue(s=[name.encode() for name in fused])),
    }
    graph = tf.compat.v1.get_default_graph()
    operation = graph.create_op("_FusedQuantizedConv2D", inputs, results, attrs=attributes, name="int8_convolution")
    return operation.outputs[0]


def _range(limit: float, kind: tf.DType) -> tuple[float, float]:
    """What the outermost levels of a type stand for."""
    return (0.0 if kind == tf.quint8 else -limit), limit


def _type(kind: tf.DType) -> AttrValue:
    return AttrValue(type=kind.as_datatype_enum)


def _types(kinds: Iterable[tf.DType]) -> AttrValue:
    return AttrValue(list=AttrValue.ListValue(type=[kind.as_datatype_enum for kind in kinds]))
