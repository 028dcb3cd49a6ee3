"""BatchNorm in one kernel while training, the same numbers to rounding.

Keras's layer computes it from a dozen elementary operations in float32, whatever the network's precision: maps are
cast, and read and written again and again, which takes a sixth of a step on two processors. TensorFlow has kernels that
do it all, forward and backward, on the maps as they are, with sums in float32; on a processor they are oneDNN's.
"""

from functools import partial
from typing import Any

import keras
import tensorflow as tf


def fuse_batch_norm(model: keras.Model) -> None:
    """Let every BatchNorm of ``model`` train through the fused kernel; how it answers, and is saved, stays Keras's."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.call = partial(_call, layer)


def _call(layer: keras.layers.BatchNormalization, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """What stands for ``layer.call``: float (B, H, W, C) -> the same."""
    if not training or not layer.trainable or isinstance(inputs, keras.KerasTensor):
        return type(layer).call(layer, inputs, training, mask)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=layer.gamma, offset=layer.beta, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )
    # the kernel estimates the variance of all pictures (over n - 1), Keras keeps the batch's own (over n)
    count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], variance.dtype)
    _follow(layer.moving_mean, mean, layer.momentum)
    _follow(layer.moving_variance, variance * ((count - 1) / count), layer.momentum)
    return outputs


def _follow(statistic: keras.Variable, value: tf.Tensor, momentum: float) -> None:
    statistic.assign(statistic * momentum + value * (1.0 - momentum))
