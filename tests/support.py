"""What several test modules use: photos made on the spot, and kseg-train as a process."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kseg.data.synthetic import draw_scene

if TYPE_CHECKING:
    from kseg.settings import Settings

COMMAND = [sys.executable, "-c", "from kseg.cli.train import main; main(prog_name='kseg-train')"]
"""kseg-train of the kseg under test, whether or not its script is on the PATH."""

EXPORT = [sys.executable, "-c", "from kseg.cli.export import main; main(prog_name='kseg-export')"]
"""kseg-export, likewise."""

PREDICT = [sys.executable, "-c", "from kseg.cli.predict import main; main(prog_name='kseg-predict')"]
"""kseg-predict, likewise."""

SMALL = (
    *("--set", "data.image_size=[32, 32]"),
    *("--set", "model.encoder=resnet18"),
    *("--set", "model.widths=[16, 16, 16, 16, 16]"),
)
"""A network small enough for tests."""


def make_photos(root: Path, count: int, height: int = 48, width: int = 40) -> Path:
    """A folder of people pictures with 0/255 masks."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for index in range(count):
        picture, parts = draw_scene(7, index, height, width)
        Image.fromarray(picture).save(root / "images" / f"p{index:03}.jpg", quality=90)
        Image.fromarray(np.where(parts > 0, 255, 0).astype(np.uint8)).save(root / "masks" / f"p{index:03}.png")
    return root


def kseg_train(*arguments: object, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run kseg-train to its end in a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300, **options
    )


def train_apart(home: Path, settings: "Settings") -> Path:
    """Train as the settings say, in a process of its own, in ``home``; the run.

    TensorFlow keeps what it compiled for a network to the end of the process, some 200 MB each. The processes are
    forks of one that has only imported, since that takes longer than the training.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kseg.cli.train", "kseg.training.run", "tensorflow", "keras"])
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_train, home, settings).result()


def _train(home: Path, settings: "Settings") -> Path:
    from kseg.cli.train import train_in
    from kseg.training.run import Run
    from kseg.training.workers import ALONE

    with Run.create(home / "run", "small", settings, home) as run:
        train_in(run, settings, ALONE)
        return run.path
