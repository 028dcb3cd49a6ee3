"""Samples as training sees them, drawn."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
import numpy as np
import tensorflow as tf

from kseg.cli.samples import spread
from kseg.data.augment import augment
from kseg.data.loading import Loader
from kseg.data.samples import Sample
from kseg.data.sources import open_source
from kseg.data.splits import find_names
from kseg.errors import DataError
from kseg.palette import Palette
from kseg.pictures import draw_samples
from kseg.settings import Settings

COLUMNS = 8
"""Samples on a sheet; more go to further sheets."""


def draw(settings: Settings, out: Path, count: int, variants: int, names: Sequence[str]) -> Iterator[Path]:
    """Write the sheets of some samples, of those named or spread over all; yield their files as they are written.

    A sample that cannot be loaded is named and left out. Raises DataError if that leaves none.
    """
    data = settings.data
    source = open_source(data, settings.synthetic)
    loader = Loader(source, data.image_size, resize=data.resize, ignore_class=data.ignore_class, cache=False)
    chosen = find_names(names, source.names, "--name") if names else spread(range(len(source.names)), count)
    samples, reasons = {}, []
    for index in chosen:
        try:
            samples[source.names[index]] = _variants(loader, index, variants, settings)
        except DataError as error:
            reasons.append(str(error))
    if not samples:
        raise DataError("\n".join(reasons))
    for reason in reasons:
        click.echo(f"left out: {reason}", err=True)
    palette = Palette.of(data.class_ids, data.colours)
    rest = iter(samples.items())
    pages = [dict(islice(rest, COLUMNS)) for _ in range(0, len(samples), COLUMNS)]
    for number, page in enumerate(pages, 1):
        file = out if len(pages) == 1 else out.with_stem(f"{out.stem}-{number}")
        draw_samples(file, page, palette)
        yield file


def _variants(loader: Loader, index: int, count: int, settings: Settings) -> list[Sample]:
    """A sample at the network's size, and random variants of it."""
    plain = loader.load(index)
    seeds = [tf.constant([settings.seed + number, index]) for number in range(count)]
    changed = [augment(*plain, seed, settings.augmentation, settings.data.ignore_class) for seed in seeds]
    return [plain, *(Sample(*(np.asarray(part) for part in variant)) for variant in changed)]
