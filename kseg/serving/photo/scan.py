"""Reading numbers and stepping over chunks in a string scalar, inside a TensorFlow graph.

Every position is an int64 scalar; bytes beyond the end of the content read as zero, so nothing here can raise.
"""

import tensorflow as tf

MAX_CHUNKS = 4096
"""PNG and WebP chunks searched for EXIF, and records and uneven runs of data blocks of a GIF."""

_LEAP = 16384


def byte_slice(content: tf.Tensor, position: tf.Tensor | int, count: int) -> tf.Tensor:
    """``count`` bytes from a position: int64 (count,), 0..255, zero beyond the end."""
    position = tf.minimum(tf.cast(position, tf.int64), length_of(content))  # substr raises beyond the end
    part = tf.strings.substr(content, position, tf.constant(count, tf.int64))
    return tf.cast(tf.reshape(tf.io.decode_raw(part, tf.uint8, fixed_length=count), [count]), tf.int64)


def length_of(content: tf.Tensor) -> tf.Tensor:
    """The number of bytes: int64 scalar."""
    return tf.cast(tf.strings.length(content), tf.int64)


def little(values: tf.Tensor) -> tf.Tensor:
    """The unsigned number of some bytes, least significant first: int64 scalar."""
    return tf.reduce_sum(values * tf.constant([256**i for i in range(values.shape[0])], tf.int64))


def big(values: tf.Tensor) -> tf.Tensor:
    """The unsigned number of some bytes, most significant first: int64 scalar."""
    return little(values[::-1])


def starts(values: tf.Tensor, magic: bytes) -> tf.Tensor:
    """Whether some bytes begin with these: bool scalar."""
    return tf.reduce_all(values[: len(magic)] == tf.constant(list(magic), tf.int64))


def find_chunk(content: tf.Tensor, start: int, name: bytes, *, big_endian: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """The position and length of the first chunk of a name, of PNG (big endian) or RIFF; zeros where there is none."""
    end = length_of(content)
    zero = tf.constant(0, tf.int64)

    def step(at: tf.Tensor, found: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, ...]:
        head = byte_slice(content, at, 8)
        size, tag = (big(head[:4]), head[4:]) if big_endian else (little(head[4:]), head[:4])
        # a PNG chunk ends with a checksum, a RIFF chunk with a byte that makes its size even
        following = at + 8 + size + (4 if big_endian else size % 2)
        hit = starts(tag, name) & (following <= end)
        return tf.where(hit, end, following), tf.where(hit, at + 8, found), tf.where(hit, size, length)

    _, found, length = tf.while_loop(
        lambda at, *_: at + 8 <= end,
        step,
        (tf.constant(start, tf.int64), zero, zero),
        maximum_iterations=MAX_CHUNKS,
        parallel_iterations=1,
    )
    return found, length


def leap_blocks(content: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One step over GIF data blocks: the position behind, and whether the empty block that ends the run was passed.

    Blocks of equal size, which encoders write (255 bytes), are passed by the window, not one by one.
    """
    part = tf.strings.substr(content, tf.minimum(at, length_of(content)), tf.constant(_LEAP, tf.int64))
    window = tf.reshape(tf.io.decode_raw(part, tf.uint8, fixed_length=_LEAP), [_LEAP])
    size = tf.cast(window[0], tf.int64) + 1
    rows = _LEAP // size
    equal = tf.reshape(window[: rows * size], [rows, size])[:, 0] == window[0]
    run = tf.where(tf.reduce_all(equal), rows, tf.argmin(tf.cast(equal, tf.int32), output_type=tf.int64))
    ended = (window[0] == 0) & (at < length_of(content))
    return at + tf.where(ended, size, run * size), ended


def skip_blocks(content: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """The position behind the empty block that ends a run of GIF data blocks; beyond the content's end if none does."""
    end = length_of(content)
    at, ended = tf.while_loop(
        lambda at, ended: (at < end) & ~ended,
        lambda at, _: leap_blocks(content, at),
        (position, tf.constant(False)),
        maximum_iterations=MAX_CHUNKS,
        parallel_iterations=1,
    )
    return tf.where(ended, at, end + 1)
