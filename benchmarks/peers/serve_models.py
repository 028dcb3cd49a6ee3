"""What serving.py serves: one network, exported in every way, and the pictures and photos to answer."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import keras
import numpy as np
import tensorflow as tf

from kseg.data.fitting import fit_picture, place
from kseg.data.sources import open_source
from kseg.data.synthetic import draw_scene
from kseg.models.constants import as_constants
from kseg.models.int8 import as_int8, ranges_of
from kseg.models.segmenter import build_segmenter
from kseg.models.trained import best_network, settings_of
from kseg.serving.graph import Contract, ServedNetwork
from kseg.settings import DataSettings, Settings

PRECISIONS = ("float32", "bfloat16", "int8")
PHOTO = (480, 640)  # height, width
CONVERT = """
import sys, keras
sys.path.append(sys.argv[3])  # the last place, so that nothing but what is missing is found there
model = keras.models.load_model(sys.argv[1], compile=False)
shape = (None, int(sys.argv[4]), int(sys.argv[4]), 3)
spec = keras.InputSpec(shape=shape, dtype="float32", name="images")
model.export(sys.argv[2], format="onnx", verbose=False, input_signature=[spec])
"""


class Scene(NamedTuple):
    """A photo, uint8 (480, 640, 3) RGB, and where a person is in it, bool (480, 640)."""

    photo: np.ndarray
    truth: np.ndarray


def network(run: Path | None, join: str) -> keras.Model:
    """A run's best network, or one whose every weight and statistic is drawn.

    Statistics as they are initialised would not do: TensorFlow removes a bias of zeros, and so serves another graph.
    """
    if run is not None:
        settings = settings_of(run)
        if settings.data.num_classes != 1:
            sys.exit(f"{run}: has {settings.data.num_classes} classes; the photos' way is compared for one")
        return best_network(run, settings)
    keras.utils.set_random_seed(0)
    model = build_segmenter(join=join)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        name = variable.path.rpartition("/")[2]
        if name in {"gamma", "moving_variance"}:
            variable.assign(rng.uniform(0.5, 1.2, variable.shape))
        elif name in {"beta", "moving_mean", "bias"}:
            variable.assign(rng.normal(0, 0.2, variable.shape))
    return model


def scenes(data: Path | None, count: int) -> list[Scene]:
    """Pictures of a folder with images/ and masks/, evenly chosen, or drawn ones."""
    if data is None:
        drawn = [draw_scene(0, index, 120, 160) for index in range(count)]
        return [_scene(picture, parts > 0) for picture, parts in drawn]
    source = open_source(DataSettings(roots=(data,)), Settings().synthetic)
    chosen = np.linspace(0, len(source.names) - 1, min(count, len(source.names))).astype(int)
    loaded = (source.load(int(index)) for index in chosen)
    return [_scene(original.picture, original.mask == 1) for original in loaded]


def _scene(picture: np.ndarray, truth: np.ndarray) -> Scene:
    way = cv2.INTER_AREA if picture.shape[0] > PHOTO[0] else cv2.INTER_CUBIC
    mask = cv2.resize(truth.astype(np.uint8), PHOTO[::-1], interpolation=cv2.INTER_NEAREST)
    return Scene(cv2.resize(picture, PHOTO[::-1], interpolation=way), mask > 0)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The probability that a logit stands for, float32."""
    return (0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))).astype(np.float32)


def network_pixels(some: Sequence[Scene], size: int) -> np.ndarray:
    """The photos as the network sees them: float32 (N, size, size, 3)."""
    box = place(PHOTO, (size, size), "stretch")
    return np.stack([fit_picture(scene.photo, (size, size), box) for scene in some]).astype(np.float32)


def write_inputs(folder: Path, some: Sequence[Scene], size: int) -> tuple[Path, Path, np.ndarray]:
    """pictures.npz and photos.npz, and the truth at the pictures' size, bool (N, size, size)."""
    truth = [cv2.resize(s.truth.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0 for s in some]
    files = {f"photo-{i}": cv2.imencode(".jpg", scene.photo[..., ::-1])[1] for i, scene in enumerate(some)}
    np.savez(folder / "pictures.npz", pictures=network_pixels(some, size))
    np.savez(folder / "photos.npz", **files)
    return folder / "pictures.npz", folder / "photos.npz", np.stack(truth)


def export_keras(folder: Path, model: keras.Model) -> None:
    """As ``model.export`` writes it."""
    model.export(folder, verbose=False)


def export_kseg(folder: Path, model: keras.Model, precision: str, pictures: np.ndarray) -> None:
    """The graph of ``kseg-export``, without the verification and the files beside it.

    ``pictures``, (N, H, W, 3) of the network's size, are what int8's ranges are measured on.
    """
    if precision == "int8":
        network = as_int8(model, ranges_of(model, np.array_split(pictures, len(pictures))))
    else:
        network = as_constants(model, precision)
    served = ServedNetwork(network, Contract(("background", "person"), pictures.shape[1:3]))
    tf.saved_model.save(tf.Module(), str(folder), signatures=served.signatures())


def export_onnx(file: Path, model: keras.Model, packages: Path, size: int) -> str:
    """By Keras's own exporter, in a process of its own, as it needs packages that are not kseg's; why not, or ''."""
    kept = file.with_suffix(".keras")
    model.save(kept)
    command: list[Any] = [sys.executable, "-c", CONVERT, kept, file, packages, size]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return "" if file.exists() else (done.stderr.strip().splitlines() or ["no message"])[-1]


def export_peers(folder: Path, python: str, size: int) -> str:
    """Networks of segmentation_models; why not, or ''."""
    command = [python, Path(__file__).with_name("serve_keras_sm.py"), folder, "--size", size]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]
