"""What is known of a run and its evaluation, as the page that people read."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kseg.cli.evaluating import Judged
from kseg.config import difference, dump_settings
from kseg.evaluation.evaluation import write_evaluation
from kseg.models.weights import describe
from kseg.report.contents import Report, Shot
from kseg.report.page import render, write_page
from kseg.training.history import best_row

SHOWN = 6
"""Photos in a gallery."""

SCORES = ("jaccard", "boundary_iou")
"""That stand below a photo."""


class Results(NamedTuple):
    """What ``evaluation.json`` holds, and the page of it as HTML: all that is to be written."""

    evaluation: dict[str, Any]
    page: str

    def write(self, folder: Path) -> Path:
        """Write numbers, tables and page; return the page's file. Raises KsegError if the folder cannot be written."""
        page = folder / "report.html"
        write_evaluation(folder, self.evaluation)
        write_page(page, self.page)
        return page


def results_of(judged: Judged, command: Sequence[str], other: Judged | None = None) -> Results:
    """The results of an evaluation that ``command`` repeats; some photos are judged again, to be shown.

    Raises DataError if the other network was judged on something else.
    """
    evaluation = judged.evaluation.to_json(other.evaluation if other else None)
    return Results(evaluation, render(_report_of(judged, evaluation, command, other)))


def _report_of(judged: Judged, evaluation: dict[str, Any], command: Sequence[str], other: Judged | None) -> Report:
    """The page of an evaluation, given as ``evaluation.json`` has it, too, with the training it is of."""
    run, settings = judged.examined.run, judged.examined.settings
    history = run.read_rows()
    best = best_row(history, settings.training.monitor)
    origin = run.read_weights()
    environment = run.read_environment()
    return Report(
        title=run.path.name,
        evaluation=evaluation,
        history=history,
        best_epoch=int(best["epoch"]) if best else None,
        galleries=_galleries(judged) | (_differences(judged, other) if other else {}),
        colours=settings.data.colours,
        data=_data(judged, evaluation),
        changed=difference(settings),
        settings=dump_settings(settings),
        versions={name: value for name, value in environment.items() if name != "command"},
        commands=[shlex.join(environment["command"]), shlex.join(command)],
        notes=[f"Training started from {describe(origin)}."] if origin else [],
        random_weights=origin is None,
    )


def _galleries(judged: Judged) -> dict[str, list[Shot]]:
    """The worst, the median and the best photos, as many as there are for all three."""
    ranked = judged.evaluation.ranked()
    count = min(SHOWN, -(-len(ranked) // 3))
    first = (len(ranked) - count) // 2
    chosen = {"Worst": ranked[:count], "Median": ranked[first : first + count], "Best": ranked[::-1][:count]}
    return {title: [_shot(judged, place) for place in places] for title, places in chosen.items()}


def _differences(judged: Judged, other: Judged) -> dict[str, list[Shot]]:
    """The photos on which two networks differ most."""
    gains = judged.evaluation.by_photo["jaccard"] - other.evaluation.by_photo["jaccard"]
    places = np.argsort(-np.abs(np.nan_to_num(gains)), kind="stable")[:SHOWN]
    return {"Most different": [_shot(judged, place, other) for place in places.tolist()]}


def _shot(judged: Judged, place: int, other: Judged | None = None) -> Shot:
    """The photo at a place among those evaluated."""
    name = judged.evaluation.photos[place].name
    index = judged.examined.indices[place]
    picture, truth, _ = judged.examined.sample(index)
    scores = {score: float(judged.evaluation.by_photo[score][place]) for score in SCORES}
    if other:
        scores = {
            "jaccard": scores["jaccard"],
            "jaccard of the baseline": float(other.evaluation.by_photo["jaccard"][place]),
        }
    return Shot(name, picture, truth, judged.prediction(index), scores, other.prediction(index) if other else None)


def _data(judged: Judged, evaluation: dict[str, Any]) -> dict[str, Any]:
    """What is known of the data a run was trained on, and of that it was evaluated on."""
    run, data = judged.examined.run, judged.examined.settings.data
    height, width = data.image_size
    judged_on = ", ".join(source.title for source in judged.examined.data.sources)
    kept = run.read_data() or {"training": [], "validation": [], "skipped": {}}
    pixels = np.sum(evaluation["confusion"], axis=1)
    return {
        "sources": [source.title for source in data.sources],
        "training samples": len(kept["training"]),
        "validation samples": len(kept["validation"]),
        "evaluated here": f"{evaluation['photos']} of {judged_on} ({evaluation['split']})",
        "size the network sees": f"{width} x {height}, {data.resize}",
        "share of the pixels": {
            name: f"{share:.1%}" for name, share in zip(evaluation["classes"], pixels / pixels.sum(), strict=True)
        },
        "skipped samples": [f"{name}: {reason}" for name, reason in kept["skipped"].items()],
    }
