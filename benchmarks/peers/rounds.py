"""What rounds of measurements say: medians with their spread, and whether a goal is met."""

import statistics
from collections.abc import Mapping, Sequence


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (least - most)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def ratios(rates: Mapping[str, Sequence[float]], name: str, rival: str) -> list[float]:
    """How many times as fast as a rival, round by round."""
    return [own / other for own, other in zip(rates[name], rates[rival], strict=True)]


def verdict(values: Sequence[float], goal: float) -> str:
    """Whether the median reaches the goal."""
    return f"{'met' if statistics.median(values) >= goal else 'missed'}, {spread(values)}"
