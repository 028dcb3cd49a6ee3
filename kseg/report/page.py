"""One HTML file to read on a phone or a desktop, with its pictures, charts and style in it.

It asks the network for nothing, and its Content-Security-Policy forbids it to; there is no script in it. Names,
settings and notes are text of others: the template escapes every one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kseg import pictures
from kseg.files import write_text
from kseg.palette import Palette, as_text
from kseg.report import charts, words
from kseg.report.contents import Report, Shot
from kseg.report.thumbnails import thumbnails

ERRORS = {
    "right": "right",
    "invented": "invented: found, not there",
    "missed": "missed: there, not found",
    "confused": "confused: one class for another",
    "ignored": "ignored: counts nowhere",
}
"""What stands in the legend for what ``pictures.error_colours`` tells apart."""

FILTERS = (
    words.area,
    words.calibration,
    words.chance,
    words.counted,
    words.extent,
    words.hundredths,
    words.interval,
    words.known,
    words.label,
    words.listed,
    words.percent,
    words.plain,
    words.score,
    words.signed,
    words.sizes,
    words.whole,
)


def write_page(path: Path, html: str) -> None:
    """Write a page, whole or not at all. Raises KsegError if it cannot be written."""
    # a file name may hold bytes that are no text; UTF-8 refuses what Python makes of them
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))


def render(report: Report) -> str:
    """The page as HTML."""
    context: dict[str, Any] = {"report": report, "curves": _curves(report), "evaluation": report.evaluation}
    if report.evaluation is not None:
        context |= _evaluated(report, report.evaluation)
    return environment().get_template("page.html").render(context)


def environment() -> Environment:
    """Where the templates are, and the filters that they write numbers with."""
    found = Environment(
        loader=PackageLoader("kseg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {function.__name__: function for function in FILTERS}
    return found


def _curves(report: Report) -> list[tuple[str, Markup]]:
    if not report.history:
        return []
    return [
        ("Loss", charts.loss_curves(report.history, report.best_epoch)),
        ("Jaccard and Dice", charts.score_curves(report.history, report.best_epoch)),
    ]


def _evaluated(report: Report, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of an evaluation beyond what stands in it."""
    classes = evaluation["classes"]
    palette = Palette.of(classes, report.colours)
    errors = pictures.error_colours(palette) | {"ignored": pictures.IGNORED}
    sweep, reliability = evaluation["thresholds"], evaluation["reliability"]
    jaccards = [photo["jaccard"] for photo in evaluation["per_photo"] if words.known(photo["jaccard"])]
    cards = {title: [_card(shot, palette) for shot in shots] for title, shots in report.galleries.items() if shots}
    compared = {title for title in cards if all(shot.other is not None for shot in report.galleries[title])}
    return {
        "binary": len(evaluation["scored"]) < len(classes),
        "matrix": _matrix(evaluation["confusion"]),
        "sweep_chart": charts.threshold_sweep(sweep, evaluation["threshold"]) if sweep else None,
        "used_score": _score_at(sweep, evaluation["threshold"]) if sweep else None,
        "reliability_chart": charts.reliability(reliability["bins"]) if reliability else None,
        "distribution_chart": charts.distribution(jaccards) if jaccards else None,
        "galleries": {title: shown for title, shown in cards.items() if title not in compared},
        "differing": {title: shown for title, shown in cards.items() if title in compared},
        "comparison": _comparison(evaluation["scores"], evaluation["baseline"]) if evaluation.get("baseline") else [],
        "class_colours": {name: as_text(colour) for name, colour in palette.legend.items()},
        "error_colours": {ERRORS[kind]: as_text(colour) for kind, colour in errors.items()},
    }


def _card(shot: Shot, palette: Palette) -> dict[str, Any]:
    return {"name": shot.name, "scores": shot.scores, "pictures": thumbnails(shot, palette)}


def _matrix(confusion: Sequence[Sequence[int]]) -> list[list[tuple[int, float | None]]]:
    """Every cell's pixels, and their share of the row's: of all that truly is of that class."""
    totals = [sum(row) for row in confusion]
    return [
        [(pixels, pixels / total if total else None) for pixels in row]
        for row, total in zip(confusion, totals, strict=True)
    ]


def _score_at(sweep: Mapping[str, Any], threshold: float | None) -> float | None:
    """The Jaccard of the sweep at the threshold in use, or at the one nearest to it."""
    if threshold is None or not sweep["threshold"]:
        return None
    nearest = int(np.abs(np.asarray(sweep["threshold"]) - threshold).argmin())
    return sweep["jaccard"][nearest]


def _comparison(scores: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each score, over the data set and then per image."""
    rows = []
    for over, ending, what in (("dataset", "", "over all pixels"), ("per_image", "_per_image", "mean of the photos")):
        for name, ours in scores[over].items():
            theirs = baseline["scores"][over][name]
            difference = words.number(ours["value"]) - words.number(theirs["value"])
            given = baseline["difference"].get(name + ending, {"value": difference})
            rows.append({"name": name, "over": what, "ours": ours, "theirs": theirs, "difference": given})
    return rows
