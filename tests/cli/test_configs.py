"""Every settings file in configs/ trains for two steps, on pictures made to fit its source, mapping and classes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_tfds import write_set
from PIL import Image
from support import train_apart

from kseg.config import load_settings
from kseg.data.synthetic import draw_scene
from kseg.palette import parse_colour

CONFIGS = Path(__file__).parents[2] / "configs"
COUNT = 12
PERSON, THING = 7 + 256, 207 + 256
"""Ids of a panoptic picture's two segments."""

SMALL = (
    *("training.epochs=1", "training.steps_per_epoch=2", "training.warmup_epochs=0"),
    *("data.image_size=[64, 64]", "synthetic.scenes=12"),
    *("model.encoder_weights=none", "model.encoder=resnet18", "model.widths=[8, 8, 8, 8, 8]"),
)
"""A network small enough for a test, from random weights; all else is as the file says."""


def stored_values(data):
    """What a mask of these settings may hold: values or colours, one class each at least."""
    keys = [key for key in data.mask_values if key != "other"]
    if keys:
        return [parse_colour(key) if key.startswith("#") else tuple(map(int, key.split(","))) for key in keys]
    return [(255 * value,) for value in range(2)] if data.num_classes == 1 else [(v,) for v in range(data.num_classes)]


def make_folder(root, data):
    """Pictures with masks of stripes, one per stored value."""
    (root / data.images).mkdir(parents=True)
    (root / data.masks).mkdir(parents=True)
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


def make_catalogue_set(chosen, data_dir, values):
    """Write the set that a ``TfdsSettings`` names: drawn scenes whose masks are stripes of the values.

    Panoptic sets have stripes of a person and, in every other picture, of something else.
    """
    features = tfds.builder(chosen.name, data_dir=str(data_dir)).info.features
    labels = {f"{chosen.objects}/label": ["person", *(f"thing {number}" for number in range(132))]}
    examples = [made_example(features, chosen, values, index) for index in range(COUNT)]
    splits = {chosen.train: examples[:8], chosen.validation: examples[8:]}
    write_set(chosen.name, data_dir, splits, labels if chosen.objects else None)


def made_example(features, chosen, values, index):
    """A scene and its mask in the features that the settings name; the others hold next to nothing."""
    height, width = (side or 64 for side in features[chosen.picture].shape[:2])
    stripes = np.arange(height * width).reshape(height, width)
    if chosen.objects:
        ids = np.where(stripes % 2, THING, PERSON)
        mask = np.stack([ids % 256, ids // 256, ids * 0], axis=-1)
    else:
        ids = np.array(values)[stripes * len(values) // stripes.size]
        mask = np.repeat(ids[..., None], features[chosen.mask].shape[-1], axis=-1)
    box = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
    empty = {"Text": "", "BBoxFeature": box, "ClassLabel": 0, "Scalar": 0, "Tensor": 0}
    example = {name: empty.get(type(feature).__name__) for name, feature in features.items()}
    picture, _ = draw_scene(7, index, 64, 64)
    example[chosen.picture] = cv2.resize(picture, (width, height))
    example[chosen.mask] = mask.astype(np.uint8)
    if chosen.objects:
        plain = {"area": 1, "bbox": box, "is_crowd": False}
        example[chosen.objects] = [plain | {"id": PERSON, "label": 0}, plain | {"id": THING, "label": index % 2}]
    return example


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: path.stem)
def test_a_config_trains(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load_settings(path).data
    roots = []
    if data.source == "folder":
        roots = [make_folder(tmp_path / "photos", data)]
        make_lists(data)
    elif data.source == "tfds":
        values = [] if data.tfds.objects else [value for (value,) in stored_values(data)]
        make_catalogue_set(data.tfds, tmp_path / "sets", values)
    settings = load_settings(path, [*SMALL, f"data.tfds.data_dir={tmp_path / 'sets'}"], roots)
    run = train_apart(tmp_path, settings)
    assert len((run / "history.csv").read_text().splitlines()) == 1 + 1
    assert (run / "best.keras").exists()
