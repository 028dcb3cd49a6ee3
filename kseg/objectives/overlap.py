"""Overlap of a true and a predicted region: every score and every region loss derives from it.

Symbols, for one class over some set of pixels: T the true area, P the predicted area, I their intersection.
P − I are the false positives, T − I the misses. There is one formula, of which the others are cases:

    tversky(α, β) = I / (I + α (P − I) + β (T − I))                         Tversky 1977

    jaccard   = tversky(1, 1)     = I / (T + P − I)                         Jaccard 1912
    dice      = tversky(1/2, 1/2) = 2 I / (T + P)  = 2 jaccard / (1 + jaccard)   Dice 1945, Sørensen 1948
    precision = tversky(1, 0)     = I / P
    recall    = tversky(0, 1)     = I / T

The empty class. A class that is neither in the truth nor in the prediction has no score (NaN, from 0/0) and
is left out of every mean. A class in only one of the two scores 0, by all four formulas. So the means of all
four run over the same classes. A mean with nothing to average is 1: nothing to find and nothing found is a
perfect answer.

    truth   prediction   score
    some    some         by the formula
    some    none         0
    none    some         0
    none    none         NaN, left out; an image in which this holds for every class scores 1

Over a data set, the sums come first and a class seen nowhere is left out of the mean over classes. Per image,
an image's score is the mean over the classes seen in it, and the data set's is the mean over its images. An
image with not one counted pixel (all of it the ignored id) is no image: it is left out of the mean over
images.

Sources: P. Jaccard, New Phytologist 11 (1912); L. R. Dice, Ecology 26 (1945); T. Sørensen, Biologiske
    Skrifter 5 (1948); A. Tversky, Psychological Review 84 (1977).
"""

import math
from typing import Any, NamedTuple

import tensorflow as tf
from keras import ops

from kseg.errors import ConfigError, DataError
from kseg.logits import log_odds

# What the Tversky index takes for a false positive (alpha), and for a miss (beta).
TVERSKY_WEIGHTS: dict[str, tuple[float, float]] = {
    "jaccard": (1.0, 1.0),
    "dice": (0.5, 0.5),
    "precision": (1.0, 0.0),
    "recall": (0.0, 1.0),
}


class Counts(NamedTuple):
    """Areas in pixels, shape (B, K) each: int64 when counted, float32 when summed from probabilities.

    K is the number of ids a truth may hold (`Pixels.num_ids`), one fewer where `reported` took the background out.
    """

    intersection: Any
    truth: Any
    predicted: Any


class Pixels(NamedTuple):
    """A batch with its height and width flattened to N pixels.

    Attributes:
        ids: int32 (B, N), in [0, K), K being 2 for binary logits and C otherwise; 0 where `counted` is False.
        logits: float32 (B, N, C).
        counted: bool (B, N), False on the ignored id.
    """

    ids: Any
    logits: Any
    counted: Any

    @property
    def num_ids(self) -> int:
        """K, how many ids a truth may hold: two for one logit (background, person), else one per logit."""
        return max(int(self.logits.shape[-1]), 2)


def flatten_pixels(y_true: Any, y_pred: Any, ignore_class: int | None = None) -> Pixels:
    """Bring a batch into the form in which everything here is computed.

    Args:
        y_true: class ids, integers (B, H, W) or (B, H, W, 1).
        y_pred: logits (B, H, W, C) of any floating type; C = 1 is binary.
        ignore_class: the id of pixels that count nowhere.

    Raises:
        DataError: the two shapes do not fit.
        tf.errors.InvalidArgumentError: an id is neither a class nor `ignore_class`. (Code compiled by XLA
            cannot raise; there such a pixel belongs to no class and is in no sum.)
    """
    logits = ops.cast(y_pred, "float32")
    ids = ops.cast(y_true, "int32")
    if len(ids.shape) == 4 and ids.shape[-1] == 1:
        ids = ops.squeeze(ids, axis=-1)
    if len(logits.shape) != 4 or len(ids.shape) != 3 or not _same_size(ids.shape, logits.shape[:-1]):
        raise DataError(
            f"A truth of shape {tuple(ids.shape)} does not fit logits of shape {tuple(logits.shape)}: "
            "expected class ids (B, H, W) or (B, H, W, 1) and logits (B, H, W, C) of the same size."
        )
    batch, height, width, channels = ops.shape(logits)
    ids = ops.reshape(ids, (batch, height * width))
    logits = ops.reshape(logits, (batch, height * width, channels))
    counted = ops.ones_like(ids, dtype="bool") if ignore_class is None else ops.not_equal(ids, ignore_class)
    return _with_known_ids(Pixels(ops.where(counted, ids, 0), logits, counted), ignore_class)


def _same_size(first: Any, second: Any) -> bool:
    """Whether two static shapes agree wherever both are known."""
    return all(a is None or b is None or a == b for a, b in zip(first, second, strict=True))


def _with_known_ids(pixels: Pixels, ignore_class: int | None) -> Pixels:
    """Stop at an id that is no class: counted as background it would spoil every number without a word."""
    smallest, largest = tf.reduce_min(pixels.ids), tf.reduce_max(pixels.ids)
    message = (
        f"A mask holds an id that is neither one of the {pixels.num_ids} classes (0 to {pixels.num_ids - 1}) "
        f"nor ignore_class ({ignore_class}). Smallest and largest id found:"
    )
    known = tf.debugging.Assert((smallest >= 0) & (largest < pixels.num_ids), [message, smallest, largest])
    # What works on the ids waits for the check: else another operation may stop first, with a message of its own.
    with tf.control_dependencies([known]):
        return pixels._replace(ids=tf.identity(pixels.ids))


def check_threshold(threshold: float) -> float:
    """Return `threshold` if it is a probability strictly between 0 and 1, else raise ConfigError."""
    if not 0.0 < threshold < 1.0:
        raise ConfigError(f"threshold={threshold!r} is no probability strictly between 0 and 1.")
    return threshold


def predicted_ids(logits: Any, threshold: float = 0.5) -> Any:
    """Decide: int32 ids (...,) from float32 logits (..., C).

    C = 1: 1 where the probability is above `threshold`, 0 elsewhere (also at equality). C > 1: the largest
    logit, the smaller id at equality. Both so prefer the background when in doubt.
    """
    if logits.shape[-1] == 1:
        # sigmoid(x) > t, without rounding in the sigmoid
        return ops.cast(logits[..., 0] > log_odds(check_threshold(threshold)), "int32")
    return tf.argmax(logits, axis=-1, output_type=tf.int32)


def count_classes(y_true: Any, y_pred: Any, ignore_class: int | None = None, threshold: float = 0.5) -> Counts:
    """Areas per image and id of what was decided, background included.

    Args:
        y_true: class ids, integers (B, H, W) or (B, H, W, 1).
        y_pred: logits (B, H, W, C) of any floating type.
        ignore_class: the id of pixels that count nowhere.
        threshold: a probability above it is a person (C = 1 only).

    Returns:
        Counts of int64 (B, K), exact; K = 2 for binary logits. The sum of `truth` over K is an image's number of
        counted pixels; that of `intersection` is its number of right ones.

    Raises:
        ConfigError: `threshold` is no probability strictly between 0 and 1; or as `flatten_pixels`.
    """
    pixels = flatten_pixels(y_true, y_pred, ignore_class)
    predicted = predicted_ids(pixels.logits, threshold)
    size = pixels.num_ids
    # One pass: a pixel falls into the bin of its pair (true id, predicted id); what does not count falls into
    # one bin more, which is dropped. TensorFlow's GPU kernel refuses to run when determinism is asked for; as
    # it does not exist for int64, these counts are made on the CPU beside any GPU, and are exact at that.
    pairs = tf.where(pixels.counted, pixels.ids * size + predicted, size * size)
    bins = tf.raw_ops.DenseBincount(
        input=pairs, size=size * size + 1, weights=tf.constant([], tf.int64), binary_output=False
    )
    confusion = tf.reshape(bins[:, :-1], (-1, size, size))
    return Counts(
        intersection=tf.linalg.diag_part(confusion),
        truth=ops.sum(confusion, axis=2),
        predicted=ops.sum(confusion, axis=1),
    )


def reported(counts: Counts, num_classes: int) -> Counts:
    """Counts without the background's column in a binary problem: only the person class is scored."""
    return Counts(*(c[..., 1:] for c in counts)) if num_classes == 1 else counts


def one_hot_truth(pixels: Pixels) -> Any:
    """The truth as float32 (B, N, K): 1 at a pixel's id, all zeros where it does not count."""
    return tf.one_hot(tf.where(pixels.counted, pixels.ids, -1), pixels.num_ids, dtype=tf.float32)


def binary_as_two(logits: Any) -> Any:
    """A single logit x as (−x, x), (..., 2): σ of it is (background, person), precise at both ends."""
    return ops.concatenate([-logits, logits], axis=-1)


def probabilities(logits: Any) -> Any:
    """Probabilities (..., K) from logits (..., C): sigmoid for one logit (K = 2), softmax for more."""
    return ops.sigmoid(binary_as_two(logits)) if logits.shape[-1] == 1 else ops.softmax(logits, axis=-1)


def log_probabilities(logits: Any) -> Any:
    """Logarithm of `probabilities`, (..., K), finite for all finite logits that do not overflow."""
    if logits.shape[-1] == 1:
        return ops.log_sigmoid(binary_as_two(logits))
    return ops.log_softmax(logits, axis=-1)


def soft_counts(pixels: Pixels) -> Counts:
    """Areas per image and id with probabilities in place of decisions: Counts of float32 (B, K)."""
    truth = one_hot_truth(pixels)
    probability = probabilities(pixels.logits) * ops.cast(pixels.counted, "float32")[..., None]
    return Counts(
        intersection=ops.sum(truth * probability, axis=1),
        truth=ops.sum(truth, axis=1),
        predicted=ops.sum(probability, axis=1),
    )


def tversky(counts: Counts, alpha: float, beta: float, smooth: float = 0.0) -> Any:
    """(I + s) / (I + α (P − I) + β (T − I) + s): the Tversky index, in [0, 1].

    0 where the denominator is 0. A `smooth` s > 0, in pixels, softens the index of small regions; a perfect
    one stays 1.

    Args:
        counts: floating-point Counts of any shape.
        alpha: price of a false positive, at least 0.
        beta: price of a miss, at least 0.
        smooth: s, at least 0.
    """
    hit = counts.intersection
    priced = hit + alpha * (counts.predicted - hit) + beta * (counts.truth - hit)
    return tf.math.divide_no_nan(hit + smooth, priced + smooth)


def score(name: str, counts: Counts) -> Any:
    """A score of `TVERSKY_WEIGHTS` from integer counts: float64, NaN for the empty class.

    Args:
        name: "jaccard", "dice", "precision" or "recall".
        counts: Counts of integers, of any shape.
    """
    exact = Counts(*(ops.cast(c, "float64") for c in counts))
    index = tversky(exact, *TVERSKY_WEIGHTS[name])
    return ops.where(exact.truth + exact.predicted > 0, index, math.nan)


def accuracy(counts: Counts) -> Any:
    """Share of right pixels: float64 (...,) from counts (..., K) of all ids; NaN where no pixel counts."""
    return ops.cast(ops.sum(counts.intersection, axis=-1), "float64") / ops.cast(
        ops.sum(counts.truth, axis=-1), "float64"
    )


def mean_defined(values: Any) -> Any:
    """Mean over the last axis of what is not NaN; 1 where nothing is left (the rule for empty classes)."""
    defined = ops.logical_not(ops.isnan(values))
    number = ops.sum(ops.cast(defined, values.dtype), axis=-1)
    total = ops.sum(ops.where(defined, values, 0.0), axis=-1)
    return ops.where(number > 0, tf.math.divide_no_nan(total, number), 1.0)
