"""``kseg.data.fitting`` inside a TensorFlow graph, for sizes that are known only when a photo comes."""

from collections.abc import Callable

import tensorflow as tf

from kseg.data.fitting import FINE, REDUCTIONS
from kseg.data.samples import View

Finish = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

STRIP_VALUES = 2**22
"""Logits restored at a time: a photo of 50 megapixels is answered strip by strip, in 16 MB and not in 200."""


def place(photo: tf.Tensor, size: tuple[int, int], resize: str) -> tf.Tensor:
    """Where a photo of int32 (height, width) comes to lie: int32 (top, left, height, width)."""
    if resize == "stretch":
        return tf.constant([0, 0, *size])
    whole, sides = tf.constant(size), tf.cast(photo, tf.float64)
    factor = tf.reduce_min(tf.cast(whole, tf.float64) / sides)
    inner = tf.minimum(whole, tf.maximum(1, tf.cast(tf.round(sides * factor), tf.int32)))
    return tf.concat([(whole - inner) // 2, inner], axis=0)


def reduction(photo: tf.Tensor, view: View) -> tf.Tensor:
    """Which of ``(1, *REDUCTIONS)`` a JPEG of int32 (height, width) is to be reduced by, by its place: int32 scalar."""
    inner = place(photo, *view)[2:]
    fits = [
        tf.reduce_all((photo // divisor >= inner) & (FINE * inner * (-photo % divisor) <= photo))
        for divisor in REDUCTIONS
    ]
    return tf.where(tf.reduce_any(fits), tf.argmax(fits, output_type=tf.int32) + 1, 0)


def fit_picture(pixels: tf.Tensor, size: tuple[int, int], box: tf.Tensor) -> tf.Tensor:
    """uint8 (h, w, 3) in its box, and black around it: uint8 (*size, 3).

    Averaged over areas along a side that shrinks, then linear along one that grows; rounded after each, as pixels are.
    """
    inner = box[2:]
    smaller = tf.minimum(inner, tf.shape(pixels)[:2])
    # a half goes up, as in OpenCV where two by two pixels become one: there, every fourth average ends in a half
    averaged = tf.cast(tf.raw_ops.ResizeArea(images=pixels[None], size=smaller) + 0.5, tf.uint8)
    grown = tf.cond(
        tf.reduce_all(smaller == inner),
        lambda: averaged,
        lambda: tf.cast(
            tf.round(tf.raw_ops.ResizeBilinear(images=averaged, size=inner, half_pixel_centers=True)), tf.uint8
        ),
    )
    padded = tf.image.pad_to_bounding_box(grown, box[0], box[1], *size)
    return tf.ensure_shape(padded[0], [*size, 3])


def restore_in_strips(
    logits: tf.Tensor, photo: tf.Tensor, box: tf.Tensor, finish: Finish
) -> tuple[tf.Tensor, tf.Tensor]:
    """The network's logits, float32 (H, W, C), at the photo's own int32 (height, width), linear between centres.

    They are needed nowhere as a whole, so they never are: of a strip of rows, float32 (rows, width, C), ``finish``
    makes uint8 (rows, width) and some int64 counts. Returns all strips below one another, and the counts' sums.
    """
    inner = logits[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
    height = tf.maximum(1, STRIP_VALUES // (photo[1] * logits.shape[-1]))
    count = -(-photo[0] // height)

    def step(
        index: tf.Tensor, strips: tf.TensorArray, totals: tf.Tensor
    ) -> tuple[tf.Tensor, tf.TensorArray, tf.Tensor]:
        top, bottom = index * height, tf.minimum(photo[0], (index + 1) * height)
        # the resizing made for whole pictures takes a third of the time
        rows = tf.cond(count == 1, lambda: _whole(inner, photo), lambda: _rows(inner, photo, top, bottom))
        strip, counts = finish(rows)
        return index + 1, strips.write(index, strip), totals + counts

    strips = tf.TensorArray(tf.uint8, count, infer_shape=False, element_shape=[None, None])
    start = tf.constant(0), strips, tf.constant(0, tf.int64)
    shapes = tf.TensorShape([]), tf.TensorShape(None), tf.TensorShape(None)
    _, strips, totals = tf.while_loop(lambda index, *_: index < count, step, start, shapes, parallel_iterations=1)
    return strips.concat(), totals


def _whole(inner: tf.Tensor, photo: tf.Tensor) -> tf.Tensor:
    """float32 (h, w, C) enlarged or reduced to ``photo``."""
    return tf.raw_ops.ResizeBilinear(images=inner[None], size=photo, half_pixel_centers=True)[0]


def _rows(inner: tf.Tensor, photo: tf.Tensor, top: tf.Tensor, bottom: tf.Tensor) -> tf.Tensor:
    """Rows ``top`` to ``bottom`` of what ``_whole`` would make."""
    edged = tf.pad(inner, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")  # centres beyond the outermost take their value
    sides = tf.cast(tf.shape(inner)[:2], tf.float32)
    scale = sides / tf.cast(photo, tf.float32)
    first = (tf.cast(tf.stack([top, 0]), tf.float32) + 0.5) * scale + 0.5
    last = (tf.cast(tf.stack([bottom - 1, photo[1] - 1]), tf.float32) + 0.5) * scale + 0.5
    corners = tf.concat([first, last], axis=0) / tf.tile(sides + 1, [2])
    size = tf.stack([bottom - top, photo[1]])
    return tf.image.crop_and_resize(edged[None], corners[None], [0], size)[0]
