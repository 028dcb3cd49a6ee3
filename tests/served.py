"""What the tests of exported networks share: small networks that find something, and photos with their truth."""

import io
from pathlib import Path
from typing import NamedTuple

import cv2
import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from kseg.data.fitting import fit_mask, fit_photo, fit_picture, place
from kseg.models.segmenter import build_segmenter
from kseg.serving.graph import Contract
from kseg.serving.verify import Sample, Verification

SMALL = {"encoder": "resnet18", "widths": (16, 16, 16, 16, 16)}

KINDS = (
    {**SMALL, "join": "combined"},
    {**SMALL, "join": "combined", "detail": True, "num_classes": 5},
    {**SMALL, "encoder": "resnet34", "join": "unet", "detail": True},
    {"encoder": "resnet50", "join": "linknet", "num_classes": 2},
    {**SMALL, "join": "unet", "norm": "group"},
)
"""Networks that have everything in them that networks are made of."""

BINARY = Contract(("background", "person"), (64, 64))
SEVERAL = Contract(("ground", "red", "blue", "white"), (64, 64), resize="pad", several=True)

COLOURS = ((60, 110, 50), (200, 40, 30), (40, 60, 210), (235, 235, 225))


def trained(**settings):
    """A network whose every weight and statistic is its own, as after a training."""
    keras.utils.set_random_seed(3)
    model = build_segmenter(**settings)
    dice = np.random.default_rng(3)
    for variable in model.variables:
        name = variable.path.rpartition("/")[2]
        if name in {"gamma", "moving_variance"}:
            variable.assign(dice.uniform(0.5, 1.2, variable.shape))
        elif name in {"beta", "moving_mean", "bias"}:
            variable.assign(dice.normal(0, 0.2, variable.shape))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):  # they begin as interpolation, and do not stay it
            size, _, channels, _ = layer.kernel.shape
            layer.kernel.assign(dice.normal(0, np.sqrt(2 / (size**2 * channels)), layer.kernel.shape))
    return model


def blobs(seed, height, width, ids=2):
    """A photo of coloured ellipses, uint8 (H, W, 3), and its truth, uint8 (H, W) of class ids."""
    dice = np.random.default_rng(seed)
    truth = np.zeros((height, width), np.uint8)
    for index in range(1, ids):
        centre = ((index - dice.uniform(0.3, 0.7)) / (ids - 1) * width, dice.uniform(0.3, 0.7) * height)
        axes = np.maximum(1, dice.uniform(0.2, 0.4, 2) * (width / (ids - 1), height))
        ellipse = (*map(int, centre), *map(int, axes))
        cv2.ellipse(truth, ellipse[:2], ellipse[2:], float(dice.uniform(0, 180)), 0, 360, index, -1)
    grain = cv2.resize(dice.normal(0, 20, (height // 4 + 1, width // 4 + 1, 3)), (width, height))
    return np.clip(np.array(COLOURS)[truth] + grain, 0, 255).astype(np.uint8), truth


def network(contract, resize=None):
    """A network that finds the ellipses of ``blobs``: weights as in ``trained``, the head solved for.

    Of random features a linear head makes a fair network, in a second and not in the minutes of a training; its
    logits are far from zero but for the edges, as after one, so that rounding moves what it moves in earnest.
    """
    ids, size, resize = len(contract.classes), contract.image_size, resize or contract.resize
    model = trained(**SMALL, num_classes=1 if ids == 2 else ids, detail=True)
    features = keras.Model(model.input, model.get_layer("head").input)
    pictures, truths = [], []
    for seed in range(24):
        picture, truth = blobs(seed, 80 + seed, 110 - seed, ids)
        box = place(truth.shape, size, resize)
        pictures.append(fit_picture(picture, size, box))
        truths.append(fit_mask(truth, size, box, 0))
    seen = features.predict(np.stack(pictures).astype(np.float32), verbose=0)
    patches = tf.image.extract_patches(seen, [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME").numpy()
    patches = np.pad(patches.reshape(-1, patches.shape[-1]).astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
    wanted = np.stack([np.stack(truths).ravel() == index for index in range(ids)], axis=-1) * 12.0 - 6
    solved = np.linalg.solve(patches.T @ patches + np.eye(patches.shape[1]), patches.T @ wanted)
    solved = solved[:, 1:] if ids == 2 else solved
    model.get_layer("head").set_weights([solved[:-1].reshape(3, 3, seen.shape[-1], -1), solved[-1]])
    return model


class Exported(NamedTuple):
    """A version as ``export`` wrote it, and what it was made of."""

    folder: Path
    model: keras.Model
    contract: Contract
    verification: Verification


class Loaded:
    """A version in TensorFlow's Session loader, which is Serving's: ``loaded("cutout", photos)["cutout_bytes"]``."""

    def __init__(self, folder):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            loaded = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(folder))
        self.signatures = {name: value for name, value in loaded.signature_def.items() if value.inputs}

    def __call__(self, signature, values):
        (source,) = self.signatures[signature].inputs.values()
        outputs = {key: output.name for key, output in self.signatures[signature].outputs.items()}
        return self.session.run(outputs, {source.name: values})


def png(picture):
    """The bytes of a PNG of uint8 (H, W, 3) RGB, or of a mask."""
    return cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)[1].tobytes()


def pixels_of(content):
    """The pixels of a PNG as OpenCV, which knows nothing of TensorFlow, reads it: (H, W), or (H, W, RGBA)."""
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint8
    return found if found.ndim == 2 else found[..., [2, 1, 0, 3]]


def upright(content):
    """The upright RGB pixels of a photo's file as Pillow, which the training reads with, has them: uint8 (H, W, 3)."""
    with Image.open(io.BytesIO(content)) as image:
        turned = ImageOps.exif_transpose(image)
        if turned.mode.startswith("I;16"):
            return np.repeat((np.asarray(turned) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(turned.convert("RGB"))


def samples(contract, count=3):
    """Photos of several sizes to verify with."""
    pictures = [
        blobs(200 + index, 60 + 30 * index, 97 - 11 * index, len(contract.classes))[0] for index in range(count)
    ]
    return [Sample(png(picture), picture) for picture in pictures]


def seen(contract, count=16):
    """Other photos as the network sees them: uint8 (H, W, 3) each."""
    pictures = [blobs(600 + index, 70 + 5 * index, 120 - 3 * index, len(contract.classes))[0] for index in range(count)]
    return [fit_photo(picture, picture.shape[:2], contract.view)[0] for picture in pictures]
