import numpy as np
import pytest
import tensorflow as tf

from kseg.data.augment import augment
from kseg.settings import AugmentationSettings

IGNORE = 255
SIZE = 32


def sample(seed=0):
    """A picture whose red channel is its mask times 50, so that the two can be compared after any move."""
    mask = np.random.default_rng(seed).integers(0, 4, (SIZE // 4, SIZE // 4), np.uint8).repeat(4, 0).repeat(4, 1)
    return np.dstack([mask * 50, mask * 0 + 30, mask * 0 + 100]).astype(np.uint8), mask


def run(number, picture=None, mask=None, **settings):
    if picture is None:
        picture, mask = sample()
    settings = AugmentationSettings(**({"horizontal_flip": 0.0} | settings))
    seed = tf.constant([number, 1], tf.int32)
    augmented = augment(tf.constant(picture), tf.constant(mask), seed, settings, IGNORE)
    return augmented[0].numpy(), augmented[1].numpy()


def test_nothing_changes_when_everything_is_off():
    picture, mask = run(0)
    np.testing.assert_array_equal(picture, sample()[0])
    np.testing.assert_array_equal(mask, sample()[1])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("horizontal_flip", lambda x: x[:, ::-1]),
        ("vertical_flip", lambda x: x[::-1]),
        ("transpose", lambda x: x.swapaxes(0, 1)),
    ],
)
def test_flips_happen_as_often_as_said_to_both_alike(name, change):
    happened = 0
    for number in range(200):
        picture, mask = run(number, **{name: 0.3})
        np.testing.assert_array_equal(picture[..., 0], mask * 50)
        changed = not np.array_equal(mask, sample()[1])
        np.testing.assert_array_equal(mask, change(sample()[1]) if changed else sample()[1])
        happened += changed
    assert 35 <= happened <= 85  # 60 expected; four standard deviations are 26
    np.testing.assert_array_equal(run(0, **{name: 1.0})[1], change(sample()[1]))


def test_the_same_seed_gives_the_same_sample_and_another_another():
    everything = {
        "horizontal_flip": 0.5, "vertical_flip": 0.5, "transpose": 0.5, "blur": 0.5, "brightness": 0.3,
        "contrast": 0.3, "saturation": 0.3, "hue": 0.1, "scale": 0.4, "rotation": 40.0,
    }  # fmt: skip
    first, again, other = (run(number, **everything) for number in (5, 5, 6))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert first[0].dtype == first[1].dtype == np.uint8
    assert first[0].shape == (SIZE, SIZE, 3)


def test_one_change_does_not_shift_the_draws_of_another():
    flips = [np.array_equal(run(number, horizontal_flip=0.5)[1], sample()[1]) for number in range(30)]
    with_colour = [
        np.array_equal(run(number, horizontal_flip=0.5, brightness=0.2, vertical_flip=0.0)[1], sample()[1])
        for number in range(30)
    ]
    assert flips == with_colour


@pytest.mark.parametrize("settings", [{"rotation": 180.0}, {"scale": 0.5}, {"scale": 0.5, "rotation": 30.0}])
def test_picture_and_mask_are_warped_together(settings):
    """Smooth discs, so that bilinear and nearest agree off the edges; what is from outside is ignored."""
    y, x = np.mgrid[:64, :64]
    mask = ((y - 40) ** 2 + (x - 20) ** 2 < 200).astype(np.uint8)
    picture = np.repeat(mask[..., None] * 200, 3, axis=2)
    moved = 0
    for number in range(20):
        new_picture, new_mask = run(number, picture, mask, **settings)
        inside = new_mask != IGNORE
        disagree = (new_picture[..., 0] > 100) != (new_mask == 1)
        assert (disagree & inside).sum() <= 0.02 * 64 * 64
        assert set(np.unique(new_mask)) <= {0, 1, IGNORE}
        moved += not np.array_equal(new_mask, mask)
    assert moved >= 18


def test_enlarging_needs_no_outside():
    mask = np.ones((SIZE, SIZE), np.uint8)
    for number in range(20):
        new = run(number, sample()[0], mask, scale=0.5)[1]
        enlarged = (new == 1).all()
        reduced = (new == IGNORE).any()
        assert enlarged != reduced


def test_brightness_adds_within_its_bounds():
    grey = np.full((8, 8, 3), 100, np.uint8)
    values = [int(run(number, grey, grey[..., 0], brightness=0.2)[0][0, 0, 0]) for number in range(100)]
    assert 49 <= min(values) < 60  # 100 - 0.2 * 255 = 49
    assert 140 < max(values) <= 151


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue", "blur"])
def test_colour_and_blur_leave_the_mask_alone(name):
    picture, mask = run(3, **{name: 0.5 if name != "blur" else 1.0})
    np.testing.assert_array_equal(mask, sample()[1])
    assert not np.array_equal(picture, sample()[0])


def test_blur_keeps_a_flat_picture_and_is_binomial_on_a_dot():
    flat = np.full((9, 9, 3), 77, np.uint8)
    np.testing.assert_array_equal(run(0, flat, flat[..., 0], blur=1.0)[0], flat)
    dot = np.zeros((9, 9, 3), np.uint8)
    dot[4, 4] = 255
    blurred = run(0, dot, dot[..., 0], blur=1.0)[0][..., 0]
    assert blurred[4, 4] == round(255 * 36 / 256)
    assert blurred[4, 2] == round(255 * 6 / 256)
    assert blurred[2, 2] == round(255 * 1 / 256)


@pytest.mark.parametrize("settings", [{"scale": 0.3}, {"rotation": 30.0}])
def test_a_warp_neither_darkens_nor_brightens(settings):
    """Of a picture and its negative, what one loses the other gains; were levels cut off, both would lose."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for number in range(5):
        warped, negative = (run(number, one, one[..., 0], **settings)[0] for one in (picture, 255 - picture))
        assert not np.array_equal(warped, picture)
        sums = warped.astype(int) + negative
        assert np.abs(sums - 255).max() <= 1  # where the level is half of one
        assert abs(sums.mean() - 255) < 0.01
