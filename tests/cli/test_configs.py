"""Every settings file in configs/ trains for two steps, on pictures made to fit its source, mapping and classes."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from tensorflow.python.framework import config as determinism

from kseg.cli.train import train_in
from kseg.config import load_settings
from kseg.data.synthetic import draw_scene
from kseg.palette import parse_colour
from kseg.training.run import Run

CONFIGS = Path(__file__).parents[2] / "configs"
COUNT = 12

SMALL = (
    *("training.epochs=1", "training.steps_per_epoch=2", "training.warmup_epochs=0"),
    *("data.image_size=[64, 64]", "synthetic.scenes=12"),
    *("model.encoder_weights=none", "model.encoder=resnet18", "model.widths=[8, 8, 8, 8, 8]"),
)
"""A network small enough for a test, from random weights; all else is as the file says."""


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = keras.mixed_precision.dtype_policy()
    yield
    keras.mixed_precision.set_dtype_policy(policy)
    determinism.disable_op_determinism()  # TensorFlow has no public name for it
    keras.backend.clear_session()


def stored_values(data):
    """What a mask of these settings may hold: values or colours, one class each at least."""
    keys = [key for key in data.mask_values if key not in {"other", "crowd", "void"}]
    if keys:
        return [parse_colour(key) if key.startswith("#") else tuple(map(int, key.split(","))) for key in keys]
    return [(255 * value,) for value in range(2)] if data.num_classes == 1 else [(v,) for v in range(data.num_classes)]


def make_folder(root, data):
    """Pictures with masks of stripes, one per stored value."""
    (root / data.images).mkdir(parents=True)
    (root / data.masks).mkdir()
    values = np.array(stored_values(data), np.uint8)
    for index in range(COUNT):
        picture, _ = draw_scene(7, index, 64, 64)
        Image.fromarray(picture).save(root / data.images / f"p{index:03}.jpg")
        stripes = np.arange(64 * 64).reshape(64, 64) // max(1, 64 * 64 // len(values)) % len(values)
        Image.fromarray(values[stripes].squeeze()).save(root / data.masks / f"p{index:03}.png")
    return root


def make_lists(data):
    """The lists of training and validation samples that the settings name."""
    names = [f"p{index:03}\n" for index in range(COUNT)]
    for path, some in ((data.train_list, names[:8]), (data.validation_list, names[8:])):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(some))


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: path.stem)
def test_a_config_trains(path, tmp_path):
    data = load_settings(path).data
    roots = []
    if data.source == "folder":
        roots = [make_folder(tmp_path / "photos", data)]
        make_lists(data)
    settings = load_settings(path, SMALL, roots)
    with Run.create(tmp_path / "run", path.stem, settings, tmp_path) as run:
        train_in(run, settings)
        assert len(run.read_rows()) == 1
        assert run.best_model.exists()
