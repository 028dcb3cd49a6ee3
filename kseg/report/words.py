"""Numbers as a reader wants them. What is not known (None, NaN) is a dash everywhere."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}"

LABELS = {
    "jaccard": "Jaccard",
    "dice": "Dice",
    "boundary_iou": "boundary IoU",
    "boundary_f": "boundary F",
}

Interval = Mapping[str, float | None]
"""``value``, and the ends ``low`` and ``high`` of its interval."""


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number at all."""
    return value is not None and math.isfinite(value)


def number(value: float | None) -> float:
    """The value, NaN where there is none: charts leave a gap there."""
    return math.nan if value is None else float(value)


def label(name: str) -> str:
    """A score's name in a text: ``boundary_iou`` is "boundary IoU"."""
    return LABELS.get(name, name.replace("_", " "))


def score(value: float | None) -> str:
    """Three digits: one photo in a thousand is the least that anybody could tell apart."""
    return f"{value:.3f}" if known(value) else DASH


def signed(value: float | None) -> str:
    """A difference of scores, with its sign."""
    return f"{value:+.3f}".replace("-", MINUS) if known(value) else DASH


def whole(value: float | None) -> str:
    """A whole number, in groups of three."""
    return f"{value:,.0f}" if known(value) else DASH


def counted(value: int, noun: str) -> str:
    """A number and what it is of: "1 photo", "55 photos"."""
    return f"{whole(value)} {noun}" if value == 1 else f"{whole(value)} {noun}s"


def percent(value: float | None) -> str:
    """A share of the whole, for people."""
    return f"{100 * value:.1f} %" if known(value) else DASH


def hundredths(value: float | None) -> str:
    """A share in per cent, without the sign: 0 and 100 are none and all, not what is rounded to them."""
    if not known(value):
        return DASH
    if 0 < value < 0.01:
        return "<1"
    return ">99" if 0.99 < value < 1 else f"{100 * value:.0f}"


def extent(value: float | None) -> str:
    """A share of the whole as a CSS length, never beyond it."""
    return f"{100 * min(1.0, max(0.0, value)):.1f}%" if known(value) else "0%"


def interval(value: Interval, form: str = "score") -> str:
    """The ends of an interval, of scores or of differences (``form="signed"``); empty if there is none."""
    low, high = value.get("low"), value.get("high")
    write = signed if form == "signed" else score
    return f"{write(low)} to {write(high)}" if known(low) and known(high) else ""


def listed(names: Sequence[str]) -> str:
    """ "person", "skin and hair", "skin, hair and cloth", "skin, hair, cloth and 4 more"."""
    shown = list(names) if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def sizes(photos: Sequence[Mapping[str, Any]]) -> str:
    """The smallest and the largest size among photos, width first as people say it; empty if there are none."""
    by_area = sorted({(p["width"], p["height"]) for p in photos}, key=lambda size: (size[0] * size[1], size))
    texts = [f"{width}{TIMES}{height}" for width, height in by_area[:1] + by_area[1:][-1:]]
    return " to ".join(texts) + " pixels" if texts else ""


def area(size: Mapping[str, Any]) -> str:
    """The range of areas that a size of objects stands for, in pixels."""
    if size["to"] is None:
        return f"from {whole(size['from'])} pixels"
    return (
        f"{whole(size['from'])} to {whole(size['to'])} pixels" if size["from"] else f"under {whole(size['to'])} pixels"
    )


def chance(p_value: float | None) -> str:
    """What a p-value says, in words."""
    if not known(p_value):
        return "There is too little to test whether that is more than chance."
    often = "fewer than one in a thousand" if p_value < 0.001 else percent(p_value)
    given = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    verdict = "chance alone is an unlikely explanation" if p_value < 0.05 else "this may well be chance"
    return (
        f"If the two were equally good, {often} of such comparisons would come out at least this uneven "
        f"(Wilcoxon signed-rank test over the photos, {given}): {verdict}."
    )


def calibration(ece: float | None) -> str:
    """What an expected calibration error says, in words."""
    if not known(ece):
        return "There is too little to say how far the stated probabilities can be believed."
    return (
        f"On average, a stated probability is {100 * ece:.1f} percentage points away from how often it comes true "
        f"(expected calibration error, ECE: {score(ece)}). On the diagonal, they would be the same."
    )


def plain(value: Any) -> str:
    """Any value of settings or of the data on one line."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(one)}" for key, one in value.items()) or DASH
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or DASH
    return str(value)
