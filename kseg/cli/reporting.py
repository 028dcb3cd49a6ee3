"""What is known of a run and its evaluation, as the page that people read."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from kseg.cli.evaluating import Judged
from kseg.config import difference, dump_settings
from kseg.models.weights import describe
from kseg.report.contents import Report, Shot
from kseg.report.page import write_report
from kseg.training.history import best_row

SHOWN = 6
"""Photos in a gallery."""

SCORES = ("jaccard", "boundary_iou")
"""That stand below a photo."""


def write_results(folder: Path, judged: Judged, other: Judged | None = None) -> Path:
    """Write an evaluation's numbers and its page into ``folder``; return the page's file."""
    page = folder / "report.html"
    evaluation = judged.evaluation.write(folder, other.evaluation if other else None)
    write_report(page, _report_of(judged, evaluation, other))
    return page


def _report_of(judged: Judged, evaluation: dict[str, Any], other: Judged | None) -> Report:
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
        commands=[shlex.join(environment["command"]), shlex.join(["kseg-evaluate", str(run.path)])],
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
    kept = run.read_data() or {"training": [], "validation": [], "skipped": {}}
    pixels = np.sum(evaluation["confusion"], axis=1)
    return {
        "sources": [source.title for source in data.sources],
        "training samples": len(kept["training"]),
        "validation samples": len(kept["validation"]),
        "evaluated here": f"{evaluation['photos']} ({evaluation['split']})",
        "size the network sees": f"{width} x {height}, {data.resize}",
        "share of the pixels": {
            name: f"{share:.1%}" for name, share in zip(evaluation["classes"], pixels / pixels.sum(), strict=True)
        },
        "skipped samples": [f"{name}: {reason}" for name, reason in kept["skipped"].items()],
    }
