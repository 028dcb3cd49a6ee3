"""A network judged on a set of photos: its scores, what they may be by chance, and the files that keep them."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kseg import __version__
from kseg.errors import DataError
from kseg.evaluation.boundary import f_scores
from kseg.evaluation.counting import PhotoCounts
from kseg.evaluation.objects import describe_objects
from kseg.evaluation.scores import areas, by_class, mean, over_classes
from kseg.evaluation.statistics import interval, resample, resampled_means, resampled_sums, signed_rank_p_value
from kseg.evaluation.thresholds import reliability, sweep
from kseg.files import plain, write_csv, write_text


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one network did on the photos of one split.

    Attributes:
        model: Where the network is from.
        split: Which of the data set's photos.
        classes: Names by class id.
        scored: Names of the classes that means run over, the last of ``classes``: all, or only the one that is
            told from everything else.
        threshold: Of the probability of that one; None for several.
        flip: Whether the network saw each photo mirrored, too.
        photos: In the order evaluated; at least one.
        created: When; local time, ISO 8601.

    Raises:
        DataError: there is no photo.
    """

    model: str
    split: str
    classes: tuple[str, ...]
    scored: tuple[str, ...]
    threshold: float | None
    flip: bool
    photos: tuple[PhotoCounts, ...]
    created: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))

    def __post_init__(self) -> None:
        if not self.photos:
            raise DataError(f"{self.model}: there is no photo in the split {self.split!r} to evaluate it on")

    @property
    def columns(self) -> slice:
        """The scored classes among all ids."""
        return slice(len(self.classes) - len(self.scored), None)

    @cached_property
    def confusions(self) -> np.ndarray:
        """Pixels by photo, truth and prediction: int64 (N, K, K)."""
        return np.stack([photo.confusion for photo in self.photos])

    @cached_property
    def bands(self) -> np.ndarray:
        """Pixels of the bands of boundary IoU: int64 (N, 3, S)."""
        return np.stack([photo.bands for photo in self.photos])

    @cached_property
    def boundary_f(self) -> np.ndarray:
        """By photo and class: float64 (N, S), NaN without a contour."""
        return f_scores(np.stack([photo.contours for photo in self.photos], axis=1))

    @cached_property
    def dataset(self) -> dict[str, float]:
        """Scores over the data set, sums first, by name."""
        scores = over_classes(self.confusions.sum(axis=0), self.bands.sum(axis=0), self.columns)
        return {name: float(value) for name, value in scores.items()}

    @cached_property
    def by_photo(self) -> dict[str, np.ndarray]:
        """Scores of each photo by name: float64 (N,), NaN for a photo without a counted pixel."""
        scores = over_classes(self.confusions, self.bands, self.columns) | {"boundary_f": mean(self.boundary_f)}
        is_image = self.confusions.any(axis=(1, 2))
        return {name: np.where(is_image, values, math.nan) for name, values in scores.items()}

    @cached_property
    def resampled(self) -> dict[str, dict[str, np.ndarray]]:
        """Scores of every resample, (R,), by "dataset" or "per_image", and by name."""
        times = resample(len(self.photos))
        confusions, bands = resampled_sums(times, self.confusions), resampled_sums(times, self.bands)
        return {
            "dataset": over_classes(confusions, bands, self.columns),
            "per_image": {name: resampled_means(times, values) for name, values in self.by_photo.items()},
        }

    @cached_property
    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """Value, and the ends of its bootstrap interval, by "dataset" or "per_image", and by name."""
        values = {
            "dataset": self.dataset,
            "per_image": {name: float(mean(of_photos)) for name, of_photos in self.by_photo.items()},
        }
        return {
            kind: {name: _with_interval(value, self.resampled[kind][name]) for name, value in named.items()}
            for kind, named in values.items()
        }

    @property
    def histograms(self) -> list[np.ndarray]:
        """See ``PhotoCounts``; empty for several classes."""
        return [photo.histogram for photo in self.photos if photo.histogram is not None]

    @cached_property
    def thresholds(self) -> dict[str, Any] | None:
        """See ``sweep``; None for several classes."""
        return sweep(np.stack(self.histograms)) if self.histograms else None

    def reliability(self) -> dict[str, Any] | None:
        """See ``reliability`` in ``kseg.evaluation.thresholds``; None for several classes."""
        sums = [photo.probabilities for photo in self.photos if photo.probabilities is not None]
        return reliability(np.sum(self.histograms, axis=0), np.sum(sums, axis=0)) if sums else None

    def per_photo(self) -> list[dict[str, Any]]:
        """A row per photo; None where a score is undefined."""
        columns = {name: values.tolist() for name, values in self.by_photo.items()}
        return [
            {
                "name": photo.name,
                "height": photo.height,
                "width": photo.width,
                **{name: plain(values[index]) for name, values in columns.items()},
            }
            for index, photo in enumerate(self.photos)
        ]

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Scores and pixels of every scored class; None where a score is undefined.

        A class's score per image is the mean over the photos on which it has one.
        """
        dataset = by_class(self.confusions.sum(axis=0), self.bands.sum(axis=0), self.columns)
        photos = by_class(self.confusions, self.bands, self.columns) | {"boundary_f": self.boundary_f}
        pixels = areas(self.confusions, self.columns)
        columns: dict[str, np.ndarray] = dict(dataset)
        for name in ("jaccard", "dice", "boundary_iou", "boundary_f"):
            seen = ~np.isnan(photos[name]).all(axis=0)
            columns[f"{name}_per_image"] = np.where(seen, mean(photos[name].T), math.nan)
        columns["truth_pixels"] = pixels.truth.sum(axis=0)
        columns["predicted_pixels"] = pixels.predicted.sum(axis=0)
        columns["photos"] = (pixels.truth > 0).sum(axis=0)
        return {
            scored: {name: plain(values[index].item()) for name, values in columns.items()}
            for index, scored in enumerate(self.scored)
        }

    def ranked(self) -> list[int]:
        """Positions of the photos, the worst Jaccard index first; photos without a counted pixel are left out."""
        jaccard = self.by_photo["jaccard"]
        order = np.argsort(jaccard, kind="stable")
        return order[~np.isnan(jaccard[order])].tolist()

    def to_json(self, baseline: "Evaluation | None" = None) -> dict[str, Any]:
        """What ``evaluation.json`` holds; NaN is None.

        Raises:
            DataError: the baseline was evaluated on something else.
        """
        confusion = self.confusions.sum(axis=0)
        objects = np.sum([photo.objects for photo in self.photos], axis=0)
        content = {
            "kseg": __version__,
            "created": self.created,
            "model": self.model,
            "split": self.split,
            "photos": len(self.photos),
            "pixels": int(confusion.sum()),
            "classes": list(self.classes),
            "scored": list(self.scored),
            "threshold": self.threshold,
            "flip": self.flip,
            "scores": self.scores,
            "per_class": self.per_class(),
            "confusion": confusion.tolist(),
            "objects": {name: describe_objects(table) for name, table in zip(self.scored, objects, strict=True)},
            "thresholds": self.thresholds,
            "reliability": self.reliability(),
            "per_photo": self.per_photo(),
        }
        if baseline is not None:
            content["baseline"] = compare(self, baseline)
        return plain(content)


def write_evaluation(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``evaluation.json``, which holds ``content``, and of it ``per_photo.csv`` and ``per_class.csv``.

    ``content`` is what ``Evaluation.to_json`` gives; what is undefined stays empty in the tables. Raises KsegError if
    the folder cannot be written to.
    """
    write_text(folder / "evaluation.json", json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_csv(folder / "per_photo.csv", list(content["per_photo"][0]), content["per_photo"])
    rows = [{"class": name, **values} for name, values in content["per_class"].items()]
    write_csv(folder / "per_class.csv", list(rows[0]), rows)


def compare(evaluation: Evaluation, baseline: Evaluation) -> dict[str, Any]:
    """Another network's scores on the same photos, and how far the first is above them.

    Differences are the first's minus the baseline's; both are resampled alike, so what makes a photo hard for both
    does not widen the interval. A photo is better where its Jaccard index is higher.

    Raises:
        DataError: the two were not evaluated on the same photos, in the same order, for the same classes.
    """
    _require_same(evaluation, baseline)
    values, other = evaluation.scores, baseline.scores
    differences = {
        name: _with_interval(
            values[kind]["jaccard"]["value"] - other[kind]["jaccard"]["value"],
            evaluation.resampled[kind]["jaccard"] - baseline.resampled[kind]["jaccard"],
        )
        for name, kind in (("jaccard", "dataset"), ("jaccard_per_image", "per_image"))
    }
    by_photo = evaluation.by_photo["jaccard"] - baseline.by_photo["jaccard"]
    return {
        "model": baseline.model,
        "scores": other,
        "per_photo": [{"name": row["name"], "jaccard": row["jaccard"]} for row in baseline.per_photo()],
        "difference": {
            **differences,
            "p_value": signed_rank_p_value(by_photo),
            "better": int((by_photo > 0).sum()),
            "worse": int((by_photo < 0).sum()),
            "equal": int((by_photo == 0).sum()),
        },
    }


def _require_same(evaluation: Evaluation, baseline: Evaluation) -> None:
    """Raise DataError unless both say something of the same pixels."""
    if (evaluation.classes, evaluation.scored) != (baseline.classes, baseline.scored):
        raise DataError(
            f"{baseline.model} knows the classes {', '.join(baseline.classes)}, {evaluation.model} "
            f"{', '.join(evaluation.classes)}; only networks of the same classes can be compared"
        )
    names, others = ([photo.name for photo in one.photos] for one in (evaluation, baseline))
    if names != others:
        alone = sorted(set(names) ^ set(others))
        what = f"{alone[0]} (and {len(alone) - 1} more) is in only one of them" if alone else "their order differs"
        raise DataError(
            f"{evaluation.model} and {baseline.model} were not evaluated on the same photos: {what}; "
            "evaluate both on the same folders and split"
        )
    if (evaluation.confusions.sum(axis=2) != baseline.confusions.sum(axis=2)).any():
        raise DataError(
            f"{evaluation.model} and {baseline.model} were not evaluated with the same masks; evaluate both again"
        )


def _with_interval(value: float, resampled: np.ndarray) -> dict[str, float]:
    low, high = interval(resampled)
    return {"value": value, "low": low, "high": high}
