"""What a picture file claims about itself, read from its own bytes inside a TensorFlow graph.

Nothing is decoded and nothing is allocated by the claimed size: the readers step from segment to segment with small
slices of the content. Every position is an int64 scalar; bytes beyond the end of the content read as zero.

Sources: JPEG, ITU-T T.81 annex B and Exif 2.32; PNG, W3C PNG third edition; GIF89a; WebP, RFC 9649; BMP, the
BITMAPCOREHEADER and BITMAPINFOHEADER structures of Windows.
"""

from enum import IntEnum
from typing import NamedTuple

import tensorflow as tf

from kseg.serving.photo.scan import MAX_CHUNKS, big, byte_slice, find_chunk, leap_blocks, length_of, little, starts

MAX_SEGMENTS = 1024
"""JPEG segments before the first scan: an ICC profile or a maker's note of 16 MB takes 256."""

MAX_EXIF_ENTRIES = 256
"""Entries of the first EXIF directory that are looked at; cameras write some twenty."""

_WINDOW = 64


class Kind(IntEnum):
    """The format of a picture, by its first bytes."""

    NONE = 0
    JPEG = 1
    PNG = 2
    GIF = 3
    BMP = 4
    WEBP = 5


class Status(IntEnum):
    """What became of a picture."""

    OK = 0
    EMPTY = 1
    NOT_A_PICTURE = 2
    TOO_LARGE = 3
    CORRUPT = 4


class Header(NamedTuple):
    """What a file claims: int32 kind, int64 width and height (0 where unknown), int32 orientation 1..8 and status.

    The sides are those stored, before the orientation is applied. ``status`` is OK, EMPTY, NOT_A_PICTURE or CORRUPT.
    """

    kind: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    orientation: tf.Tensor
    status: tf.Tensor


class GifFrame(NamedTuple):
    """Where the first frame of a GIF lies: int64 scalars, ``found`` bool.

    ``at`` is the position of its image descriptor, ``transparent`` the colour index of its graphic control extension
    or -1.
    """

    found: tf.Tensor
    at: tf.Tensor
    transparent: tf.Tensor


@tf.autograph.experimental.do_not_convert
def read_header(content: tf.Tensor) -> Header:
    """The format, size and EXIF orientation that a file claims. ``content`` is a string scalar."""
    content = tf.ensure_shape(content, [])
    kind = picture_kind(content)
    readers = [lambda: _unknown(content), *(lambda r=r: r(content) for r in (_jpeg, _png, _gif, _bmp, _webp))]
    width, height, orientation, status = tf.switch_case(kind, readers)
    for value in (kind, width, height, orientation, status):
        value.set_shape([])
    return Header(kind, width, height, orientation, status)


def picture_kind(content: tf.Tensor) -> tf.Tensor:
    """The Kind of a file: int32 scalar."""
    start = byte_slice(content, 0, 12)
    # GIF87a and GIF89a only; TensorFlow takes any "GIF8"
    tests = (
        (Kind.JPEG, starts(start, b"\xff\xd8\xff")),
        (Kind.PNG, starts(start, b"\x89PNG\r\n\x1a\n")),
        (Kind.GIF, starts(start, b"GIF87a") | starts(start, b"GIF89a")),
        (Kind.BMP, starts(start, b"BM")),
        (Kind.WEBP, starts(start, b"RIFF") & starts(start[8:], b"WEBP")),
    )
    return tf.add_n([tf.where(test, int(kind), 0) for kind, test in tests])


def _status(good: tf.Tensor) -> tf.Tensor:
    return tf.where(good, int(Status.OK), int(Status.CORRUPT))


def _unknown(content: tf.Tensor) -> tuple[tf.Tensor, ...]:
    zero = tf.constant(0, tf.int64)
    status = tf.where(length_of(content) == 0, int(Status.EMPTY), int(Status.NOT_A_PICTURE))
    return zero, zero, tf.constant(1), status


def _jpeg(content: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Walks the segments up to the first scan, as libjpeg does: bytes that are no marker are passed over."""
    end = length_of(content)
    zero = tf.constant(0, tf.int64)

    def step(
        at: tf.Tensor, width: tf.Tensor, height: tf.Tensor, exif: tf.Tensor, exif_length: tf.Tensor, _: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        window = byte_slice(content, at, _WINDOW)
        marks = (window[:-1] == 0xFF) & (window[1:] != 0xFF) & (window[1:] != 0)
        first = tf.argmax(marks, output_type=tf.int64)
        marker = tf.where(tf.reduce_any(marks), window[first + 1], 0)
        after = tf.where(marker > 0, at + first + 2, at + _WINDOW - 1)  # the last byte may be the 0xFF of a marker
        alone = (marker <= 1) | ((marker >= 0xD0) & (marker <= 0xD7))  # TEM and RSTn carry no length
        body = byte_slice(content, after, 8)
        length = tf.where(alone, zero, big(body[:2]))
        frame = (marker >= 0xC0) & (marker <= 0xCF) & (marker != 0xC4) & (marker != 0xC8) & (marker != 0xCC)
        new = (marker == 0xE1) & (exif == 0) & starts(body[2:], b"Exif\0\0")
        scan = (marker == 0xDA) & (after + length <= end)
        over = (marker == 0xDA) | (marker == 0xD9) | (marker == 0xD8) | (~alone & (length < 2))
        return (
            tf.where(over, end, after + length),
            tf.where(frame, big(body[5:7]), width),
            tf.where(frame, big(body[3:5]), height),
            tf.where(new, after + 8, exif),
            tf.where(new, length - 8, exif_length),
            scan,
        )

    start = (tf.constant(2, tf.int64), zero, zero, zero, zero, tf.constant(False))
    _, width, height, exif, exif_length, scan = tf.while_loop(
        lambda at, *_: at < end, step, start, maximum_iterations=MAX_SEGMENTS, parallel_iterations=1
    )
    # a block of 8 x 8 pixels takes at least a bit: fewer are a claim without a body, which libjpeg would fill with grey
    enough = width * height <= end * 512
    return width, height, _orientation(content, exif, exif_length), _status(scan & (width + height > 0) & enough)


def _png(content: tf.Tensor) -> tuple[tf.Tensor, ...]:
    head = byte_slice(content, 8, 16)
    good = starts(head[4:], b"IHDR") & (length_of(content) >= 33)
    exif, exif_length = find_chunk(content, 8, b"eXIf", big_endian=True)
    width, height = (tf.where(good, big(head[i : i + 4]), 0) for i in (8, 12))
    return width, height, _orientation(content, exif, exif_length), _status(good)


def _gif(content: tf.Tensor) -> tuple[tf.Tensor, ...]:
    frame = gif_frame(content)
    screen, image = byte_slice(content, 6, 4), byte_slice(content, frame.at + 1, 8)
    # a first frame that is larger than the screen enlarges it, as Pillow has it
    sides = [
        tf.maximum(
            little(screen[i : i + 2]), tf.where(frame.found, little(image[i : i + 2]) + little(image[4 + i : 6 + i]), 0)
        )
        for i in (0, 2)
    ]
    return sides[0], sides[1], tf.constant(1), _status(frame.found)


def gif_frame(content: tf.Tensor) -> GifFrame:
    """Finds the first frame of a GIF, walking the extensions in front of it."""
    end = length_of(content)
    screen = byte_slice(content, 10, 1)[0]
    start = 13 + colour_table_bytes(screen)

    # one loop for records and their blocks, so that the bound holds for both together
    def step(at: tf.Tensor, blocks: tf.Tensor, _: tf.Tensor, transparent: tf.Tensor) -> tuple[tf.Tensor, ...]:
        head = byte_slice(content, at, 8)
        extension, image = ~blocks & (head[0] == 0x21), ~blocks & (head[0] == 0x2C)
        control = extension & (head[1] == 0xF9) & (head[2] >= 4)
        transparent = tf.where(control & (head[3] % 2 == 1), head[6], transparent)
        behind, ended = tf.cond(blocks, lambda: leap_blocks(content, at), lambda: (at + 2, tf.constant(False)))
        following = tf.where(image, at, tf.where(blocks | extension, behind, end))
        return following, (blocks & ~ended) | extension, image & (at + 10 < end), transparent

    at, _, found, transparent = tf.while_loop(
        lambda at, _, found, __: (at < end) & ~found,
        step,
        (start, tf.constant(False), tf.constant(False), tf.constant(-1, tf.int64)),
        maximum_iterations=MAX_CHUNKS,
        parallel_iterations=1,
    )
    return GifFrame(found, at, transparent)


def colour_table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """The bytes of the colour table that the flags of a GIF's screen or image descriptor announce: int64 scalar."""
    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags % 8), 0)


def _bmp(content: tf.Tensor) -> tuple[tf.Tensor, ...]:
    head = byte_slice(content, 14, 12)
    core = little(head[:4]) == 12
    width = tf.where(core, little(head[4:6]), little(head[4:8]))
    height = tf.where(core, little(head[6:8]), little(head[8:12]))
    height = tf.where(height >= 2**31, 2**32 - height, height)  # a negative height: rows from the top
    good = length_of(content) >= 26
    return tf.where(good, width, 0), tf.where(good, height, 0), tf.constant(1), _status(good)


def _webp(content: tf.Tensor) -> tuple[tf.Tensor, ...]:
    head = byte_slice(content, 0, 30)
    end, chunk = length_of(content), head[12:]
    extended, lossless, lossy = (starts(chunk, name) for name in (b"VP8X", b"VP8L", b"VP8 "))
    vp8 = lossy & starts(head[23:], b"\x9d\x01\x2a")
    vp8l = lossless & (head[20] == 0x2F)
    packed = little(head[21:25])  # 14 bits of width - 1, 14 bits of height - 1
    width = tf.where(
        extended, little(head[24:27]) + 1, tf.where(lossy, little(head[26:28]) % 2**14, packed % 2**14 + 1)
    )
    height = tf.where(
        extended, little(head[27:30]) + 1, tf.where(lossy, little(head[28:30]) % 2**14, packed // 2**14 % 2**14 + 1)
    )
    # libwebp decodes a file that lacks its last chunks; the size in front tells that something is missing
    good = (extended | vp8 | vp8l) & (end >= 25) & (little(head[4:8]) + 8 <= end)
    exif, exif_length = tf.cond(
        extended & (head[20] // 8 % 2 == 1),
        lambda: find_chunk(content, 12, b"EXIF", big_endian=False),
        lambda: (tf.constant(0, tf.int64), tf.constant(0, tf.int64)),
    )
    known = (extended | vp8 | vp8l) & (end >= 25)
    sides = [tf.where(known, side, 0) for side in (width, height)]
    return *sides, _orientation(content, exif, exif_length), _status(good)


def _orientation(content: tf.Tensor, position: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """The orientation in a block of EXIF: int32 scalar 1..8, 1 where it is missing or nonsense."""
    prefixed = starts(byte_slice(content, position, 6), b"Exif\0\0")  # some PNG and WebP writers keep JPEG's prefix
    position, length = (tf.where(prefixed, value + sign * 6, value) for value, sign in ((position, 1), (length, -1)))
    end = tf.minimum(position + length, length_of(content))
    head = byte_slice(content, position, 8)
    intel = starts(head, b"II*\0")
    valid = (position > 0) & (intel | starts(head, b"MM\0*"))

    def number(values: tf.Tensor) -> tf.Tensor:  # (..., bytes) -> (...), in the block's byte order
        weights = tf.constant([256**i for i in range(values.shape[-1])], tf.int64)
        return tf.reduce_sum(values * tf.where(intel, weights, weights[::-1]), axis=-1)

    directory = position + number(head[4:])
    count = tf.minimum(number(byte_slice(content, directory, 2)), tf.maximum(end - directory - 2, 0) // 12)
    entries = tf.reshape(byte_slice(content, directory + 2, 12 * MAX_EXIF_ENTRIES), [MAX_EXIF_ENTRIES, 12])
    short, long = number(entries[:, 8:10]), number(entries[:, 8:12])
    kinds = number(entries[:, 2:4])
    value = tf.where(kinds == 3, short, tf.where(kinds == 4, long, 0))
    usable = (
        (number(entries[:, :2]) == 0x0112)
        & (number(entries[:, 4:8]) == 1)
        & (tf.range(MAX_EXIF_ENTRIES, dtype=tf.int64) < count)
    )
    value = tf.where(valid & usable & (value >= 1) & (value <= 8), value, 0)
    found = tf.reduce_max(value)
    return tf.cast(tf.where(found > 0, found, 1), tf.int32)
