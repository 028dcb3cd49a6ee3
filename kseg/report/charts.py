"""Charts as SVG inside the page, in the page's own colours and font.

Matplotlib draws with colours that stand for names; in the SVG they become ``currentColor`` and the CSS variables of
``style.css``, so that a chart follows the reader's light or dark theme. No text of others is in a chart.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kseg.report.words import known, label, number, score

INK, GRID = "#010101", "#010102"
COLOURS = {"jaccard": "#010103", "dice": "#010104", "precision": "#010105", "recall": "#010106", "loss": "#010107"}
NAMES = {INK: "currentColor", GRID: "var(--line)"} | {code: f"var(--{name})" for name, code in COLOURS.items()}

SIZE = (3.6, 2.6)
"""In inches of 72 units of the SVG: at a phone's width, a unit is a little more than a pixel."""

STYLE = {
    "svg.fonttype": "none",  # text stays text: it is read aloud, and set in the page's font
    "svg.hashsalt": "kseg",
    "font.family": ["DejaVu Sans"],  # wider than the page's fonts: what is laid out for it has room for them
    "font.size": 9,
    "legend.fontsize": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
}
UNDATED = dict.fromkeys(("Date", "Creator", "Format", "Type"))
"""The same numbers give the same bytes."""

BINS = 20
"""Of the histogram over Jaccard in [0, 1]."""

MARKED_EPOCHS = 40
"""Up to so many, each has its point: a training of one would be invisible as a line."""


def loss_curves(history: Sequence[Mapping[str, float]], best_epoch: int | None) -> Markup:
    """Loss by epoch, of training and validation."""
    return _chart("loss", "Loss by epoch", lambda axes: _curves(axes, history, best_epoch, ("loss",)))


def score_curves(history: Sequence[Mapping[str, float]], best_epoch: int | None) -> Markup:
    """Jaccard and Dice by epoch, of training and validation."""

    def draw(axes: Axes) -> None:
        _curves(axes, history, best_epoch, ("jaccard", "dice"))
        axes.set_ylim(0, 1)

    return _chart("scores", "Jaccard and Dice by epoch", draw)


def threshold_sweep(sweep: Mapping[str, Any], used: float | None) -> Markup:
    """Scores over the data set by threshold, the one in use and the best one marked."""

    def draw(axes: Axes) -> None:
        for name in ("jaccard", "dice", "precision", "recall"):
            axes.plot(sweep["threshold"], _numbers(sweep[name]), color=COLOURS[name], label=label(name))
        _mark(axes, used, "in use", ":")
        _mark(axes, (sweep["best"] or {}).get("threshold"), "best", "--")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="threshold")

    return _chart("thresholds", "Scores by threshold", draw)


def reliability(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """How often a stated probability comes true: one point for each range of probabilities."""

    def draw(axes: Axes) -> None:
        filled = [one for one in bins if known(one["confidence"]) and known(one["frequency"])]
        axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.5, linewidth=1.1)
        axes.plot(
            [one["confidence"] for one in filled],
            [one["frequency"] for one in filled],
            "-o",
            color=COLOURS["dice"],
            markersize=4,
        )
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="stated probability", ylabel="how often it comes true")

    return _chart("reliability", "How often a stated probability comes true", draw)


def distribution(values: Sequence[float]) -> Markup:
    """How many photos have which Jaccard.

    Args:
        values: At least one, each in [0, 1].
    """

    def draw(axes: Axes) -> None:
        heights, edges = np.histogram(values, bins=BINS, range=(0, 1))
        axes.bar(edges[:-1], heights, width=0.9 / BINS, align="edge", color=COLOURS["jaccard"])
        median = float(np.median(values))
        _mark(axes, median, f"median {score(median)}", "--")
        axes.set(xlim=(0, 1), xlabel="Jaccard of a photo", ylabel="photos")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))

    return _chart("distribution", "Number of photos by their Jaccard", draw)


def _curves(
    axes: Axes, history: Sequence[Mapping[str, float]], best_epoch: int | None, quantities: Sequence[str]
) -> None:
    epochs = [row["epoch"] for row in history]
    validation = {"marker": "o" if len(history) <= MARKED_EPOCHS else "", "markersize": 2.5}
    for name in quantities:
        for key, who, look in (
            (name, "training", {"linestyle": "--", "alpha": 0.7}),
            (f"val_{name}", "validation", validation),
        ):
            values = _numbers([row.get(key) for row in history])
            axes.plot(epochs, values, color=COLOURS[name], label=f"{label(name)}, {who}", **look)
    _mark(axes, best_epoch, "best epoch", ":")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _mark(axes: Axes, position: float | None, name: str, line: str) -> None:
    """A line upright through the chart, if there is something to mark."""
    if known(position):
        axes.axvline(position, linestyle=line, color=INK, linewidth=1.1, label=name)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [number(value) for value in values]


def _chart(name: str, description: str, draw: Callable[[Axes], None]) -> Markup:
    """What ``draw`` puts on a pair of axes, and a legend above it, as an ``svg`` element; ``name`` is its alone."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper left", ncols=2, frameon=False, borderaxespad=0, handlelength=2.2)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata=UNDATED)
    return _inlined(written.getvalue(), name, description)


def _inlined(document: str, name: str, description: str) -> Markup:
    """The document's drawing, made part of the page: named, told apart from other charts, and coloured."""
    width, height = (72 * side for side in SIZE)
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{description}">'
    drawing = re.sub(r"^.*?<svg[^>]*>", opening, document, count=1, flags=re.DOTALL)
    # a rule of the drawing's own would hold for the whole page
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    for code, colour in NAMES.items():
        drawing = drawing.replace(code, colour)
    return Markup(drawing)
