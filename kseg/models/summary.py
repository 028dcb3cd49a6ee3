"""What a network costs, by stage: output shape, parameters and floating-point operations."""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

_STAGE = re.compile(r"(?:^|/)(layer[1-4]|decoder[1-5]|detail|head)(?=_|/|$)")
_STEM = "stem"


@dataclass(frozen=True)
class StageRow:
    """One stage: `stem`, `layer1` to `layer4`, `decoder1` to `decoder5`, `detail`, or `head`.

    Attributes:
        stage: The name.
        output_shape: (H, W, channels) of what leaves it, for one image.
        parameters: Numbers that training learns; BatchNorm's moving statistics are not counted.
        flops: Floating-point operations for one image at inference; a multiply-add counts as two.
    """

    stage: str
    output_shape: tuple[int, int, int]
    parameters: int
    flops: int


def summarize(model: keras.Model, height: int, width: int) -> list[StageRow]:
    """Return one row per stage of a `build_segmenter` model, for images of this size, in order.

    The operations are those that TensorFlow's profiler knows how to count: convolutions, pooling, and the
    arithmetic of BatchNorm and sums, but no ReLU, which together are less than one in a hundred.
    """
    ends = {_stage_of(layer.name): layer.output for layer in model.layers}  # a stage's last layer stays
    parameters: Counter[str] = Counter()
    for layer in model.layers:
        learnt = (variable for variable in layer.variables if not variable.name.startswith("moving_"))
        parameters[_stage_of(layer.name)] += sum(math.prod(variable.shape) for variable in learnt)
    traced = _trace(keras.Model(model.input, ends), height, width)
    flops: Counter[str] = Counter()
    for node in _profile(traced.graph).children:
        flops[_stage_of(node.name)] += node.float_ops
    return [
        StageRow(stage, tuple(traced.structured_outputs[stage].shape[1:]), parameters[stage], flops[stage])
        for stage in ends
    ]


def total_flops(model: keras.Model, height: int, width: int) -> int:
    """Count the floating-point operations of one image's inference; a multiply-add counts as two."""
    return int(_profile(_trace(model, height, width).graph).total_float_ops)


def format_table(rows: Sequence[StageRow]) -> str:
    """Lay the rows out as a table for a terminal, with their total."""
    cells = [("stage", "output", "parameters", "GFLOPs")]
    for row in rows:
        shape = " x ".join(map(str, row.output_shape))
        cells.append((row.stage, shape, f"{row.parameters:,}", f"{row.flops / 1e9:.3f}"))
    parameters, flops = sum(row.parameters for row in rows), sum(row.flops for row in rows)
    cells.append(("total", "", f"{parameters:,}", f"{flops / 1e9:.3f}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        aligned = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *aligned]))
    return "\n".join(lines)


def _stage_of(name: str) -> str:
    """Find the stage in a layer's name, or in that of a graph's node, "resnet34_unet/layer1_0_conv1/..."."""
    found = _STAGE.search(name)
    return found[1] if found else _STEM


def _trace(model: keras.Model, height: int, width: int) -> Any:
    """Trace the inference of one image, float32 (1, height, width, channels), so that every shape is known."""
    images = tf.TensorSpec((1, height, width, model.input.shape[-1]), tf.float32)
    return tf.function(lambda images: model(images, training=False)).get_concrete_function(images)


def _profile(graph: tf.Graph) -> Any:
    """Profile a graph: a node with `children`, one per operation, each with its `name` and `float_ops`."""
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    with _quiet():
        return profiler.profile(graph, cmd="scope", options=options.with_empty_output().build())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back TensorFlow's remark that its profiler is an old interface."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
