"""The three joins: sizes and parameters by hand, what they are made of, and what reaches their output."""

import math

import cv2
import keras
import numpy as np
import pytest

from kseg.models.decoder import JOINS, begin_as_interpolation, decode, default_widths

CHANNELS = (64, 64, 128, 256, 512)


def decoder(join, channels=CHANNELS, widths=None):
    features = [keras.Input((None, None, count), name=f"f{i}") for i, count in enumerate(channels)]
    return keras.Model(features, decode(join, features, widths or default_widths(join, features)))


def maps(channels=CHANNELS, size=(32, 64), seed=0):
    """Random features, as an encoder gives them for an image of this size."""
    generator = np.random.default_rng(seed)
    sides = [(size[0] >> level, size[1] >> level) for level in range(1, 6)]
    return [
        generator.normal(size=(1, *side, count)).astype(np.float32) for side, count in zip(sides, channels, strict=True)
    ]


def step_parameters(model, step):
    variables = [v for v in model.trainable_variables if v.path.startswith(f"decoder{step}_")]
    return sum(math.prod(v.shape) for v in variables)


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("channels", [CHANNELS, (64, 256, 512, 1024, 2048)])
def test_five_steps_lead_back_to_full_size(join, channels):
    output = decoder(join, channels)(maps(channels))
    assert output.shape == (1, 32, 64, 16)


@pytest.mark.parametrize(
    ("join", "first", "last"),
    [  # kernel * kernel * in * out, and 2 * out for a BatchNorm
        (
            "unet",
            (4 * 512 * 256 + 512) + (9 * (256 + 256) * 256 + 512) + (9 * 256 * 256 + 512),
            (4 * 32 * 16 + 32) + 2 * (9 * 16 * 16 + 32),
        ),
        (
            "linknet",
            (512 * 128 + 256) + (16 * 128 * 128 + 256) + (128 * 256 + 512),
            (64 * 16 + 32) + (16 * 16 * 16 + 32),
        ),
        (
            "combined",
            (512 * 128 + 256) + (16 * 128 * 128 + 256) + (9 * (128 + 256) * 256 + 512),
            (32 * 16 + 32) + (16 * 16 * 16 + 32),
        ),
    ],
)
def test_parameters_by_hand(join, first, last):
    model = decoder(join)
    assert step_parameters(model, 1) == first
    assert step_parameters(model, 5) == last


@pytest.mark.parametrize("join", JOINS)
def test_every_feature_reaches_the_output(join):
    model = decoder(join)
    features = maps()
    before = keras.ops.convert_to_numpy(model(features, training=False))
    for index in range(5):
        changed = list(features)
        changed[index] = changed[index] + 1
        assert np.abs(keras.ops.convert_to_numpy(model(changed, training=False)) - before).max() > 1e-3, index


@pytest.mark.parametrize(("join", "kind"), [("unet", "Concatenate"), ("linknet", "Add"), ("combined", "Concatenate")])
def test_four_skips_are_joined_and_five_steps_are_transposed_convolutions(join, kind):
    kinds = [type(layer).__name__ for layer in decoder(join).layers]
    assert [k for k in kinds if k in ("Concatenate", "Add")] == [kind] * 4
    assert kinds.count("Conv2DTranspose") == 5


@pytest.mark.parametrize("join", JOINS)
def test_up_sampling_leaves_no_checkerboard(join):
    """With equal weights, a constant stays constant inside: every output gets as many contributions.

    A 3x3 kernel at stride 2 would give 1, 2, 2 and 4 of them in turn. And left is as right.
    """
    generator = np.random.default_rng(0)
    for layer in decoder(join).layers:
        if not isinstance(layer, keras.layers.Conv2DTranspose):
            continue
        kernel = layer.get_weights()[0]
        layer.set_weights([np.ones_like(kernel)])
        constant = keras.ops.convert_to_numpy(layer(np.ones((1, 6, 6, kernel.shape[-1]), np.float32)))
        assert constant.shape[1:3] == (12, 12)
        inside = constant[:, 2:-2, 2:-2]
        np.testing.assert_array_equal(inside, inside[0, 0, 0, 0])
        x = generator.integers(-9, 9, (1, 4, 6, kernel.shape[-1])).astype(np.float32)
        y, mirrored = (keras.ops.convert_to_numpy(layer(v)) for v in (x, x[:, :, ::-1]))
        np.testing.assert_array_equal(mirrored[:, :, ::-1], y)


@pytest.mark.parametrize("join", JOINS)
def test_convolution_norm_relu_without_a_needless_bias(join):
    layers = decoder(join).layers
    convolutions = [x for x in layers if isinstance(x, keras.layers.Conv2D | keras.layers.Conv2DTranspose)]
    norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
    assert not any(x.use_bias for x in convolutions)
    assert len(convolutions) == len(norms) == sum(isinstance(x, keras.layers.ReLU) for x in layers)
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.9, 1e-5)}


def test_widths_are_the_channels_after_each_step():
    model = decoder("combined", widths=(96, 80, 64, 48, 32))
    fused = [model.get_layer(f"decoder{step}_fuse_relu").output.shape[-1] for step in (1, 2, 3, 4)]
    assert [*fused, model.output.shape[-1]] == [96, 80, 64, 48, 32]


def test_the_bottleneck_is_a_quarter_and_never_under_16():
    model = decoder("linknet")
    assert [model.get_layer(f"decoder{n}_up").filters for n in (1, 2, 3, 4)] == [128, 64, 32, 16]
    assert decoder("combined", widths=(64, 32, 32, 32, 16)).get_layer("decoder3_up").filters == 16


@pytest.mark.parametrize("size", [2, 4])
def test_doubling_begins_as_interpolation(size):
    """A ramp is doubled to the finer ramp, by repetition or linearly, as OpenCV does it; every channel mixes all."""
    keras.utils.set_random_seed(size)
    up = keras.layers.Conv2DTranspose(24, size, 2, "same", use_bias=False, kernel_initializer="he_normal")
    up.build((None, None, None, 32))
    begin_as_interpolation(up)
    mixing = np.asarray(up.kernel)[size // 2, size // 2] / (0.75**2 if size == 4 else 1)  # (24, 32)
    assert mixing.std() == pytest.approx((2 / 32) ** 0.5, rel=0.1)
    pictures = np.random.default_rng(0).normal(size=(6, 5, 32)).astype(np.float32)
    method = cv2.INTER_LINEAR if size == 4 else cv2.INTER_NEAREST
    doubled = np.stack(
        [cv2.resize(pictures[..., channel], (10, 12), interpolation=method) for channel in range(32)], -1
    )
    found = np.asarray(up(pictures[None]))[0]
    # at the border, a transposed convolution has zeros beyond, and resizing repeats
    np.testing.assert_allclose(found[1:-1, 1:-1], (doubled @ mixing.T)[1:-1, 1:-1], atol=1e-4)
