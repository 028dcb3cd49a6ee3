"""Muon: steps of the same size in every direction that a kernel knows, so that rare directions are learnt as well.

A gradient of a convolution is dominated by a few directions, those that all pictures agree on. Muon (Jordan et al.
2024, https://kellerjordan.github.io/posts/muon) replaces the momentum M = U S V^T by U V^T: it keeps the directions
and makes them equal. On few pictures and from random weights that was worth more than any other part of the recipe
(docs/experiments.md).
"""

import keras
import tensorflow as tf

from kseg.training.adam import PacedAdam

MOMENTUM = 0.95
"""As Jordan et al."""

NARROWEST = 32
"""Channels, in and out, of a kernel that is stepped so; pictures' first and masks' last layer, and others as narrow,
have few directions."""

SIZE = 0.2
"""The root mean square of a step, in learning rates: about that of Adam's, so that both share one rate (Liu et al.
2025, https://arxiv.org/abs/2502.16982, section 2.2)."""

POLYNOMIALS = (
    (8.287212, -23.595887, 17.300387),
    (4.107059, -2.947850, 0.544843),
    (3.948691, -2.908902, 0.551819),
    (3.318420, -2.488488, 0.510049),
)
"""Of the first four steps of Polar Express (Amsel et al. 2025, https://arxiv.org/abs/2505.16932, table 1): each maps
the singular values s to a s + b s^3 + c s^5, and all four together those above 0.001 to between 0.4 and 1.6."""

SAFETY = 1.02
"""The polynomials hold for singular values up to 1; rounding must not carry one beyond."""


class PacedMuon(PacedAdam):
    """Muon for kernels, and Adam for all other weights; paces, decay and averages as in ``PacedAdam``.

    With g the gradient of a kernel, as a matrix of as many columns as its last axis, a its rate and d its decay:

        w <- w - a d w
        m <- 0.95 m + 0.05 g
        w <- w - 0.2 a sqrt(max(rows, columns)) orthogonal(0.95 m + 0.05 g)
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """One step of one weight."""
        if not _is_wide_kernel(variable):
            super().update_step(gradient, variable, learning_rate)
            return
        rate = self.decayed(variable, learning_rate)["lr"]
        momentum = self._momentums[self._get_variable_index(variable)].value
        gradient = tf.cast(gradient, variable.dtype)
        momentum.assign(MOMENTUM * momentum + (1 - MOMENTUM) * gradient)
        ahead = MOMENTUM * momentum + (1 - MOMENTUM) * gradient  # Nesterov's
        matrix = tf.reshape(ahead, [-1, variable.shape[-1]])  # (k k C_in, C_out); transposed (k k C_out, C_in)
        size = SIZE * float(max(matrix.shape)) ** 0.5
        variable.assign_sub(rate * size * tf.reshape(orthogonal(matrix), variable.shape))


def orthogonal(matrix: tf.Tensor) -> tf.Tensor:
    """About U V^T of a matrix U S V^T: float32 (M, N), the same shape; of zeros, zeros.

    Only two products are of the whole matrix, and those are in bfloat16 where the network computes in it: the
    polynomials are evaluated on the smaller of its two Gram matrices. Directions under a twentieth of the strongest
    are noise in bfloat16, but the gradients of four pictures are noisier than that.
    """
    compute = tf.as_dtype(keras.config.dtype_policy().compute_dtype)
    large = tf.cast(matrix, tf.bfloat16 if compute == tf.bfloat16 else tf.float32)
    tall = matrix.shape[0] >= matrix.shape[1]
    gram = tf.cast(tf.matmul(large, large, transpose_a=tall, transpose_b=not tall), tf.float32)
    norm = SAFETY * tf.linalg.trace(gram) + 1e-30  # of Frobenius, squared: at least the largest singular value's
    gram /= norm
    identity = tf.eye(gram.shape[0])
    product = identity
    for index, (a, b, c) in enumerate(POLYNOMIALS):
        factor = a * identity + b * gram + c * tf.matmul(gram, gram)
        product = tf.matmul(factor, product) if index else factor
        if index < len(POLYNOMIALS) - 1:
            gram = tf.matmul(factor, tf.matmul(gram, factor))
    product = tf.cast(product * tf.math.rsqrt(norm), large.dtype)
    return tf.cast(tf.matmul(large, product) if tall else tf.matmul(product, large), tf.float32)


def _is_wide_kernel(variable: tf.Variable) -> bool:
    return len(variable.shape) == 4 and min(variable.shape[2:]) >= NARROWEST
