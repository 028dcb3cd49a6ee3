"""How fast this machine could train a network at best (Williams et al. 2009, https://doi.org/10.1145/1498765.1498785).

    python roofline.py combined|unet|linknet [--size N] [--batch N]

Prints a line of JSON: seconds of a step at least, the rates that this was computed from, and what it consists of. A
convolution, forward and twice backward, takes what its multiplications take at the rate of the fastest matrix product
seen, or what its maps take at the fastest copy, whichever is more; everything else is copying:

    normalisation   forward: read twice (statistics, then result), written once; backward: read four times, written once
    sum of two      forward: two read, one written; backward: passed on as it is
    pooling         forward and backward: in and out once each
    optimizer       gradient, weight and two means read, the last three written, float32

ReLU, concatenation, loss and metrics are free here, since they could be part of what is before or after them.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BYTES = {"float32": 4, "bfloat16": 2}
MATRIX = 3072
COPIED = 2**28
TRIALS = 10


def fastest(function: Callable[[], Any]) -> float:
    """Seconds of the fastest of some trials: the machine's limit is asked for, not what it does on average."""
    function()
    times = []
    for _ in range(TRIALS):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def matrix_rate(precision: str) -> float:
    """Floating-point operations a second of a large matrix product."""
    import tensorflow as tf

    a = tf.cast(tf.random.normal((MATRIX, MATRIX)), precision)
    product = tf.function(lambda: tf.reduce_max(tf.matmul(a, a)))
    return 2 * MATRIX**3 / fastest(lambda: product().numpy())


def memory_rate() -> float:
    """Bytes a second, read and written together, of the fastest elementwise operation on what no cache holds."""
    import tensorflow as tf

    a = tf.zeros(COPIED // 4)
    return 2 * COPIED / fastest(lambda: tf.math.negative(a).numpy()[0])


def conv_flops(layer: Any) -> int:
    """Of one picture, forward: two for each multiply-add."""
    larger = layer.output if layer.strides[0] == 1 or "Transpose" not in type(layer).__name__ else layer.input
    height, width = larger.shape[1:3]
    return 2 * math.prod(layer.kernel.shape) * height * width


def elements(tensor: Any) -> int:
    return math.prod(tensor.shape[1:])


def least_seconds(model: Any, batch: int, precision: str, matrix: float, memory: float) -> dict[str, float]:
    """What the parts of a step take at least."""
    parts = dict.fromkeys(("convolutions", "normalisation", "sums", "pooling", "optimizer"), 0.0)
    wide = BYTES[precision]

    def copying(count: int) -> float:
        return count * wide * batch / memory

    first = True
    for layer in model.layers:
        kind = type(layer).__name__
        if kind.startswith("Conv2D"):
            moved = copying(elements(layer.input) + elements(layer.output))
            passes = 2 if first else 3  # the gradient of the pixels is not needed
            parts["convolutions"] += passes * max(conv_flops(layer) * batch / matrix, moved)
            first = False
        elif kind == "BatchNormalization":
            parts["normalisation"] += copying(8 * elements(layer.output))
        elif kind == "Add":
            parts["sums"] += copying(3 * elements(layer.output))
        elif kind == "MaxPooling2D":
            parts["pooling"] += 2 * copying(elements(layer.input) + elements(layer.output))
    parts["optimizer"] = 7 * 4 * sum(math.prod(v.shape) for v in model.trainable_variables) / memory
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("combined", "unet", "linknet"))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    from kseg.models.precision import fastest_safe_precision
    from kseg.models.segmenter import build_segmenter

    precision = fastest_safe_precision()
    matrix, memory = matrix_rate(precision), memory_rate()
    model = build_segmenter(join=options.network, image_size=(options.size, options.size))
    parts = least_seconds(model, options.batch, precision, matrix, memory)
    answer = {"seconds": sum(parts.values()), "precision": precision, "matrix": matrix, "memory": memory}
    print(json.dumps({**answer, "parts": parts}))


if __name__ == "__main__":
    main()
