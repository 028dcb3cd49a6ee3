"""From settings to samples ready to be read: opened, verified, split, and the split remembered by the run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import click
import numpy as np

from kseg.data.loading import Loader, require_no_problems
from kseg.data.pipeline import TrainingOrder
from kseg.data.sources import complain_of_none, open_source
from kseg.data.splits import Split, choose_split, find_split
from kseg.data.survey import class_weights, count_pixels, repeat_factors
from kseg.errors import DataError
from kseg.settings import Settings
from kseg.training.callbacks import Examples
from kseg.training.run import Run

EXAMPLE_COUNT = 6
"""Validation samples drawn after every epoch: a row of them fits a screen."""

Result = TypeVar("Result")


class Samples(NamedTuple):
    """What a training reads.

    Attributes:
        loader: Of all samples.
        split: Which of them train and which validate.
        order: In which order those that train come, and how often.
        class_weights: Those of the loss, one per class id; none: all are equal.
    """

    loader: Loader
    split: Split
    order: TrainingOrder
    class_weights: tuple[float, ...] | None


def open_samples(settings: Settings, run: Run | None = None) -> Samples:
    """The settings' samples; those of the run's beginning, if it is resumed.

    Raises DataError listing every sample that cannot be used, unless they are to be skipped: then they are left out
    of the split and listed in the run.
    """
    data = settings.data
    source = open_source(data, settings.synthetic)
    loader = Loader(source, data.image_size, resize=data.resize, ignore_class=data.ignore_class, cache=data.cache)
    kept = run.read_data() if run else None
    if kept:
        split = find_split(source.names, kept["training"], kept["validation"])
    else:
        split = _choose(loader, settings, source.split, run)
    weights, chosen = source.weights[split.training], settings.training.class_weights
    if data.oversample or isinstance(chosen, str):
        counts = count_pixels(
            loader, split.training, len(data.class_ids), _bar(len(split.training), "Counting classes")
        )
        if data.oversample:
            weights = weights * repeat_factors(counts, data.oversample)
        if isinstance(chosen, str):
            chosen = class_weights(counts, chosen, data.class_ids)
            click.echo("class weights: " + _listed(data.class_ids, chosen))
    return Samples(loader, split, TrainingOrder(split.training, settings.seed, weights), chosen)


def _choose(loader: Loader, settings: Settings, own: Split | None, run: Run | None) -> Split:
    """Split the samples that can be used, and have the run remember it."""
    names = loader.source.names
    skipped = dict(loader.source.skipped)
    problems: dict[int, str] = {}
    if settings.data.verify and not loader.source.sound:
        problems = loader.verify(range(len(names)), _bar(len(names), "Checking pictures and masks"))
        if settings.data.on_bad_sample == "error":
            require_no_problems(problems)
        skipped |= {names[index]: reason for index, reason in problems.items()}
    if len(problems) == len(names):
        raise DataError(complain_of_none(list(skipped.values())))
    split = choose_split(names, problems.keys(), settings.data, own, loader.source.skipped)
    if run:
        run.write_data([names[i] for i in split.training], [names[i] for i in split.validation], skipped)
    if skipped:
        where = f", listed in {run.skipped_file}" if run else ""
        click.echo(f"{len(skipped)} samples cannot be used and are skipped{where}")
    return split


def examples_of(loader: Loader, split: Split) -> Examples:
    """A few validation samples, spread evenly over all of them."""
    samples = [loader.load(index) for index in spread(split.validation, EXAMPLE_COUNT)]
    return Examples(np.stack([s.picture for s in samples]), np.stack([s.mask for s in samples]))


def spread(indices: Sequence[int], most: int) -> list[int]:
    """At most so many of some indices, evenly from the first to the last."""
    places = np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(int)
    return [indices[place] for place in places]


def _bar(length: int, label: str) -> Callable[[Iterable[Result]], Iterator[Result]]:
    """A progress bar around results as they come."""

    def track(results: Iterable[Result]) -> Iterator[Result]:
        with click.progressbar(results, length=length, label=label) as shown:
            yield from shown

    return track


def _listed(names: Sequence[str], values: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in zip(names, values, strict=True))
