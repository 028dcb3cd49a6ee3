"""BatchNorm while training: in one kernel, the same numbers to rounding; or over all workers that share a batch.

Keras's layer computes it from a dozen elementary operations in float32, whatever the network's precision: maps are
cast, and read and written again and again, which takes a sixth of a step on two processors. TensorFlow has kernels that
do it all, forward and backward, on the maps as they are, with sums in float32; on a processor they are oneDNN's.

How a network answers, and how it is saved, stays Keras's in both cases.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from kseg.training.workers import Workers

Call = Callable[[keras.layers.BatchNormalization, tf.Tensor], tf.Tensor]
"""What a layer does with maps, float (B, H, W, C), in a step of training: the same shape and dtype."""


def fuse_batch_norm(model: keras.Model) -> None:
    """Let every BatchNorm of ``model`` train through the fused kernel."""
    _train_with(model, _fused)


def synchronise_batch_norm(model: keras.Model, workers: Workers) -> None:
    """Let every BatchNorm of ``model`` train on the statistics of all workers' shares of the batch.

    With each share's own, which may be a picture or two, several workers would train another network than one.
    """
    _train_with(model, partial(_synchronised, workers))


def _train_with(model: keras.Model, call: Call) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.call = partial(_call, layer, call)


def _call(
    layer: keras.layers.BatchNormalization, call: Call, inputs: Any, training: bool | None = None, mask: Any = None
) -> Any:
    """What stands for ``layer.call``."""
    if not training or not layer.trainable or isinstance(inputs, keras.KerasTensor):
        return type(layer).call(layer, inputs, training, mask)
    return call(layer, inputs)


def _fused(layer: keras.layers.BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=layer.gamma, offset=layer.beta, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )
    # the kernel estimates the variance of all pictures (over n - 1), Keras keeps the batch's own (over n)
    count = inputs.shape[:-1].num_elements() or tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
    _follow(layer, mean, variance * ((count - 1) / count))
    return outputs


def _synchronised(workers: Workers, layer: keras.layers.BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    # The square of a mean is taken from a mean of squares, which are close where the mean is large: what the layer
    # already knows of the mean is taken away before. All workers know the same.
    known = tf.stop_gradient(tf.convert_to_tensor(layer.moving_mean))
    rest = tf.cast(inputs, known.dtype) - known
    moments = tf.stack([tf.reduce_mean(rest, [0, 1, 2]), tf.reduce_mean(tf.square(rest), [0, 1, 2])])
    mean, square = tf.unstack(workers.learning_mean(moments))
    variance = square - tf.square(mean)
    _follow(layer, known + mean, variance)
    outputs = tf.nn.batch_normalization(rest, mean, variance, layer.beta, layer.gamma, layer.epsilon)
    return tf.cast(outputs, inputs.dtype)


def _follow(layer: keras.layers.BatchNormalization, mean: tf.Tensor, variance: tf.Tensor) -> None:
    for statistic, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        variable = statistic.value  # TensorFlow's: of Keras's own, each operation takes a while to trace
        variable.assign(variable * layer.momentum + value * (1.0 - layer.momentum))
