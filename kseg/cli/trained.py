"""A run that has a network, opened for its export."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import keras
import numpy as np

from kseg.cli.samples import spread
from kseg.data.fitting import fit_photo, shrunk
from kseg.data.samples import Original, View
from kseg.data.sources import open_source
from kseg.data.synthetic import draw_scene
from kseg.errors import ExportError, KsegError
from kseg.models.trained import best_network, settings_of
from kseg.serving.graph import Contract
from kseg.serving.verify import Sample
from kseg.settings import Settings
from kseg.training.run import Run

COMPARED = 8
"""Photos that an exported network is compared on; each costs about a second."""

MEASURED = 64
"""Photos that the ranges of an export in int8 are measured on: more hardly widen them."""


class Trained(NamedTuple):
    """What an export is made of.

    Attributes:
        run: The folder.
        settings: Its own, with those of the export that were chosen.
        model: Its best network.
        contract: What the graph must know.
        samples: Photos to compare on.
        measured: Of int8: training photos as the network sees them, uint8 (H, W, 3).
    """

    run: Run
    settings: Settings
    model: keras.Model
    contract: Contract
    samples: list[Sample]
    measured: list[np.ndarray]


def open_trained(run_path: Path, overrides: tuple[str, ...], roots: tuple[Path, ...]) -> Trained:
    """Open a run; ``overrides`` change its ``[export]`` settings, ``roots`` say where its pictures are now.

    Raises WeightsError if it has no network, or one that cannot be read, ConfigError if another setting is overridden,
    ExportError if int8 is chosen and the training's pictures are not there.
    """
    run, settings = Run(run_path), settings_of(run_path, overrides, roots)
    data, chosen = settings.data, settings.export
    several = data.num_classes > 1
    contract = Contract(data.class_ids, data.image_size, data.resize, chosen.threshold, chosen.max_pixels, several)
    model = best_network(run_path, settings)
    measured = measured_photos(run, settings, contract) if chosen.precision == "int8" else []
    return Trained(run, settings, model, contract, sample_photos(run, settings), measured)


def sample_photos(run: Run, settings: Settings) -> list[Sample]:
    """Some of the run's validation pictures, or, if they are not there any more, drawn scenes.

    What has more pixels than ``export.max_pixels`` is reduced to that, since the exported network would refuse it.
    """
    try:
        pictures = [original.picture for original in some_of(run, settings, "validation", COMPARED)]
    except KsegError as error:
        click.echo(f"compared on drawn scenes, since the run's pictures cannot be read: {error}", err=True)
        pictures = [draw_scene(0, index, 480, 640)[0] for index in range(COMPARED)]
    pictures = [shrunk(picture, settings.export.max_pixels) for picture in pictures]
    # PNG, so that both see the very same pixels
    contents = [cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes() for picture in pictures]
    return [Sample(content, np.ascontiguousarray(picture)) for content, picture in zip(contents, pictures, strict=True)]


def measured_photos(run: Run, settings: Settings, contract: Contract) -> list[np.ndarray]:
    """Some of the run's training pictures as the network sees them. Raises ExportError if they cannot be read."""
    try:
        originals = some_of(run, settings, "training", MEASURED, contract.view)
        return [fit_photo(original.picture, original.size, contract.view)[0] for original in originals]
    except KsegError as error:
        raise ExportError(
            f"int8 is measured on the run's training photos, which cannot be read: {error}; say with --data where "
            "they are now, or export with --set export.precision=bfloat16"
        ) from None


def some_of(run: Run, settings: Settings, part: str, count: int, view: View | None = None) -> Iterator[Original]:
    """Some of the run's pictures, spread evenly over "training" or "validation"; see ``Source.load`` for ``view``.

    Raises KsegError if none of them is there, or one cannot be read.
    """
    source = open_source(settings.data, settings.synthetic)
    positions = {name: index for index, name in enumerate(source.names)}
    kept = run.read_data() or {part: source.names}
    there = [positions[name] for name in kept[part] if name in positions]
    if not there:
        raise KsegError(f"none of the run's {part} pictures is there")
    for index in spread(there, count):
        yield source.load(index, view)
