"""Five transposed-convolution steps from the coarsest features back to full size, joined in three ways.

Each step doubles the size; the first four take in the encoder's features of that size (the skip). For the last there
are none, unless features of the picture itself are made for it (`detail`), as the first U-Net had them: edges are
drawn at full size, and a ResNet begins by halving it. How a step up-samples and takes in its skip is its join:

    unet      up-sample at full width, concatenate, two 3x3 convolutions    Ronneberger et al. 2015
    linknet   up-sample on a quarter of the channels, widen, add            Chaurasia & Culurciello 2017
    combined  up-sample on a quarter of the channels, as LinkNet, then      both
              concatenate, as U-Net, and fuse with one 3x3 convolution

Kernels of the transposed convolutions are even, a multiple of the stride: with 3x3, outputs would get one,
two or four contributions in turn, which shows as a checkerboard (Odena et al. 2016,
https://distill.pub/2016/deconv-checkerboard). 2x2, U-Net's, is the cheapest: every output sees one input, and
neighbours first meet in the 3x3 convolutions after it. 4x4 costs four times as much and overlaps, so that it
can interpolate by itself: it is used on few channels, where it costs little and where fewer 3x3 convolutions
follow, or none.

https://arxiv.org/abs/1505.04597, https://arxiv.org/abs/1707.03718, https://arxiv.org/abs/1411.4038
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers

from kseg.models.resnet import BATCH_NORM, Norm, Tensor, conv, relu

STEPS = 5
PROFILES = {2: (1.0, 1.0), 4: (0.25, 0.75, 0.75, 0.25)}
"""Of kernels that double the size by repetition and by linear interpolation: what a pixel gives to its neighbours."""

NARROWEST = 16  # channels; oneDNN computes in blocks of 16, so that fewer are hardly faster


def _conv_bn_relu(x: Tensor, channels: int, kernel: int, name: str, norm: Norm) -> Tensor:
    """(B, H, W, C) -> (B, H, W, channels)."""
    x = conv(x, channels, kernel, f"{name}_conv")
    return relu(norm(x, f"{name}_bn"), f"{name}_relu")


def _double(x: Tensor, channels: int, kernel: int, name: str, norm: Norm) -> Tensor:
    """Double the size by a transposed convolution: (B, H, W, C) -> (B, 2H, 2W, channels)."""
    up = layers.Conv2DTranspose(
        channels, kernel, 2, "same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_up"
    )
    x = up(x)
    begin_as_interpolation(up)
    return relu(norm(x, f"{name}_up_bn"), f"{name}_up_relu")


def begin_as_interpolation(up: layers.Conv2DTranspose) -> None:
    """Let a layer that doubles the size start as interpolation of randomly mixed channels (Long et al. 2015).

    Linear interpolation with a 4x4 kernel, repetition with 2x2. Random kernels would scatter at first what the
    coarse features say, and the decoder would learn to place it before it learns what it is. It is done to the
    weights and not by an initialiser, so that a saved network knows Keras's own classes only. How channels are mixed
    is what the layer drew for its first pixel, brought to the variance of He et al. 2015 over what enters it.
    """
    size, _, channels, channels_in = up.kernel.shape
    drawn = keras.ops.convert_to_numpy(up.kernel)[0, 0]  # (channels, channels_in), variance 2 / (size^2 channels)
    mixed = drawn * np.sqrt(size**2 * channels / channels_in)
    up.kernel.assign(np.outer(PROFILES[size], PROFILES[size])[..., None, None] * mixed)


def _double_narrow(x: Tensor, channels: int, name: str, norm: Norm) -> Tensor:
    """LinkNet's bottleneck: reduce to a few channels, then double: (B, H, W, C) -> (B, 2H, 2W, channels)."""
    return _double(_conv_bn_relu(x, channels, 1, f"{name}_reduce", norm), channels, 4, name, norm)


def _quarter(x: Tensor) -> int:
    """A quarter of the channels of `x`, the width of LinkNet's bottleneck."""
    return max(NARROWEST, int(x.shape[-1]) // 4)


def unet_step(x: Tensor, skip: Tensor | None, width: int, name: str, norm: Norm) -> Tensor:
    """(B, H, W, C), skip (B, 2H, 2W, S) -> (B, 2H, 2W, width), U-Net's way."""
    x = _double(x, width, 2, name, norm)
    if skip is not None:
        x = layers.Concatenate(name=f"{name}_concat")([x, skip])  # (B, 2H, 2W, width + S)
    x = _conv_bn_relu(x, width, 3, f"{name}_fuse1", norm)
    return _conv_bn_relu(x, width, 3, f"{name}_fuse2", norm)


def linknet_step(x: Tensor, skip: Tensor | None, width: int, name: str, norm: Norm) -> Tensor:
    """(B, H, W, C), skip (B, 2H, 2W, width) -> (B, 2H, 2W, width), LinkNet's way."""
    if skip is None:
        return _double_narrow(x, width, name, norm)
    x = _double_narrow(x, _quarter(x), name, norm)
    x = _conv_bn_relu(x, width, 1, f"{name}_expand", norm)
    return layers.Add(name=f"{name}_add")([x, skip])


def combined_step(x: Tensor, skip: Tensor | None, width: int, name: str, norm: Norm) -> Tensor:
    """(B, H, W, C), skip (B, 2H, 2W, S) -> (B, 2H, 2W, width): narrow up-sampling, concatenation, one 3x3."""
    if skip is None:  # nothing to fuse, and full size is where a convolution costs most
        return _double_narrow(x, width, name, norm)
    x = _double_narrow(x, _quarter(x), name, norm)
    x = layers.Concatenate(name=f"{name}_concat")([x, skip])  # (B, 2H, 2W, C/4 + S)
    return _conv_bn_relu(x, width, 3, f"{name}_fuse", norm)


JOINS: dict[str, Callable[[Tensor, Tensor | None, int, str, Norm], Tensor]] = {
    "unet": unet_step,
    "linknet": linknet_step,
    "combined": combined_step,
}


def default_widths(join: str, features: Sequence[Tensor]) -> tuple[int, ...]:
    """Channels after each of the five steps; those of a sum are its skip's, and cannot be chosen."""
    if join == "linknet":
        return (*(skip.shape[-1] for skip in reversed(features[:-1])), 16)
    return (256, 128, 64, 32, 16)


def full_size_features(pixels: Tensor, width: int, norm: Norm) -> Tensor:
    """Features of the picture at full size, for the last step: (B, H, W, C) -> (B, H, W, width)."""
    return _conv_bn_relu(pixels, width, 3, "detail", norm)


def decode(
    join: str, features: Sequence[Tensor], widths: Sequence[int], norm: Norm = BATCH_NORM, full: Tensor | None = None
) -> Tensor:
    """Bring an encoder's features back to full size.

    `join` is a key of `JOINS`; `features` are five maps, finest first, at 1/2 to 1/32 of (H, W), which are
    multiples of 32; `widths` are the channels after each step; `full` is a skip for the last, (B, H, W, widths[-1]).
    Returns (B, H, W, widths[-1]), the same dtype.
    """
    *skips, x = features
    for step, (skip, width) in enumerate(zip([*reversed(skips), full], widths, strict=True), start=1):
        x = JOINS[join](x, skip, width, f"decoder{step}", norm)  # 1/16, 1/8, 1/4, 1/2, 1/1
    return x
