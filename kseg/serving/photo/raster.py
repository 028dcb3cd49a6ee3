"""GIF and BMP pixels by TensorFlow operations, where TensorFlow's own decoders are not fit for strangers' files.

``tf.io.decode_bmp`` takes palette indices for grey levels, reads no 1, 4 and 16 bit files and refuses trailing bytes.
``tf.io.decode_gif`` decodes every frame, sizes its result by the frames and not by the screen that the header claims,
and looks colours up without knowing the length of the table. Here only the first frame's data go to it, in a file
written around them whose colour table is the grey ramp, so that what comes back are the indices.
"""

import numpy as np
import tensorflow as tf

from kseg.serving.photo.guard import guarded, no_pixels
from kseg.serving.photo.header import colour_table_bytes, gif_frame
from kseg.serving.photo.scan import byte_slice, length_of, little, skip_blocks

_GREY_RAMP = bytes(i for level in range(256) for i in (level,) * 3)
_MASKS_555 = np.array([0x7C00, 0x3E0, 0x1F], np.int64)  # red, green, blue
_MASKS_565 = np.array([0xF800, 0x7E0, 0x1F], np.int64)
_BYTE_MASKS = np.array([0xFF, 0xFF00, 0xFF0000, 0xFF000000], np.int64)
_MASKS_888 = np.array([0xFF0000, 0xFF00, 0xFF], np.int64)


def decode_gif(content: tf.Tensor, width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    """The first frame on a screen of int64 ``width`` and ``height``: uint8 (H, W, 3), alpha dropped.

    What the frame leaves free has its transparent colour, or the first colour, as in Pillow. (0, 0, 3)
    when the data are broken.
    """
    frame = gif_frame(content)
    image = byte_slice(content, frame.at + 1, 9)
    left, top, columns, rows = (little(image[i : i + 2]) for i in (0, 2, 4, 6))
    table = frame.at + 10
    data = table + colour_table_bytes(image[8])
    end = skip_blocks(content, data + 1)
    whole = frame.found & (end <= length_of(content))
    size = tf.strings.substr(content, tf.minimum(frame.at + 5, length_of(content)), tf.constant(4, tf.int64))
    body = tf.strings.substr(content, tf.where(whole, data, 0), tf.where(whole, end - data, 0))
    # interlaced or not is all that is kept of the descriptor's flags
    flags = tf.where(image[8] // 64 % 2 == 1, b"\x40", b"\x00")
    single = tf.strings.join([b"GIF89a", size, b"\xf7\0\0", _GREY_RAMP, b",\0\0\0\0", size, flags, body, b";"])
    indices = guarded(_decode_image, single)[..., 0]
    complete = tf.reduce_all(tf.shape(indices, tf.int64) == tf.stack([rows, columns]))

    def screen() -> tf.Tensor:
        room = [[top, height - top - rows], [left, width - left - columns]]
        filling = tf.cast(tf.maximum(frame.transparent, 0), tf.uint8)
        spread = tf.pad(indices, room, constant_values=filling)
        return tf.gather(_gif_colours(content, image[8], table), tf.cast(spread, tf.int32))

    return tf.cond(whole & complete, screen, no_pixels)


def _decode_image(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(content, channels=3, expand_animations=False)


def _gif_colours(content: tf.Tensor, flags: tf.Tensor, local: tf.Tensor) -> tf.Tensor:
    """The colours of a frame, its own or else the screen's: uint8 (256, 3); the grey ramp where there are none."""
    screen = byte_slice(content, 10, 1)[0]
    own = flags >= 128
    count = colour_table_bytes(tf.where(own, flags, screen)) // 3
    table = tf.reshape(byte_slice(content, tf.where(own, local, 13), 768), [256, 3])
    index = tf.range(256, dtype=tf.int64)[:, None]
    return tf.cast(tf.where(index < count, table, tf.where(count == 0, index, 0)), tf.uint8)


def decode_bmp(content: tf.Tensor, width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    """An uncompressed BMP of 1, 4, 8, 16, 24 or 32 bits: uint8 (H, W, 3), alpha dropped.

    ``width`` and ``height`` are those of the header, int64. (0, 0, 3) when the pixels are not all there, and for run
    lengths and unusual masks.
    """
    head = byte_slice(content, 0, 66)
    header = little(head[14:18])
    core = header == 12
    bits = tf.where(core, little(head[24:26]), little(head[28:30]))
    compression = tf.where(~core, little(head[30:34]), 0)
    masks = tf.stack([little(head[i : i + 4]) for i in (54, 58, 62)])  # red, green, blue
    upside_down = ~core & (little(head[22:26]) >= 2**31)
    stride = (width * bits + 31) // 32 * 4
    palette_at = 14 + header
    entry = tf.where(core, tf.constant(3, tf.int64), 4)
    colours = tf.where(~core, little(head[46:50]), 0)
    colours = tf.where(colours > 0, colours, tf.bitwise.left_shift(tf.constant(1, tf.int64), tf.minimum(bits, 16)))
    start = little(head[10:14])
    start = tf.where((bits <= 8) & (start == palette_at), start + entry * colours, start)  # as Pillow has it
    allowed = (compression == 0) | ((compression == 3) & ((bits == 16) | (bits == 32)))
    known = core | tf.reduce_any(header == tf.constant([40, 52, 56, 64, 108, 124], tf.int64))
    depths = tf.constant([1, 4, 8, 16, 24, 32], tf.int64)
    whole = (start >= palette_at) & (start + stride * height <= length_of(content))
    masks = tf.where(compression == 3, masks, tf.where(bits == 16, _MASKS_555, _MASKS_888))
    good = allowed & known & whole & tf.reduce_any(bits == depths) & ((bits < 16) | _usual(masks, bits))

    def read() -> tf.Tensor:
        body = tf.strings.substr(content, start, stride * height)
        lines = tf.reshape(tf.io.decode_raw(body, tf.uint8), [height, stride])
        lines = tf.cond(upside_down, lambda: lines, lambda: tf.reverse(lines, [0]))
        palette = _bmp_palette(content, palette_at, entry, colours)
        readers = [
            *(lambda n=n: tf.gather(palette, _indices(lines, width, n)) for n in (1, 4, 8)),
            lambda: _from_16_bits(lines, width, masks),
            lambda: tf.reverse(tf.reshape(lines[:, : width * 3], [height, width, 3]), [2]),
            lambda: _from_32_bits(lines, width, masks),
        ]
        pixels = tf.switch_case(tf.argmax(bits == depths, output_type=tf.int32), readers)
        return tf.ensure_shape(pixels, [None, None, 3])

    return tf.cond(good, read, no_pixels)


def _usual(masks: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Whether the masks are of 5, 5 or 6, and 5 bits, or of whole bytes: bool scalar."""
    short = tf.reduce_all(masks == _MASKS_555) | tf.reduce_all(masks == _MASKS_565)
    return tf.where(bits == 16, short, tf.reduce_all(tf.reduce_any(masks[:, None] == _BYTE_MASKS, axis=1)))


def _bmp_palette(content: tf.Tensor, position: tf.Tensor, entry: tf.Tensor, colours: tf.Tensor) -> tf.Tensor:
    """uint8 (256, 3), RGB, from blue, green, red and, but for the oldest header, a byte of filling."""
    raw = byte_slice(content, position, 1024)
    table = tf.where(entry == 3, tf.pad(tf.reshape(raw[:768], [256, 3]), [[0, 0], [0, 1]]), tf.reshape(raw, [256, 4]))
    index = tf.range(256, dtype=tf.int64)[:, None]
    return tf.cast(tf.where(index < colours, table[:, 2::-1], 0), tf.uint8)


def _indices(lines: tf.Tensor, width: tf.Tensor, bits: int) -> tf.Tensor:
    """int32 (H, W) from rows of bytes, the first pixel in the highest bits."""
    shifts = tf.constant(list(range(8 - bits, -1, -bits)), tf.uint8)
    spread = tf.bitwise.bitwise_and(
        tf.bitwise.right_shift(lines[..., None], shifts), tf.constant(2**bits - 1, tf.uint8)
    )
    return tf.cast(tf.reshape(spread, [tf.shape(lines)[0], -1])[:, :width], tf.int32)


def _from_16_bits(lines: tf.Tensor, width: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """uint8 (H, W, 3) from 5, 5 or 6, and 5 bits a channel."""
    pairs = tf.cast(tf.reshape(lines[:, : width * 2], [-1, width, 2]), tf.int32)
    values = pairs[..., 0] + 256 * pairs[..., 1]
    green = tf.where(masks[1] == _MASKS_565[1], 64, 32)
    channels = ((values // 32 // green % 32, 31), (values // 32 % green, green - 1), (values % 32, 31))
    return tf.stack([tf.cast(value * 255 // highest, tf.uint8) for value, highest in channels], axis=-1)


def _from_32_bits(lines: tf.Tensor, width: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """uint8 (H, W, 3) where each channel is one of the four bytes."""
    quads = tf.reshape(lines[:, : width * 4], [-1, width, 4])
    return tf.gather(quads, tf.argmax(masks[:, None] == _BYTE_MASKS, axis=1), axis=-1)
