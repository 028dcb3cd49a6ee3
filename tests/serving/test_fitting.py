import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.data import fitting as reference
from kseg.serving import fitting

SIZE = 64, 96
SIDE = st.integers(1, 200)


def levels(rows):
    """Logits to grey levels, and the number of those above zero: what a caller might do with a strip."""
    return (
        tf.cast(tf.clip_by_value(tf.round(128 + 32 * rows[..., 0]), 0, 255), tf.uint8),
        tf.math.count_nonzero(rows[..., 0] > 0, dtype=tf.int64)[None],
    )


def in_graph(resize):
    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([*SIZE, 2])])
    def fit_and_restore(picture, logits):
        photo = tf.shape(picture)[:2]
        box = fitting.place(photo, SIZE, resize)
        return box, fitting.fit_picture(picture, SIZE, box), *fitting.restore_in_strips(logits, photo, box, levels)

    return fit_and_restore


GRAPHS = {resize: in_graph(resize) for resize in ("stretch", "pad")}


def compare(height, width, resize):
    dice = np.random.default_rng(height * 1000 + width)
    picture = dice.integers(0, 256, (height, width, 3), np.uint8)
    logits = dice.normal(size=(*SIZE, 2)).astype(np.float32)
    box, fitted, restored, count = GRAPHS[resize](picture, logits)
    expected_box = reference.place((height, width), SIZE, resize)
    assert tuple(box.numpy()) == expected_box
    expected = reference.fit_picture(picture, SIZE, expected_box)
    # a half is rounded up or to even, as it comes in OpenCV; where one side shrinks and one grows, twice
    difference = np.abs(fitted.numpy().astype(int) - expected)
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.3
    expected = reference.restore(logits, (height, width), expected_box)[..., 0]
    np.testing.assert_allclose(restored.numpy(), np.clip(128 + 32 * expected, 0, 255), atol=0.51)
    assert abs(int(count[0]) - (expected > 0).sum()) <= 1e-3 * expected.size


@pytest.mark.parametrize("resize", GRAPHS)
@given(height=SIDE, width=SIDE)
@settings(deadline=None, max_examples=40)
def test_the_same_as_outside_the_graph(resize, height, width):
    compare(height, width, resize)


@pytest.mark.parametrize("resize", GRAPHS)
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (700, 1), (64, 96), (640, 960), (479, 641)])
def test_sizes_at_the_border(resize, size):
    compare(*size, resize)


@pytest.mark.parametrize("values", [1, 500, 5000])
def test_strips_leave_no_seam(values, monkeypatch):
    monkeypatch.setattr(fitting, "STRIP_VALUES", values)
    logits = np.random.default_rng(5).normal(size=(*SIZE, 2)).astype(np.float32)
    picture = np.zeros((83, 120, 3), np.uint8)
    _, _, restored, count = in_graph("stretch")(picture, logits)
    _, _, whole, whole_count = GRAPHS["stretch"](picture, logits)
    assert restored.shape == (83, 120)
    np.testing.assert_allclose(restored.numpy().astype(int), whole, atol=1)
    assert abs(int(count[0]) - int(whole_count[0])) <= 2
