"""Photos of any size through a real network: whole, in tiles, mirrored, in batches, and from any kind of photo."""

import copy
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from kseg.data.fitting import place, restore
from kseg.data.synthetic import draw_scene
from kseg.errors import DataError, KsegError
from kseg.inference.outputs import Outputs
from kseg.inference.predictor import Predictor, as_picture
from kseg.models.constants import as_constants
from kseg.models.segmenter import build_segmenter

MEMORY = """
import resource, sys
import numpy as np
import kseg
predictor = kseg.load(sys.argv[1], "float32")
predictor.predict(np.zeros((64, 64, 3), np.uint8), resolution="full")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
photo = np.zeros((8000, 8000, 3), np.uint8)
photo[2000:6000, 2000:6000] = np.random.default_rng(0).integers(0, 256, (4000, 4000, 3), np.uint8)
for resolution in ("trained", "full"):
    assert predictor.predict(photo, resolution=resolution).mask.shape == (8000, 8000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def make_predictor(num_classes=1, size=(64, 96), resize="stretch", **options):
    """A drawn network whose logits are spread around zero, and what it is made of."""
    tf.keras.utils.set_random_seed(3)
    model = build_segmenter(encoder="resnet18", widths=(16, 16, 16, 16, 16), num_classes=num_classes)
    classes = ("background", "person") if num_classes == 1 else tuple(f"c{i}" for i in range(num_classes))
    network = as_constants(model)
    return model, Predictor(network, classes=classes, image_size=size, resize=resize, **options)


@pytest.fixture(scope="module")
def made():
    return make_predictor()


def photo(height, width, seed=0):
    return draw_scene(5, seed, height, width)[0]


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_it_is_the_keras_model_between_fitting_and_restoring(num_classes, resize):
    model, predictor = make_predictor(num_classes, resize=resize)
    picture = photo(100, 77)
    found = predictor.predict(picture)
    box = place((100, 77), (64, 96), resize)
    fitted = predictor.fit(picture)
    logits = restore(model.predict_on_batch(fitted.picture[None].astype(np.float32))[0], (100, 77), box)
    expected = tf.sigmoid(logits) if num_classes == 1 else tf.nn.softmax(logits)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    ids = (logits[..., 0] > 0) if num_classes == 1 else logits.argmax(-1)
    assert (found.mask != ids).mean() < 1e-3
    assert found.mask.dtype == np.uint8
    hard = predictor.predict(picture, soft=False)
    np.testing.assert_array_equal(hard.mask, found.mask)
    assert hard.probabilities is None


def test_the_mirrored_photo_is_judged_as_well(made):
    _, predictor = made
    picture = photo(64, 96)
    both = predictor.judge([picture], flip=True)
    once, mirrored = predictor.judge([picture]), predictor.judge([picture[:, ::-1]])[:, :, ::-1]
    np.testing.assert_allclose(both, (once + mirrored) / 2, atol=1e-4)
    assert np.abs(once - mirrored).max() > 1e-3


def test_a_batch_says_what_each_photo_alone_does(made):
    _, predictor = made
    pictures = [photo(64, 96, seed) for seed in range(5)]
    together = predictor.judge(pictures)
    for logits, picture in zip(together, pictures, strict=True):
        np.testing.assert_allclose(logits, predictor.judge([picture])[0], atol=1e-4)


def test_the_threshold_is_the_probability_above_which_a_pixel_belongs(made):
    predictor = copy.copy(made[1])
    picture = photo(50, 60)
    found = predictor.predict(picture)
    predictor.threshold = float(np.quantile(found.probabilities, 0.8))
    stricter = predictor.predict(picture)
    assert stricter.mask.mean() == pytest.approx(0.2, abs=0.01)


def test_in_tiles_and_in_one_pass_a_photo_looks_the_same(predictor):
    predictor = copy.copy(predictor)  # for a threshold of its own
    picture = photo(900, 1000)
    once = predictor.predict(picture, resolution="full", tile=1024)
    predictor.threshold = float(np.median(once.probabilities))  # a network of one epoch may see nobody
    whole = predictor.predict(picture, resolution="full", tile=1024).mask > 0
    tiled = predictor.predict(picture, resolution="full").mask > 0
    assert 0.4 < whole.mean() < 0.6
    assert (whole & tiled).sum() / (whole | tiled).sum() >= 0.995


def test_another_resolution_is_the_network_on_a_photo_of_that_size(made):
    model, predictor = made
    picture = photo(200, 320)
    found = predictor.predict(picture, resolution=160)
    smaller = cv2.resize(picture, (160, 100), interpolation=cv2.INTER_AREA)
    padded = np.pad(smaller, ((0, 28), (0, 0), (0, 0)), mode="edge")[None].astype(np.float32)
    logits = cv2.resize(model.predict_on_batch(padded)[0, :100, :, 0], (320, 200), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(found.probabilities[..., 0], tf.sigmoid(logits), atol=1e-4)


def test_a_photo_of_8000_by_8000_needs_less_than_2_gb(trained_run):
    done = subprocess.run([sys.executable, "-c", MEMORY, trained_run], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 2_000_000_000


def test_a_photo_may_be_an_array_a_file_or_an_image(made, tmp_path):
    _, predictor = made
    picture = photo(40, 50)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    expected = predictor.predict(picture)
    for given in (tmp_path / "photo.png", str(tmp_path / "photo.png"), Image.fromarray(picture)):
        np.testing.assert_array_equal(predictor.predict(given).mask, expected.mask)
    grey = Image.fromarray(picture[..., 0])
    np.testing.assert_array_equal(as_picture(grey), np.repeat(picture[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(made, wrong):
    with pytest.raises(DataError, match=r"uint8 \(height, width, 3\), RGB, is needed"):
        made[1].predict(wrong)


@pytest.mark.parametrize("resolution", ["fulll", 0, -1, 2.5])
def test_other_resolutions_are_refused(made, resolution):
    with pytest.raises(DataError, match='"trained", "full" or a number of pixels'):
        made[1].predict(photo(40, 40), resolution=resolution)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(KsegError, match="holds neither a run nor an exported model; name a folder"):
        kseg.load(tmp_path)
    with pytest.raises(KsegError, match="nowhere"):
        kseg.load(tmp_path / "nowhere")


def test_a_callers_dtype_policy_stays(trained_run):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        kseg.load(trained_run)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)


def test_two_classes_with_a_logit_each_are_several():
    model, predictor = make_predictor(num_classes=2)
    assert predictor.several
    assert not make_predictor()[1].several
    picture = photo(50, 60)
    for soft in (True, False):
        found = predictor.predict(picture, soft=soft)
        assert found.several
        assert set(np.unique(found.mask)) == {0, 1}
        written = Outputs(kinds=("mask", "probabilities"))
        np.testing.assert_array_equal(written.render("mask", found), found.mask)
        assert written.files(Path(), Path("a"), found.several)["probabilities"].suffix == ".npy"
    logits = model.predict(predictor.fit(picture).picture[None].astype(np.float32), verbose=0)[0]
    box = place(picture.shape[:2], *predictor.view)
    np.testing.assert_array_equal(found.mask, restore(logits, picture.shape[:2], box).argmax(axis=-1))
