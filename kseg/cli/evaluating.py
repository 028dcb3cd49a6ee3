"""From a run to its evaluation: the photos that it is judged on, and what is counted on each."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

import click
import numpy as np

from kseg.ahead import work_ahead
from kseg.cli.common import progress
from kseg.config import dump_settings
from kseg.data.fitting import Box, fit_mask, fit_photo, restore
from kseg.data.samples import Original, Source, View
from kseg.data.sources import open_source
from kseg.data.splits import only_kept, read_list, with_skipped
from kseg.errors import ConfigError, DataError
from kseg.evaluation.counting import PhotoCounts, count_photo
from kseg.evaluation.evaluation import Evaluation
from kseg.files import write_text
from kseg.inference.predictor import Fitted, Predictor
from kseg.inference.segmentation import black
from kseg.models.trained import settings_of
from kseg.opening import open_run
from kseg.settings import DataSettings, Settings
from kseg.training.run import Run


@dataclass(frozen=True)
class Examined:
    """A run, and the samples of a source that it is evaluated on.

    Attributes:
        run: The folder.
        settings: Its own.
        data: That the source was opened with: the settings', or with other folders.
        source: Of the samples.
        split: What they are called together.
        indices: Of the samples in the source.
    """

    run: Run
    settings: Settings
    data: DataSettings
    source: Source
    split: str
    indices: Sequence[int]

    @classmethod
    def open(cls, run_path: Path, roots: Sequence[Path] = (), split: str | None = None) -> Self:
        """A run and the samples of a split; see ``kseg-evaluate`` for what ``split`` may be.

        ``roots`` that hold samples of the run are where its pictures are now, and its further sources stay; others are
        judged alone. Raises KsegError if the run has no network, or there are no such samples.
        """
        settings, run = settings_of(run_path), Run(run_path)
        kept = run.read_data() or {"training": [], "validation": []}
        data = settings_of(run_path, roots=roots).data
        alone = data.model_copy(update={"also": ()})
        # names alone tell whose pictures they are, and those of the further sources are always the run's
        source, usual = open_source(alone if roots else data, settings.synthetic), "validation"
        if roots and {*kept["training"], *kept["validation"]}.isdisjoint(source.names):
            data, usual = alone, "all"
        elif roots and data.also:
            source = open_source(data, settings.synthetic)
        split = split or usual
        return cls(run, settings, data, source, split, _indices(split, source, kept))

    def by(self, other: Path) -> Self:
        """The same samples for another run. Raises ConfigError if its classes are others."""
        settings = settings_of(other)
        if settings.data.classes != self.settings.data.classes:
            raise ConfigError(
                f"{other}: knows {', '.join(settings.data.classes)}, and {self.run.path} "
                f"{', '.join(self.settings.data.classes)}; only networks of the same classes can be compared"
            )
        return replace(self, run=Run(other), settings=settings)

    def sample(self, index: int, view: View | None = None) -> Original:
        """A photo, whole or for a view, and its mask at the photo's own size."""
        picture, mask, size = self.source.load(index, view)
        return Original(picture, fit_mask(mask, size, Box(0, 0, *size)), size)


def _indices(split: str, source: Source, kept: dict[str, list[str]]) -> list[int]:
    if split == "all":
        return list(range(len(source.names)))
    if split not in {"training", "validation"}:
        listed = read_list(path := Path(split), with_skipped(source.names, source.skipped))
        return only_kept(listed, range(len(source.names)), path)
    wanted = set(kept[split])
    found = [index for index, name in enumerate(source.names) if name in wanted]
    if not found:
        raise DataError(
            f"none of the run's {len(wanted)} {split} samples is there; say where they are with --data, "
            "or evaluate all there are with --split all"
        )
    return found


class Judging(NamedTuple):
    """How photos are judged: mirrored as well or not, how many together, and in which precision."""

    flip: bool = False
    batch_size: int = 4
    precision: str = "float32"


class Judged(NamedTuple):
    """A run's evaluation, and its network, to look at some of the photos again."""

    examined: Examined
    predictor: Predictor
    evaluation: Evaluation

    def prediction(self, index: int) -> np.ndarray:
        """The mask of a sample's photo, as it was evaluated: uint8 (H, W)."""
        fitted = _fitted(self.examined.sample(index, self.predictor.view), self.predictor)
        (logits,) = self.predictor.judge([fitted.picture], self.evaluation.flip)
        return self.predictor.finish(fitted, logits, soft=False).mask


def examine(examined: Examined, judging: Judging = Judging()) -> Judged:  # noqa: B008 - it is immutable
    """Judge every sample and count, with a progress bar. Raises DataError naming a sample that cannot be read."""
    settings = examined.settings
    predictor = open_run(examined.run.path, settings, judging.precision)
    photos = []
    with progress(len(examined.indices), str(examined.run.path)) as bar:
        for counts in _count_all(examined, predictor, judging):
            photos.append(counts)
            bar.update(1)
    evaluation = Evaluation(
        model=str(examined.run.path),
        split=examined.split,
        classes=settings.data.class_ids,
        scored=settings.data.classes,
        threshold=predictor.threshold if settings.data.num_classes == 1 else None,
        flip=judging.flip,
        photos=tuple(photos),
    )
    return Judged(examined, predictor, evaluation)


def _fitted(original: Original, predictor: Predictor) -> Fitted:
    return Fitted(black(original.size), *fit_photo(original.picture, original.size, predictor.view))


def _count_all(examined: Examined, predictor: Predictor, judging: Judging) -> Iterator[PhotoCounts]:
    """Read ahead, judge in batches, and count while the next batch is judged."""

    def read(index: int) -> tuple[Fitted, np.ndarray]:
        original = examined.sample(index, predictor.view)
        return _fitted(original, predictor), original.mask

    def count(index: int, fitted: Fitted, truth: np.ndarray, logits: np.ndarray) -> PhotoCounts:
        return count_photo(
            examined.source.names[index],
            truth,
            restore(logits, truth.shape, fitted.box),
            threshold=predictor.threshold,
            ignore_class=examined.data.ignore_class,
        )

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        reading = work_ahead(threads, read, examined.indices, most=2 * judging.batch_size)
        counting: list[Future[PhotoCounts]] = []
        while batch := list(islice(reading, judging.batch_size)):
            samples = [future.result() for _, future in batch]
            judged = predictor.judge([fitted.picture for fitted, _ in samples], judging.flip)
            yield from (future.result() for future in counting)
            counting = [
                threads.submit(count, index, fitted, truth, logits)
                for (index, _), (fitted, truth), logits in zip(batch, samples, judged, strict=True)
            ]
        yield from (future.result() for future in counting)


def say(evaluation: Evaluation) -> None:
    """The scores that are asked for first, with what they may be by chance."""
    rows = [("jaccard", "Jaccard"), ("dice", "Dice"), ("boundary_iou", "boundary IoU")]
    click.echo(
        f"{evaluation.model}: {len(evaluation.photos)} photos ({evaluation.split}), at their own size"
        + (", judged mirrored as well" if evaluation.flip else "")
    )
    for name, shown in rows:
        over, per = evaluation.scores["dataset"][name], evaluation.scores["per_image"][name]
        click.echo(f"  {shown:13} {_interval(over)} over the data set   {_interval(per)} per image")


def _interval(score: dict[str, float]) -> str:
    return f"{score['value']:.4f} ({score['low']:.4f} to {score['high']:.4f})"


def require_threshold(settings: Settings) -> None:
    """Raise ConfigError if a network with these settings knows no threshold, so that none can be stored."""
    if settings.data.num_classes > 1:
        raise ConfigError("--store-threshold: belongs to models of one class; with more, the most probable one counts")


def store(run: Run, threshold: float) -> None:
    """Keep a threshold in the run's settings."""
    settings = settings_of(run.path)
    export = settings.export.model_copy(update={"threshold": threshold})
    write_text(run.settings_file, dump_settings(settings.model_copy(update={"export": export})))
    click.echo(f"{run.settings_file}: export.threshold is {threshold:g} now")
