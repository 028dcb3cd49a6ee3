"""A photo's bytes to upright RGB pixels inside a TensorFlow graph, with a status in place of an exception.

One broken picture must not fail the batch it is served in: what may raise is guarded (``kseg.serving.photo.guard``).
"""

from typing import NamedTuple

import tensorflow as tf

from kseg.data.fitting import REDUCTIONS
from kseg.data.samples import View
from kseg.serving.fitting import reduction
from kseg.serving.photo.guard import guarded, no_pixels
from kseg.serving.photo.header import Header, Kind, Status, read_header
from kseg.serving.photo.raster import decode_bmp, decode_gif
from kseg.serving.photo.scan import byte_slice, length_of

RATIOS = (1, *REDUCTIONS)

FIRST_TURNED = 5
"""EXIF orientations from here on swap the sides."""

KIND_NAMES = ("unknown", "JPEG", "PNG", "GIF", "BMP", "WebP")


class Photo(NamedTuple):
    """uint8 ``pixels`` (h, w, 3), RGB, upright, whole or reduced, and the photo's own ``size``, int32 (height, width).

    Both are empty unless ``status`` (int32, a Status) is OK; ``message`` says why not.
    """

    pixels: tf.Tensor
    size: tf.Tensor
    status: tf.Tensor
    message: tf.Tensor


@tf.autograph.experimental.do_not_convert  # there is no Python control flow to convert
def decode_photo(content: tf.Tensor, max_pixels: int, view: View | None = None) -> Photo:
    """Decodes one JPEG, PNG, GIF (first frame), BMP or WebP (first frame); never raises.

    ``content`` is a string scalar. A picture that claims more than ``max_pixels`` is refused from its header, before
    anything is allocated. A JPEG is reduced to what a view needs (``kseg.data.fitting.reduction``). Alpha is dropped,
    16 bits a channel are cut to the upper 8, EXIF orientation is applied.
    Must run inside a ``tf.function``.
    """
    content = tf.ensure_shape(content, [])
    with tf.device("/CPU:0"):
        header = read_header(content)
        status = _refusal(header, max_pixels)
        sides = _turned_sides(header)
        choice = reduction(sides, view) if view else tf.constant(0)
        pixels = tf.cond(status == int(Status.OK), lambda: _decoded(content, header, choice), no_pixels)
        pixels = tf.ensure_shape(pixels, [None, None, 3])
        broken = (status == int(Status.OK)) & (tf.size(pixels) == 0)
        status = tf.where(broken, int(Status.CORRUPT), status)
        message = _message(content, header, status, max_pixels)
        size = tf.where(status == int(Status.OK), sides, 0)
        return Photo(_upright(pixels, header.orientation), size, status, message)


def _turned_sides(header: Header) -> tf.Tensor:
    """Height and width of the upright picture, int32 (2,); at least 1, even where nothing is known."""
    sides = tf.cast(tf.clip_by_value(tf.stack([header.height, header.width]), 1, 2**31 - 1), tf.int32)
    return tf.where(header.orientation < FIRST_TURNED, sides, sides[::-1])


def _refusal(header: Header, max_pixels: int) -> tf.Tensor:
    """The status by the header alone. A size is judged even where the rest of the header is broken."""
    known = header.width + header.height > 0
    # a side of 2**32 - 1 twice would overflow int64
    huge = tf.minimum(header.width, 2**31) * tf.minimum(header.height, 2**31) > max_pixels
    none = tf.minimum(header.width, header.height) == 0
    return tf.where(known & (huge | none), int(Status.TOO_LARGE), header.status)


def _decoded(content: tf.Tensor, header: Header, choice: tf.Tensor) -> tf.Tensor:
    """The pixels, not yet upright, of a picture of a known kind, or (0, 0, 3) where it is broken.

    ``choice``: by which of ``RATIOS`` a JPEG is reduced.
    """
    decoders = [
        lambda: _decode_jpeg(content, choice),
        lambda: guarded(lambda c: tf.io.decode_png(c, channels=3), content),
        lambda: decode_gif(content, header.width, header.height),
        lambda: decode_bmp(content, header.width, header.height),
        lambda: _decode_webp(content),
    ]
    pixels = tf.ensure_shape(tf.switch_case(header.kind - 1, decoders), [None, None, 3])
    # a decoder that sees another size than the header's reader would have slipped past the limit
    ratio = tf.where(header.kind == int(Kind.JPEG), tf.gather(tf.constant(RATIOS, tf.int64), choice), 1)
    agreed = tf.reduce_all(tf.shape(pixels, tf.int64)[:2] == -(-tf.stack([header.height, header.width]) // ratio))
    return tf.cond(agreed, lambda: pixels, no_pixels)


def _decode_jpeg(content: tf.Tensor, choice: tf.Tensor) -> tf.Tensor:
    """A JPEG, by the accurate DCT, which is what libjpeg does for Pillow; TensorFlow's default is the fast one."""

    def decode(ratio: int) -> tf.Tensor:
        return guarded(lambda c: tf.io.decode_jpeg(c, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"), content)

    return tf.switch_case(choice, [lambda ratio=ratio: decode(ratio) for ratio in RATIOS])


def _decode_webp(content: tf.Tensor) -> tf.Tensor:
    """The first frame of a WebP, alpha dropped.

    An animation without the alpha flag makes TensorFlow 2.21 write four channels into a buffer of three, so the flag
    is set and four channels are asked for, which its own check then guarantees.
    """
    flags = tf.cast(byte_slice(content, 20, 1)[0], tf.int32)
    animated = (tf.strings.substr(content, 12, 4) == b"VP8X") & (flags // 2 % 2 == 1)
    with_alpha = tf.constant([bytes([i | 0x10]) for i in range(256)])

    def first_frame() -> tf.Tensor:
        rest = tf.strings.substr(content, 21, 2**31 - 1)
        flagged = tf.strings.join([tf.strings.substr(content, 0, 20), tf.gather(with_alpha, flags), rest])
        return guarded(lambda c: tf.io.decode_image(c, channels=4, expand_animations=False), flagged)

    def still() -> tf.Tensor:
        # as many channels as there are: asking for three fails where there is alpha
        return guarded(lambda c: tf.io.decode_image(c, channels=0, expand_animations=False), content)

    return tf.cond(animated, first_frame, still)[..., :3]


def _upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Applies an EXIF orientation, 1..8."""

    def turned() -> tf.Tensor:
        return tf.transpose(pixels, [1, 0, 2])

    branches = [
        lambda: pixels,
        lambda: tf.reverse(pixels, [1]),  # ten times as fast as pixels[:, ::-1]
        lambda: tf.reverse(pixels, [0, 1]),
        lambda: tf.reverse(pixels, [0]),
        turned,
        lambda: tf.reverse(turned(), [1]),
        lambda: tf.reverse(turned(), [0, 1]),
        lambda: tf.reverse(turned(), [0]),
    ]
    return tf.ensure_shape(tf.switch_case(orientation - 1, branches), [None, None, 3])


def _message(content: tf.Tensor, header: Header, status: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """What is wrong, in English: string scalar, empty where the status is OK."""
    size = tf.strings.join([tf.strings.as_string(header.width), b" x ", tf.strings.as_string(header.height)])
    count = tf.strings.as_string(length_of(content))
    empty = tf.minimum(header.width, header.height) == 0
    advice = tf.where(empty, "each side must have at least 1", f"at most {max_pixels} are accepted")
    name = tf.gather(list(KIND_NAMES), header.kind)
    messages = {
        Status.OK: tf.constant(""),
        Status.EMPTY: tf.constant("the picture is empty: 0 bytes"),
        Status.NOT_A_PICTURE: tf.strings.join(
            ["the ", count, " bytes are no picture in a known format; JPEG, PNG, GIF, BMP and WebP are read"]
        ),
        Status.TOO_LARGE: tf.strings.join(["the picture claims ", size, " pixels; ", advice]),
        Status.CORRUPT: tf.strings.join(
            ["the ", name, " picture of ", count, " bytes is truncated, broken or of a variant that is not read"]
        ),
    }
    return tf.gather(tf.stack([messages[s] for s in Status]), status)
