import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kseg.models.int8_tensors import Int8, concatenated, convolve, to_int8

DRAWN = np.random.default_rng(7)


def in_graph(function, *values):
    """The operation exists in graphs only."""
    return [result.numpy() for result in tf.function(function, autograph=False)(*map(tf.constant, values))]


def correlate(x, kernel, strides, padding):
    """(H, W, C), (h, w, C, F) -> (H', W', F) in float64, position by position."""
    height, width = kernel.shape[:2]
    if padding == "SAME":
        above, left = (height - 1) // 2, (width - 1) // 2
        x = np.pad(x, ((above, height - 1 - above), (left, width - 1 - left), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(0, 1))[:: strides[0], :: strides[1]]
    return np.einsum("ijchw,hwcf->ijf", windows, kernel)


@given(
    arrays(np.float32, (1, 2, 3, 4), elements=st.floats(-50, 50, width=32)),
    st.floats(0.125, 20, width=32),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_the_nearest_level(values, limit, signed):
    eight = to_int8(tf.constant(values), limit, signed)
    levels = 127 if signed else 255
    step = limit / levels
    assert eight.stored.dtype == (tf.qint8 if signed else tf.quint8)
    np.testing.assert_allclose(eight.steps, np.full(4, step), rtol=1e-6)
    inside = np.clip(values, -limit if signed else 0, limit)
    np.testing.assert_allclose(eight.real(), inside, rtol=0, atol=0.5 * step + 1e-5 * limit)
    np.testing.assert_array_equal(eight.real().numpy()[values == 0], 0)


def test_maps_of_zeros():
    eight = to_int8(tf.zeros([1, 2, 2, 3]), 0.0, signed=False)
    np.testing.assert_array_equal(eight.real(), np.zeros([1, 2, 2, 3]))


def test_channels_keep_their_limits_side_by_side():
    coarse, fine = (DRAWN.uniform(0, top, (1, 4, 5, 2)).astype(np.float32) for top in (100, 1))
    both = concatenated([to_int8(tf.constant(coarse), 100, False), to_int8(tf.constant(fine), 1, False)])
    difference = np.abs(both.real() - np.concatenate([coarse, fine], axis=-1)).max(axis=(0, 1, 2))
    assert (difference <= np.array([100, 100, 1, 1]) / 255 * 0.501).all()


def drawn(shape, limits, signed):
    """Levels, and what they stand for: float64."""
    kind, levels = (np.int8, 127) if signed else (np.uint8, 255)
    stored = DRAWN.integers(-levels if signed else 0, levels, shape, endpoint=True).astype(kind)
    return stored, stored * (np.float64(limits) / levels)


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("size", "strides", "padding"),
    [(3, (1, 1), "SAME"), (3, (2, 2), "VALID"), (1, (2, 2), "VALID"), (2, (1, 1), "VALID")],
)
def test_a_convolution_of_what_the_levels_stand_for(size, strides, padding, signed, added):
    limits = DRAWN.uniform(0.5, 4, 16).astype(np.float32)
    stored, x = drawn((2, 12, 11, 16), limits, signed)
    kernel = DRAWN.normal(0, 0.1, (size, size, 16, 32)).astype(np.float32)
    bias = DRAWN.normal(0, 0.3, 32).astype(np.float32)
    # The kernel as it is rounded: with the channels' limits taken in, to 127ths of the largest of every output.
    scaled = kernel * (limits / limits.max())[:, None]
    widest = np.abs(scaled).max(axis=(0, 1, 2))
    rounded = np.rint(scaled / widest * 127) * widest / 127 / (limits / limits.max())[:, None]
    expected = np.stack([correlate(picture, rounded, strides, padding) for picture in x]) + bias
    limit = float(np.abs(expected).max())
    more, summand = drawn(expected.shape, 1.5, signed=False) if added else (np.uint8(0), 0)

    def run(stored, more):
        eight = Int8(tf.bitcast(stored, tf.qint8 if signed else tf.quint8), limits)
        other = Int8(tf.bitcast(more, tf.quint8), np.full(32, 1.5, np.float32)) if added else None
        options = {"strides": strides, "padding": padding}
        result = convolve(eight, kernel, bias, limit, relu=True, added=other, **options)
        if added:
            return result.real(), other.real()
        return result.real(), convolve(eight, kernel, bias, limit, **options).real()

    found, second = in_graph(run, stored, more)
    np.testing.assert_allclose(found, np.clip(expected + summand, 0, limit), rtol=0, atol=1.01 * limit / 255)
    if added:  # it is left as it was, though the sum may be computed in its place
        np.testing.assert_allclose(second, summand, rtol=1e-6)
    else:
        np.testing.assert_allclose(second, np.clip(expected, -limit, limit), rtol=0, atol=1.01 * limit / 127)


def test_kernels_and_maps_of_zeros():
    def run(x):
        eight = to_int8(x, 0.0, signed=False)
        return [convolve(eight, np.zeros((1, 1, 16, 16), np.float32), np.ones(16, np.float32), 1.0, relu=True).real()]

    (found,) = in_graph(run, np.zeros((1, 3, 3, 16), np.float32))
    np.testing.assert_allclose(found, 1, rtol=0.01)
