"""Pictures for people: masks over photos, errors in colour, contact sheets, curves.

Pictures are uint8 (H, W, 3) RGB, masks uint8 (H, W) class ids, as everywhere.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from kseg.files import replacing
from kseg.logits import decide
from kseg.palette import Colour, Palette

PAPER: Colour = (255, 255, 255)
INK: Colour = (40, 40, 48)

RIGHT: Colour = (0, 158, 115)
INVENTED: Colour = (213, 50, 30)
MISSED: Colour = (40, 90, 230)
CONFUSED: Colour = (240, 180, 20)
IGNORED: Colour = (150, 150, 150)

TILE = 192
"""Smallest side of a picture on a sheet: smaller ones are enlarged."""
GAP = 6
"""Between pictures, in pixels."""
LINE = 26
"""Height of a line of text."""


def overlay(picture: np.ndarray, mask: np.ndarray, palette: Palette, strength: float = 0.55) -> np.ndarray:
    """The picture with every class but the background tinted and outlined; ignored pixels turn grey."""
    tinted = picture.copy()
    for class_id, colour in enumerate(palette.colours):
        if colour is None:
            continue
        inside = mask == class_id
        tinted[inside] = _blend(tinted[inside], colour, strength)
        outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tinted, outlines, -1, colour, 1, cv2.LINE_AA)
    ignored = mask >= len(palette.names)
    tinted[ignored] = _blend(tinted[ignored], IGNORED, 0.8)
    return tinted


def with_legend(picture: np.ndarray, mask: np.ndarray, palette: Palette) -> np.ndarray:
    """The picture with the names and colours of the classes in its mask in the lower left corner.

    Letters grow with the picture, and shrink below a size that can be read only where the legend would not fit the
    picture otherwise.
    """
    there = np.bincount(mask.ravel(), minlength=256) > 0
    named = zip(palette.names, palette.colours, there, strict=False)
    legend = [(name, colour) for name, colour, seen in named if seen and colour]
    if not legend:
        return picture
    height, width = picture.shape[:2]
    line = max(LINE, min(height, width) / 24)
    longest = max(ImageFont.load_default(0.6 * line).getlength(name) for name, _ in legend)
    line *= min(1, height / (line * len(legend)), width / (1.6 * line + longest))
    font = ImageFont.load_default(max(1, 0.6 * line))
    longest = max(font.getlength(name) for name, _ in legend)
    page = Image.fromarray(picture)
    draw = ImageDraw.Draw(page)
    top = height - line * len(legend)
    draw.rectangle((0, top, 1.6 * line + longest, height), PAPER)
    for number, (name, colour) in enumerate(legend):
        middle = top + (number + 0.5) * line
        draw.rectangle((0.4 * line, middle - 0.3 * line, line, middle + 0.3 * line), colour)
        draw.text((1.3 * line, middle), name, INK, font, anchor="lm")
    return np.asarray(page)


def error_map(picture: np.ndarray, truth: np.ndarray, prediction: np.ndarray, palette: Palette) -> np.ndarray:
    """The picture in grey, and over it what became of the foreground, in ``error_colours``.

    Without a background among the classes all is foreground, right or taken for another.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    shown = np.repeat(grey[..., None] // 2 + 90, 3, axis=2).astype(np.uint8)
    counted = truth < len(palette.names)
    there, found = (counted & (ids != palette.background) for ids in (truth, prediction))
    kinds = (
        (there & found & (truth == prediction), RIGHT, 0.45),
        (found & ~there, INVENTED, 0.75),
        (there & ~found, MISSED, 0.75),
        (there & found & (truth != prediction), CONFUSED, 0.75),
        (~counted, IGNORED, 0.6),
    )
    for where, colour, strength in kinds:
        shown[where] = _blend(shown[where], colour, strength)
    return shown


def error_colours(palette: Palette) -> dict[str, Colour]:
    """The colours that an ``error_map`` of such classes may show, by what they stand for; one for the ignored aside."""
    colours = {"right": RIGHT}
    if palette.background is not None:
        colours |= {"invented": INVENTED, "missed": MISSED}
    if len(palette.legend) > 1:
        colours["confused"] = CONFUSED
    return colours


def draw_predictions(
    path: Path, pictures: np.ndarray, truths: np.ndarray, logits: np.ndarray, palette: Palette
) -> None:
    """Write a sheet: a column per sample; photo, truth, prediction and errors below one another; a legend."""
    predictions = decide(logits)
    rows = {
        "photo": list(pictures),
        "truth": [overlay(p, m, palette) for p, m in zip(pictures, truths, strict=True)],
        "prediction": [overlay(p, m, palette) for p, m in zip(pictures, predictions, strict=True)],
        "errors": [error_map(p, t, m, palette) for p, t, m in zip(pictures, truths, predictions, strict=True)],
    }
    _save(path, sheet(rows, _legend(palette, [*truths, *predictions]) | error_colours(palette)))


def draw_batch(path: Path, pictures: np.ndarray, masks: np.ndarray, palette: Palette) -> None:
    """Write a sheet of samples as training sees them: pictures, and their masks over them."""
    rows = {
        "picture": list(pictures),
        "mask": [overlay(p, m, palette) for p, m in zip(pictures, masks, strict=True)],
    }
    _save(path, sheet(rows, {**_legend(palette, masks), "ignored": IGNORED}))


def draw_samples(path: Path, samples: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], palette: Palette) -> None:
    """Write a sheet: a column for each named sample, which is the picture and the mask of all its variants.

    Below one another: the first variant's picture, then every variant with its mask over it.
    """
    columns = list(samples.values())
    rows = {"photo": [variants[0][0] for variants in columns]}
    for number in range(len(columns[0])):
        title = f"as training sees it, {number}" if number else "mask"
        rows[title] = [overlay(*variants[number], palette) for variants in columns]
    seen = _legend(palette, [mask for variants in columns for _, mask in variants])
    _save(path, sheet(rows, {**seen, "ignored": IGNORED}, list(samples)))


def sheet(
    rows: Mapping[str, Sequence[np.ndarray]], legend: Mapping[str, Colour], captions: Sequence[str] = ()
) -> np.ndarray:
    """Pictures in named rows, below them a caption for each column and a legend: one uint8 (H, W, 3) picture."""
    first = next(iter(rows.values()))[0]
    factor = max(1, math.ceil(TILE / min(first.shape[:2])))
    height, width = factor * first.shape[0], factor * first.shape[1]
    page_width = GAP + max(len(row) for row in rows.values()) * (width + GAP)
    font = ImageFont.load_default(15)
    places = _legend_places(legend, font, page_width)
    lines = len(rows) + bool(captions) + 1 + places[-1][0]
    page = Image.new("RGB", (page_width, len(rows) * height + lines * LINE + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(page)
    for number, (title, row) in enumerate(rows.items()):
        top = number * (height + LINE)
        draw.text((GAP, top + LINE // 2), title, INK, font, anchor="lm")
        for column, picture in enumerate(row):
            tile = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)
            page.paste(Image.fromarray(tile), (GAP + column * (width + GAP), top + LINE))
    top = len(rows) * (height + LINE) + GAP + LINE // 2
    for column, caption in enumerate(captions):
        draw.text((GAP + column * (width + GAP), top), _fitting(caption, font, width), INK, font, anchor="lm")
    top += LINE * bool(captions)
    for (name, colour), (line, left) in zip(legend.items(), places, strict=True):
        middle = top + line * LINE
        draw.rectangle((left, middle - 7, left + 14, middle + 7), colour)
        draw.text((left + 20, middle), name, INK, font, anchor="lm")
    return np.asarray(page)


def _legend(palette: Palette, masks: Iterable[np.ndarray]) -> dict[str, Colour]:
    """The colours of the classes that are seen in some masks."""
    seen = {palette.names[class_id] for mask in masks for class_id in np.unique(mask) if class_id < len(palette.names)}
    return {name: colour for name, colour in palette.legend.items() if name in seen}


def _legend_places(legend: Mapping[str, Colour], font: Any, width: int) -> list[tuple[int, int]]:
    """Line, and pixels from the left, of every entry of a legend that is so many pixels wide."""
    places, line, left = [], 0, GAP
    for name in legend:
        needed = 20 + round(font.getlength(name)) + 3 * GAP
        if left + needed > width and left > GAP:
            line, left = line + 1, GAP
        places.append((line, left))
        left += needed
    return places


def _fitting(text: str, font: Any, width: int) -> str:
    """The end of a text, which tells names apart, if all of it is too long."""
    while font.getlength(text) > width and len(text) > 1:
        text = "…" + text.removeprefix("…")[1:]
    return text


def draw_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Write the curves of a training: loss on the left, Dice and Jaccard (over the data set) on the right."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    panels = (
        (losses, {"loss": "#444466"}),
        (scores, {"jaccard": "#009e73", "dice": "#0072b2"}),
    )
    for axes, quantities in panels:
        for name, colour in quantities.items():
            axes.plot(
                epochs,
                [row[name] for row in history],
                "--",
                color=colour,
                alpha=0.6,
                label=f"{name}, training",
            )
            axes.plot(
                epochs,
                [row[f"val_{name}"] for row in history],
                "-o",
                ms=3,
                color=colour,
                label=f"{name}, validation",
            )
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    scores.set_ylim(0, 1)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _blend(pixels: np.ndarray, colour: Colour, strength: float) -> np.ndarray:
    return (pixels * (1 - strength) + np.array(colour) * strength).astype(np.uint8)


def _save(path: Path, picture: np.ndarray) -> None:
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary)
