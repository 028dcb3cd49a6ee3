"""``kseg-train --dry-run``: the network's table, the data's summary and an augmented batch; nothing is trained."""

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from kseg.cli.samples import open_samples, spread
from kseg.data.loading import Loader
from kseg.data.pipeline import TrainingOrder, data_errors, training_pipeline
from kseg.data.survey import count_pixels
from kseg.models.segmenter import build_segmenter
from kseg.models.summary import format_table, summarize
from kseg.models.weights import describe, load_encoder_weights
from kseg.palette import Palette
from kseg.pictures import draw_batch
from kseg.settings import DataSettings, Settings
from kseg.training.loop import build_loss, count_steps
from kseg.training.precision import prepare_keras

SURVEYED = 200
"""Masks counted for the class shares: enough for a share, and quick on any number of pictures."""

SHOWN = 8
"""Samples drawn: a batch of them fits a screen."""


def show(settings: Settings, folder: Path) -> None:
    """Print the network's table and the data's summary, and write ``batch.png`` into ``folder``."""
    policy = prepare_keras(settings)
    data = settings.data
    model = build_segmenter(num_classes=data.num_classes, **settings.model.network)
    build_loss(settings, None)  # one that cannot be should be known now, as weights that cannot be had
    origin = load_encoder_weights(model, settings.model.encoder, settings.model.encoder_weights)
    height, width = data.image_size
    click.echo(f"{model.name}, {describe(origin)}, {policy}, at {height} x {width} (height x width)\n")
    click.echo(format_table(summarize(model, height, width)))
    loader, split, order, _ = open_samples(settings)
    steps = count_steps(settings, order.length)
    click.echo(
        f"\n{len(split.training)} samples train, {len(split.validation)} validate; {steps} steps of "
        f"{settings.training.batch_size} make an epoch; decoded samples are "
        + ("kept in memory" if loader.cached else "decoded anew each epoch")
    )
    with data_errors(loader):
        for line in _class_shares(loader, split.training, data):
            click.echo(line)
        batch = _first_batch(loader, order, settings)
    picture = folder / "batch.png"
    draw_batch(picture, *batch, Palette.of(data.class_ids, data.colours))
    click.echo(f"a batch as training sees it: {picture}")


def _class_shares(loader: Loader, training: Sequence[int], data: DataSettings) -> list[str]:
    """A line per class: its share of the pixels, and of the pictures it is in, over some of the samples."""
    counts = count_pixels(loader, spread(training, SURVEYED), 256)
    names = {**dict(enumerate(data.class_ids)), data.ignore_class: "ignored"}
    width = max(map(len, names.values()))
    header = f"{'class':{width}}  share of pixels  in pictures  ({len(counts)} training samples)"
    return [header] + [
        f"{name:{width}}  {counts[:, index].sum() / counts.sum():15.1%}  {(counts[:, index] > 0).mean():11.0%}"
        for index, name in names.items()
    ]


def _first_batch(loader: Loader, order: TrainingOrder, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    pipeline = training_pipeline(
        loader,
        order,
        settings.augmentation,
        ignore_class=settings.data.ignore_class,
        batch_size=SHOWN,
        first_step=0,
        steps=1,
    )
    pictures, masks = next(iter(pipeline))
    return pictures.numpy(), masks.numpy()
