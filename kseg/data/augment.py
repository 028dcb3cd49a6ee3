"""Random changes of a training sample: ``(picture, mask, seed) -> (picture, mask)``, always as a pair.

Every draw is a function of ``seed`` alone (TensorFlow's stateless random numbers), so that the same seed gives the
same sample on any machine, in any order. All are drawn at once, whether they are needed or not: switching one kind of
change on does not change the others, and one operation takes less time than many.
"""

from collections.abc import Callable
from enum import IntEnum

import tensorflow as tf

from kseg.settings import AugmentationSettings


class Draw(IntEnum):
    """Places among a sample's random numbers; part of what makes a run repeatable."""

    HORIZONTAL_FLIP = 0
    VERTICAL_FLIP = 1
    TRANSPOSE = 2
    SCALE = 3
    ROTATION = 4
    CENTRE_Y = 5
    CENTRE_X = 6
    BRIGHTNESS = 7
    CONTRAST = 8
    SATURATION = 9
    HUE = 10
    BLUR = 11


def augment(
    picture: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor, settings: AugmentationSettings, ignore_class: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """One random variant of a sample.

    ``picture`` uint8 (H, W, 3), ``mask`` uint8 (H, W), ``seed`` int64 (2,). The order is fixed: flips, then scale
    and rotation in one resampling, then colour, then blur. Pixels that come from outside the picture mirror it, and
    are ``ignore_class`` in the mask.
    """
    drawn = tf.random.stateless_uniform((len(Draw),), seed)
    picture, mask = _flip(picture, mask, drawn, settings)
    if settings.scale or settings.rotation:
        picture, mask = _warp(picture, mask, drawn, settings, ignore_class)
    picture = _recolour(picture, drawn, settings)
    if settings.blur:
        (picture,) = _sometimes(drawn[Draw.BLUR] < settings.blur, _blur, picture)
    return picture, mask


def _within(drawn: tf.Tensor, most: float) -> tf.Tensor:
    """From [0, 1) to [-most, most)."""
    return (2.0 * drawn - 1.0) * most


def _sometimes(
    happens: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor], *images: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """All of them changed, or none. Not ``tf.where``, which would compute the change also where it is not wanted."""
    changed: tuple[tf.Tensor, ...] = tf.cond(happens, lambda: tuple(map(change, images)), lambda: images)
    return changed


def _flip(
    picture: tf.Tensor, mask: tf.Tensor, drawn: tf.Tensor, settings: AugmentationSettings
) -> tuple[tf.Tensor, tf.Tensor]:
    changes: tuple[tuple[Draw, float, Callable[[tf.Tensor], tf.Tensor]], ...] = (
        (Draw.HORIZONTAL_FLIP, settings.horizontal_flip, lambda x: tf.reverse(x, [1])),
        (Draw.VERTICAL_FLIP, settings.vertical_flip, lambda x: tf.reverse(x, [0])),
        (Draw.TRANSPOSE, settings.transpose, lambda x: tf.experimental.numpy.swapaxes(x, 0, 1)),
    )
    channel = mask[..., None]  # with an axis of channels, reversing is several times as fast
    for draw, probability, change in changes:
        if probability:
            picture, channel = _sometimes(drawn[draw] < probability, change, picture, channel)
    return picture, channel[..., 0]


def _warp(
    picture: tf.Tensor, mask: tf.Tensor, drawn: tf.Tensor, settings: AugmentationSettings, ignore_class: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Enlarge or reduce, and turn, about a random point: bilinear for the picture, nearest for the mask."""
    factor = 1.0 + _within(drawn[Draw.SCALE], settings.scale)
    radians = settings.rotation * 3.141592653589793 / 180.0
    angle = _within(drawn[Draw.ROTATION], radians)
    size = tf.cast(tf.shape(mask), tf.float32)
    y, x = drawn[Draw.CENTRE_Y] * (size[0] - 1.0), drawn[Draw.CENTRE_X] * (size[1] - 1.0)
    # The inverse map, output pixel -> input pixel: turn and shrink about (x, y).
    cosine, sine = tf.cos(angle) / factor, tf.sin(angle) / factor
    shift_x = x - cosine * x + sine * y
    shift_y = y - sine * x - cosine * y
    transform = tf.stack([cosine, -sine, shift_x, sine, cosine, shift_y, 0.0, 0.0])[None]

    def resample(image: tf.Tensor, interpolation: str, mode: str, fill: float) -> tf.Tensor:
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None],
            transforms=transform,
            output_shape=tf.shape(mask),
            fill_value=fill,
            interpolation=interpolation,
            fill_mode=mode,
        )[0]

    # Of uint8, the operation would cut off what is behind the point: pictures would be darker by half a level.
    between = resample(tf.cast(picture, tf.float32), "BILINEAR", "REFLECT", 0.0)
    warped_picture = tf.cast(tf.round(between), tf.uint8)
    warped_mask = resample(mask[..., None], "NEAREST", "CONSTANT", float(ignore_class))[..., 0]
    return tf.ensure_shape(warped_picture, picture.shape), tf.ensure_shape(warped_mask, mask.shape)


def _recolour(picture: tf.Tensor, drawn: tf.Tensor, settings: AugmentationSettings) -> tf.Tensor:
    if not (settings.brightness or settings.contrast or settings.saturation or settings.hue):
        return picture
    colours = tf.cast(picture, tf.float32) / 255.0
    if settings.brightness:
        colours += _within(drawn[Draw.BRIGHTNESS], settings.brightness)
    if settings.contrast:
        factor = 1.0 + _within(drawn[Draw.CONTRAST], settings.contrast)
        colours = tf.image.adjust_contrast(colours, factor)
    colours = tf.clip_by_value(colours, 0.0, 1.0)  # what follows is defined for colours only
    if settings.saturation:
        factor = 1.0 + _within(drawn[Draw.SATURATION], settings.saturation)
        colours = tf.image.adjust_saturation(colours, factor)
    if settings.hue:
        colours = tf.image.adjust_hue(colours, _within(drawn[Draw.HUE], settings.hue))
    return tf.cast(tf.round(tf.clip_by_value(colours, 0.0, 1.0) * 255.0), tf.uint8)


def _blur(picture: tf.Tensor) -> tf.Tensor:
    """A 5x5 binomial blur, a Gaussian of deviation 1, over the mirrored picture."""
    row = tf.constant([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
    kernel = tf.tile(tf.tensordot(row, row, axes=0)[..., None, None], (1, 1, 3, 1))
    padded = tf.pad(tf.cast(picture, tf.float32), ((2, 2), (2, 2), (0, 0)), mode="REFLECT")
    blurred = tf.nn.depthwise_conv2d(padded[None], kernel, strides=(1, 1, 1, 1), padding="VALID")[0]
    return tf.cast(tf.round(blurred), tf.uint8)
