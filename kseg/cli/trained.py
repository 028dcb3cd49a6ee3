"""A run that has a network, opened for its export."""

from pathlib import Path
from typing import NamedTuple

import click
import cv2
import keras
import numpy as np

from kseg.cli.samples import spread
from kseg.data.fitting import shrunk
from kseg.data.sources import open_source
from kseg.data.synthetic import draw_scene
from kseg.errors import KsegError
from kseg.models.trained import best_network, settings_of
from kseg.serving.graph import Contract
from kseg.serving.verify import Sample
from kseg.settings import Settings
from kseg.training.run import Run

COMPARED = 8
"""Photos that an exported network is compared on; each costs about a second."""


class Trained(NamedTuple):
    """What an export is made of: the run, its settings, its best network, what the graph must know, photos."""

    run: Run
    settings: Settings
    model: keras.Model
    contract: Contract
    samples: list[Sample]


def open_trained(run_path: Path, overrides: tuple[str, ...], roots: tuple[Path, ...]) -> Trained:
    """Open a run; ``overrides`` change its ``[export]`` settings, ``roots`` say where its pictures are now.

    Raises WeightsError if it has no network, or one that cannot be read, ConfigError if another setting is overridden.
    """
    run, settings = Run(run_path), settings_of(run_path, overrides, roots)
    data, chosen = settings.data, settings.export
    contract = Contract(data.class_ids, data.image_size, data.resize, chosen.threshold, chosen.max_pixels)
    return Trained(run, settings, best_network(run_path, settings), contract, sample_photos(run, settings))


def sample_photos(run: Run, settings: Settings) -> list[Sample]:
    """Some of the run's validation pictures, or, if they are not there any more, drawn scenes.

    What has more pixels than ``export.max_pixels`` is reduced to that, since the exported network would refuse it.
    """
    try:
        source = open_source(settings.data, settings.synthetic)
        positions = {name: index for index, name in enumerate(source.names)}
        kept = run.read_data() or {"validation": source.names}
        there = [positions[name] for name in kept["validation"] if name in positions]
        pictures = [source.load(index).picture for index in spread(there, COMPARED)]
        if not pictures:
            raise KsegError("none of the run's validation pictures is there")
    except KsegError as error:
        click.echo(f"compared on drawn scenes, since the run's pictures cannot be read: {error}", err=True)
        pictures = [draw_scene(0, index, 480, 640)[0] for index in range(COMPARED)]
    pictures = [shrunk(picture, settings.export.max_pixels) for picture in pictures]
    # PNG, so that both see the very same pixels
    contents = [cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes() for picture in pictures]
    return [Sample(content, np.ascontiguousarray(picture)) for content, picture in zip(contents, pictures, strict=True)]
