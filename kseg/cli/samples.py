"""From settings to samples ready to be read: opened, verified, split, and the split remembered by the run."""

from collections.abc import Iterable, Iterator, Sequence

import click
import numpy as np

from kseg.data.loading import Loader, require_no_problems
from kseg.data.sources import open_source
from kseg.data.splits import Split, choose_split, find_split
from kseg.errors import DataError
from kseg.settings import Settings
from kseg.training.callbacks import Examples
from kseg.training.run import Run

EXAMPLE_COUNT = 6
"""Validation samples drawn after every epoch: a row of them fits a screen."""


def open_loader(settings: Settings) -> Loader:
    """A loader over the settings' source, at the network's size."""
    data = settings.data
    return Loader(
        open_source(data, settings.synthetic),
        data.image_size,
        resize=data.resize,
        ignore_class=data.ignore_class,
        cache=data.cache,
    )


def open_samples(settings: Settings, run: Run | None = None) -> tuple[Loader, Split]:
    """The settings' samples and their split; those of the run's beginning, if it is resumed.

    Raises DataError listing every sample that cannot be used, unless they are to be skipped: then they are left out
    of the split and listed in the run.
    """
    loader = open_loader(settings)
    names = loader.source.names
    kept = run.read_data() if run else None
    if kept:
        return loader, find_split(names, kept["training"], kept["validation"])
    skipped = dict(loader.source.skipped)
    problems: dict[int, str] = {}
    if settings.data.verify and settings.data.source == "folder":
        problems = _verify(loader)
        if settings.data.on_bad_sample == "error":
            require_no_problems(problems)
        skipped |= {names[index]: reason for index, reason in problems.items()}
    if len(problems) == len(names):
        raise DataError(f"none of {len(skipped)} samples can be used; the first: {next(iter(skipped.values()))}")
    split = choose_split(names, problems.keys(), settings.data)
    if run:
        run.write_data([names[i] for i in split.training], [names[i] for i in split.validation], skipped)
    if skipped:
        where = f", listed in {run.skipped_file}" if run else ""
        click.echo(f"{len(skipped)} samples cannot be used and are skipped{where}")
    return loader, split


def examples_of(loader: Loader, split: Split) -> Examples:
    """A few validation samples, spread evenly over all of them."""
    samples = [loader.load(index) for index in spread(split.validation, EXAMPLE_COUNT)]
    return Examples(np.stack([s.picture for s in samples]), np.stack([s.mask for s in samples]))


def spread(indices: Sequence[int], most: int) -> list[int]:
    """At most so many of some indices, evenly from the first to the last."""
    places = np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(int)
    return [indices[place] for place in places]


def _verify(loader: Loader) -> dict[int, str]:
    count = len(loader.source.names)

    def track(results: Iterable[str | None]) -> Iterator[str | None]:
        with click.progressbar(results, length=count, label="Checking pictures and masks") as shown:
            yield from shown

    return loader.verify(range(count), track)
