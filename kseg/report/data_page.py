"""What is wrong with a data set, as one HTML file with the pictures in it: like ``kseg.report.page``, and as closed."""

from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseg import pictures
from kseg.data.check.checking import Check
from kseg.data.check.findings import MEANINGS, Finding, Severity
from kseg.data.check.parts import Shown
from kseg.data.check.statistics import size_statistics
from kseg.palette import Palette, as_text
from kseg.report.page import environment, write_page
from kseg.report.thumbnails import Thumbnail, data_uri, smaller

LONGEST_SIDE = 320
"""Of a picture in the page, in pixels."""

CARDS = 12
"""Findings of a kind that are shown with their pictures."""

LISTED = 500
"""Findings of a kind that are named; ``check.json`` has all."""

ASPECT_SHOWN = 0.03
"""Where mask and photo differ by more in shape, the one is not drawn over the other."""


class Card(NamedTuple):
    """A finding, and pictures of its samples."""

    message: str
    severity: str
    pictures: list[Thumbnail]


class Group(NamedTuple):
    """The findings of a kind.

    Attributes:
        kind: Of all of them.
        meaning: What it is, in a sentence.
        severity: The worst of theirs.
        number: How many there are.
        cards: Those that are shown.
        others: The messages of those that are only named.
    """

    kind: str
    meaning: str
    severity: str
    number: int
    cards: list[Card]
    others: list[str]


def write_data_page(path: Path, check: Check, title: str) -> None:
    """Write the page, whole or not at all. Raises KsegError if it cannot be written."""
    write_page(path, render_data(check, title))


def render_data(check: Check, title: str) -> str:
    """The page as HTML."""
    palette = Palette.of(check.data.class_ids, check.data.colours)
    groups = [_group(check, list(found), palette) for _, found in groupby(check.findings, lambda one: one.kind)]
    colours = {name: as_text(colour) for name, colour in palette.legend.items()}
    context = {
        "title": title,
        "check": check.to_json(),
        "groups": groups,
        "class_colours": colours | {"ignored or unknown": as_text(pictures.IGNORED)},
        "sizes": _sizes(check),
    }
    return environment().get_template("data.html").render(context)


def _group(check: Check, found: list[Finding], palette: Palette) -> Group:
    cards = [
        Card(
            one.message, str(one.severity), [t for name in one.samples for t in _shots(name, check.show(name), palette)]
        )
        for one in found[:CARDS]
    ]
    kind = found[0].kind
    worst = min((one.severity for one in found), key=list(Severity).index)
    others = [one.message for one in found[CARDS : CARDS + LISTED]]
    return Group(str(kind), MEANINGS[kind], str(worst), len(found), cards, others)


def _shots(name: str, shown: Shown, palette: Palette) -> list[Thumbnail]:
    """The photo with its mask over it, or the two beside one another where they are not of one shape."""
    picture, mask = shown
    small = None if picture is None else smaller(picture, cv2.INTER_AREA, LONGEST_SIDE)
    if mask is None:
        return [_thumbnail(name, small)] if small is not None else []
    ids = smaller(mask, cv2.INTER_NEAREST_EXACT, LONGEST_SIDE)
    alone = pictures.overlay(np.full((*ids.shape, 3), pictures.PAPER, np.uint8), ids, palette)
    if small is None:
        return [_thumbnail(f"{name}, mask", alone)]
    height, width = small.shape[:2]
    if abs(ids.shape[1] / ids.shape[0] * height / width - 1) > ASPECT_SHOWN:
        return [_thumbnail(name, small), _thumbnail(f"{name}, mask", alone)]
    fitted = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return [_thumbnail(name, pictures.overlay(small, fitted, palette))]


def _thumbnail(caption: str, pixels: np.ndarray) -> Thumbnail:
    height, width = pixels.shape[:2]
    return Thumbnail(caption, data_uri(pixels), width, height)


def _sizes(check: Check) -> dict[str, Any]:
    """Statistics of the pictures' sizes, as lines of a table."""
    return {
        name: "{smallest:.4g} to {largest:.4g}, median {median:.4g}".format(**value)
        if isinstance(value, dict)
        else value
        for name, value in size_statistics(check.samples).items()
    }
