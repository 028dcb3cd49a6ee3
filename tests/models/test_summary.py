"""Costs against counts by hand, and against published ones."""

import math

import keras
import pytest
from tensorflow.python.util import deprecation

from kseg.models.decoder import JOINS
from kseg.models.segmenter import build_segmenter
from kseg.models.summary import StageRow, format_table, summarize, total_flops

STAGES = ["stem", *(f"layer{n}" for n in range(1, 5)), *(f"decoder{n}" for n in range(1, 6)), "head"]


@pytest.fixture(scope="module")
def resnet34():
    return build_segmenter(encoder="resnet34", join="unet", num_classes=3)


def test_stages_shapes_and_parameters(resnet34):
    rows = summarize(resnet34, 64, 96)
    assert [row.stage for row in rows] == STAGES
    assert [row.output_shape for row in rows] == [
        *[(32, 48, 64), (16, 24, 64), (8, 12, 128), (4, 6, 256), (2, 3, 512)],
        *[(4, 6, 256), (8, 12, 128), (16, 24, 64), (32, 48, 32), (64, 96, 16), (64, 96, 3)],
    ]
    assert rows[0].parameters == 7 * 7 * 3 * 64 + 2 * 64
    assert sum(row.parameters for row in rows[:5]) == 21_284_672
    assert sum(row.parameters for row in rows) == sum(math.prod(v.shape) for v in resnet34.trainable_variables)


def test_a_frozen_encoder_keeps_its_parameters():
    model = build_segmenter(encoder="resnet18")
    thawed = summarize(model, 32, 32)
    for layer in model.layers:
        layer.trainable = False
    assert summarize(model, 32, 32) == thawed


@pytest.mark.parametrize("join", JOINS)
def test_stages_add_up_to_the_profilers_total(join):
    model = build_segmenter(encoder="resnet18", join=join)
    assert sum(row.flops for row in summarize(model, 64, 32)) == total_flops(model, 64, 32)


def test_flops_of_the_encoder_are_resnet34s(resnet34):
    """The whole classifier at 224x224 has 3.664 G multiply-adds, of which the last layer 512 * 1000.

    By hand, output pixels * kernel * in * out: the stem 112^2 * 49 * 3 * 64; then four stages of
    3, 4, 6 and 3 blocks of two 3x3. A 3x3 costs 56^2 * 9 * 64^2 in any of them, half of that where it
    halves the size, and a projection 1/18 of it.
    """
    full = 56**2 * 9 * 64**2
    stem = 112**2 * 49 * 3 * 64
    by_hand = stem + 6 * full + (7 + 11 + 5) * full + 3 * (full // 2 + full // 18)
    assert by_hand + 512 * 1000 == 3_663_761_408
    encoder = sum(row.flops for row in summarize(resnet34, 224, 224)[:5])
    # BatchNorm, sums and pooling add about half a percent
    assert 2 * by_hand < encoder < 1.01 * 2 * by_hand


def test_flops_by_hand(resnet34):
    rows = {row.stage: row for row in summarize(resnet34, 64, 64)}
    # normalise: a product and a sum; convolution; BatchNorm: a product and a sum on 32 * 32 * 64 numbers, and
    # per channel the variance + epsilon, 1 / root (two), * gamma, * mean, and beta - that
    assert rows["stem"].flops == pytest.approx(
        2 * 64 * 64 * 3 + 2 * 32 * 32 * 49 * 3 * 64 + 2 * 32 * 32 * 64 + 6 * 64, abs=64
    )
    # an up-sampling 2x2 touches each of its 2 * 2 inputs with 4 * 512 * 256 weights; then two 3x3 on 4 * 4 pixels
    convolutions = 2 * (2 * 2 * 4 * 512 * 256 + 4 * 4 * 9 * (512 * 256 + 256 * 256))
    assert convolutions < rows["decoder1"].flops < 1.01 * convolutions
    assert rows["head"].flops == 2 * 64 * 64 * 9 * 16 * 3 + 64 * 64 * 3  # and the bias


def test_counting_is_silent(resnet34, capfd, caplog, monkeypatch):
    monkeypatch.setattr(deprecation, "_PRINTED_WARNING", {})  # what TensorFlow remembers having said once
    total_flops(resnet34, 32, 32)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_bfloat16_costs_the_same(resnet34):
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        half = build_segmenter(encoder="resnet34", join="unet", num_classes=3)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert summarize(half, 32, 32) == summarize(resnet34, 32, 32)


def test_format_table():
    rows = [StageRow("stem", (128, 128, 64), 9_536, 311_000_000), StageRow("head", (256, 256, 1), 145, 19_000_000)]
    assert format_table(rows) == (
        "stage          output  parameters  GFLOPs\n"
        "stem   128 x 128 x 64       9,536   0.311\n"
        "head    256 x 256 x 1         145   0.019\n"
        "total                       9,681   0.330"
    )


def test_features_at_full_size_are_a_stage_and_four_channels_are_traced():
    model = build_segmenter(encoder="resnet18", detail=True, channels=4)
    rows = {row.stage: row for row in summarize(model, 64, 64)}
    assert [*rows] == [*STAGES[:-1], "detail", "head"]
    assert rows["stem"].output_shape == (32, 32, 64)
    assert rows["stem"].parameters == 7 * 7 * 4 * 64 + 2 * 64
    assert rows["detail"].output_shape == (64, 64, 16)
    assert rows["detail"].parameters == 3 * 3 * 4 * 16 + 2 * 16
