"""Exported versions against the Keras network, in a process that knows only TensorFlow; and what is refused."""

import dataclasses
import json
import platform
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from served import BINARY, Loaded, blobs, pixels_of, png, samples, seen, upright
from tensorflow_serving.apis import prediction_log_pb2

from kseg.errors import ExportError
from kseg.serving import export as export_module
from kseg.serving import session_run
from kseg.serving.export import export
from kseg.serving.verify import Sample, expected_logits, expected_mask, verify
from kseg.serving.versions import publish
from kseg.serving.warmup import MOST_PIXELS, WARMUP_FILE, write_warmup

WARM_BATCHES = [1, 3]
"""Those of conftest.py's exports."""

WATCHED = """
import json, runpy, sys
path, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = path
runpy.run_path(path, run_name="__main__")
print(json.dumps(sorted({name.partition(".")[0] for name, module in sys.modules.items() if module is not None})))
"""


def truths(count=10):
    """Photos with their truths."""
    return [blobs(900 + index, 90 + 5 * index, 140 - 4 * index) for index in range(count)]


def run_elsewhere(folder, scratch):
    """What every signature says of ``truths`` and of two batches of pixels, in a process without keras and kseg."""
    given = {f"photo-{index:03}": np.frombuffer(png(picture), np.uint8) for index, (picture, _) in enumerate(truths())}
    for height, width in ((32, 64), (45, 70)):
        pictures = [blobs(950 + i, height, width)[0] for i in range(3)]
        given[f"pixels-{height}x{width}"] = np.stack(pictures)
    np.savez(scratch / "in.npz", **given)
    command = [
        sys.executable,
        "-I",
        "-c",
        WATCHED,
        session_run.__file__,
        folder,
        scratch / "in.npz",
        scratch / "out.npz",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "tensorflow" in imported
    assert not imported & {"keras", "tf_keras", "kseg"}
    with np.load(scratch / "out.npz") as file:
        return given, dict(file)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def jaccard(masks):
    """Over the whole set of photos."""
    both = sum(((mask > 0) & (truth > 0)).sum() for mask, (_, truth) in zip(masks, truths(), strict=True))
    either = sum(((mask > 0) | (truth > 0)).sum() for mask, (_, truth) in zip(masks, truths(), strict=True))
    return both / either


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_every_signature_says_what_keras_says(precision, request, tmp_path):
    version = request.getfixturevalue({"float32": "exact", "bfloat16": "rounded", "int8": "eight"}[precision])
    share, largest = {"float32": (1e-3, 1e-4), "bfloat16": (5e-3, 0.05), "int8": (5e-3, 0.25)}[precision]
    given, answers = run_elsewhere(version.folder, tmp_path)
    for name in ("pixels-32x64", "pixels-45x70"):
        batch = given[name]
        height, width = batch.shape[1:3]
        continued = np.pad(batch, ((0, 0), (0, -height % 32), (0, -width % 32), (0, 0)), "edge").astype(np.float32)
        expected = sigmoid(version.model.predict_on_batch(continued))[:, :height, :width]
        assert np.ptp(expected) > 0.9
        for signature in ("probabilities", "probabilities_uint8"):
            difference = np.abs(answers[f"{signature}/probabilities/{name}"] - expected)
            assert difference.shape == expected.shape
            assert difference.max() <= largest
    masks = [pixels_of(answers[f"serving_default/mask_bytes/{index}"]) for index in range(len(truths()))]
    exact_masks = [expected_mask(version.model, BINARY, picture) for picture, _ in truths()]
    changed = sum((mask != expected).sum() for mask, expected in zip(masks, exact_masks, strict=True))
    assert changed <= share * sum(mask.size for mask in masks)
    assert jaccard(exact_masks) > 0.9
    assert abs(jaccard(masks) - jaccard(exact_masks)) <= 0.002
    for index, (picture, _) in enumerate(truths()):
        cut = pixels_of(answers[f"cutout/cutout_bytes/{index}"])
        np.testing.assert_array_equal(cut[..., :3], picture)
        opaque = sigmoid(expected_logits(version.model, BINARY, picture)[..., 0]) > 0.5
        assert ((cut[..., 3] > 127) != opaque).mean() <= share
    assert not answers["serving_default/status"].any()
    assert not answers["cutout/status"].any()


def test_what_the_export_found_is_what_it_says(exact, rounded, several):
    for version, largest in ((exact, 1e-4), (several, 1e-4), (rounded, 0.05)):
        found = version.verification
        assert found.photos == 3
        assert 0 < found.largest_difference <= largest
        assert 0 <= found.changed_share <= (5e-3 if found.precision == "bfloat16" else 1e-3)
    assert rounded.verification.precision == "bfloat16"
    assert rounded.verification.largest_difference > 10 * exact.verification.largest_difference


def test_int8_without_photos_to_measure_is_refused(exact, tmp_path):
    with pytest.raises(ExportError, match="int8 is measured on photos, and there are none"):
        export(tmp_path, exact.model, BINARY, samples(BINARY), precision="int8")
    assert list(tmp_path.iterdir()) == []


def test_int8_on_another_processor_is_refused(exact, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(ExportError, match="int8 needs an x86-64 processor, this is aarch64"):
        export(tmp_path, exact.model, BINARY, samples(BINARY), precision="int8", measured=seen(BINARY))


def test_several_classes_are_served_by_their_ids(several):
    picture, truth = blobs(970, 90, 120, 4)
    answer = Loaded(several.folder)("serving_default", [png(picture)])
    mask = pixels_of(answer["mask_bytes"][0])
    assert set(np.unique(mask)) == {0, 1, 2, 3}
    assert (mask != expected_mask(several.model, several.contract, picture)).mean() <= 1e-3
    assert (mask == truth).mean() > 0.9
    assert answer["coverage"].shape == (1, 4)


def test_weights_are_stored_once_and_in_their_precision(exact, rounded, eight):
    numbers = exact.model.count_params()
    for version, size in ((exact, 4), (rounded, 2), (eight, 1)):
        stored = sum(path.stat().st_size for path in version.folder.rglob("*") if path.name != WARMUP_FILE.name)
        assert size * numbers * 0.9 < stored < 1.3 * size * numbers
        assert (version.folder / "saved_model.pb").stat().st_size > 0.9 * stored


def test_a_version_that_drifts_is_not_published(exact, tmp_path, monkeypatch):
    """The network changes after its weights were taken: one BatchNorm of the encoder, by a little."""
    norm = next(layer for layer in exact.model.layers if isinstance(layer, keras.layers.BatchNormalization))
    before = norm.get_weights()

    class Damaging(export_module.ServedNetwork):
        def signatures(self):
            made = super().signatures()
            norm.set_weights([values * 1.05 for values in before])
            return made

    monkeypatch.setattr(export_module, "ServedNetwork", Damaging)
    try:
        with pytest.raises(
            ExportError, match=r"probabilities differ by up to .* at most 0\.0001 is accepted in float32"
        ):
            publish(tmp_path / "people", lambda folder: export(folder, exact.model, BINARY, samples(BINARY)))
    finally:
        norm.set_weights(before)
    assert [path.name for path in (tmp_path / "people").iterdir() if path.name != ".lock"] == []


@pytest.mark.parametrize("spoil", [lambda found: found * np.nan, lambda found: found[:, 1:]], ids=["NaN", "shape"])
def test_one_spoilt_signature_is_enough(spoil, exact, tmp_path, monkeypatch):
    """The last of all that are compared answers NaNs, or one row too few."""

    class Spoilt(export_module.ServedNetwork):
        def probabilities(self, pixels):
            found = super().probabilities(pixels)
            return {"probabilities": spoil(found["probabilities"])} if pixels.dtype == tf.uint8 else found

    monkeypatch.setattr(export_module, "ServedNetwork", Spoilt)
    with pytest.raises(ExportError, match="probabilities differ by up to nan"):
        export(tmp_path, exact.model, BINARY, samples(BINARY))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"largest_difference": 1.01e-4}, "probabilities differ by up to 0.000101"),
        ({"changed_share": 0.00101}, "share of changed mask pixels is 0.00101"),
        ({"largest_difference": float("nan")}, "differ by up to nan"),
        ({"changed_share": float("nan"), "precision": "bfloat16"}, "export with --set export.precision=float32"),
        ({"changed_share": 0.0051, "precision": "bfloat16"}, "at most 0.005 is accepted in bfloat16"),
    ],
)
def test_how_far_is_too_far(exact, found, words):
    exact.verification.require_close()
    with pytest.raises(ExportError) as raised:
        dataclasses.replace(exact.verification, **found).require_close()
    assert words in str(raised.value)


def test_a_folder_that_is_no_saved_model(exact, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    with pytest.raises(ExportError, match=r"cannot be loaded and run \(status 1\): .*saved_model\.pb"):
        verify(tmp_path, exact.model, BINARY, "float32", samples(BINARY))


def test_a_sample_that_the_version_refuses(exact):
    good = samples(BINARY)[0]
    broken = Sample(good.content[:-40], good.picture)
    with pytest.raises(ExportError, match=r"refuses sample photo 1: the PNG picture of \d+ bytes is .* \(4\)"):
        verify(exact.folder, exact.model, BINARY, "float32", [good, broken])


def warm_up(folder):
    """The warm-up requests, read with TensorFlow Serving's own messages."""
    for record in tf.data.TFRecordDataset(str(folder / WARMUP_FILE)):
        log = prediction_log_pb2.PredictionLog()
        log.ParseFromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        yield log.predict_log.request


def test_every_warm_up_request_is_answered(exact, loaded):
    assert str(WARMUP_FILE) == "assets.extra/tf_serving_warmup_requests"
    seen = []
    for request in warm_up(exact.folder):
        signature = request.model_spec.signature_name
        (wanted,) = loaded.signatures[signature].inputs.items()
        (given,) = request.inputs.items()
        assert given[0] == wanted[0]
        assert given[1].dtype == wanted[1].dtype
        values = tf.make_ndarray(given[1])
        seen.append((signature, len(values)))
        answer = loaded(signature, values)
        assert "status" not in answer or not answer["status"].any()
        assert all(len(value) == len(values) for value in answer.values())
    photos = [(signature, count) for count in WARM_BATCHES for signature in ("cutout", "serving_default")]
    assert sorted(seen) == sorted([*photos, ("probabilities", 1), ("probabilities_uint8", 1)])


def test_warm_up_requests_hold_a_small_photo_however_large_the_sample(tmp_path):
    picture = blobs(980, 1500, 2000)[0]
    write_warmup(tmp_path, Sample(png(picture), picture), BINARY, [128])
    first, *_ = warm_up(tmp_path)
    photos = first.inputs["image_bytes"].string_val
    height, width, _ = upright(photos[0]).shape
    assert (len(photos), len(set(photos))) == (128, 1)
    assert 0.98 * MOST_PIXELS < height * width <= MOST_PIXELS
    assert width / height == pytest.approx(2000 / 1500, rel=0.01)
    np.testing.assert_allclose(upright(photos[0]).mean((0, 1)), picture.mean((0, 1)), atol=2)
    assert (tmp_path / WARMUP_FILE).stat().st_size < 2 * 128 * 50_000


def test_several_classes_are_warmed_up_without_cutouts(several):
    assert {request.model_spec.signature_name for request in warm_up(several.folder)} == {
        "serving_default", "probabilities", "probabilities_uint8"
    }  # fmt: skip
