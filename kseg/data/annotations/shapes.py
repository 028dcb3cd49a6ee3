"""What the shapes of labelme and CVAT have in common: each has a kind and a label, and one lies above another."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from kseg.data.annotations.annotated import AnnotatedSource
from kseg.data.samples import Size
from kseg.errors import DataError


class Shape(NamedTuple):
    """A shape as the file has it.

    Attributes:
        kind: Polygon, rectangle, ...
        label: Its name.
        given: All that stands there, by name.
    """

    kind: str
    label: str
    given: Mapping[str, Any]


Regions = Mapping[str, Callable[[Mapping[str, Any], Size], np.ndarray]]
"""By kind: what a shape holds, bool (H, W), of what the file says of it."""


class ShapeSource(AnnotatedSource[list[Shape]]):
    """Pictures with shapes drawn on them; a later one lies above an earlier one, and what none holds is background.

    A shape without an area, such as a line, is an error unless its label is background or ignored: nothing says how
    wide it is.
    """

    regions: ClassVar[Regions]
    """The kinds that have an area."""

    def _draw(self, drawn: list[Shape], size: Size) -> np.ndarray:
        mask = np.zeros(size, np.uint8)
        for number, shape in enumerate(drawn, 1):
            class_id = self.labels.id_of(shape.label)
            try:
                if shape.kind in self.regions:
                    mask[self.regions[shape.kind](shape.given, size)] = class_id
                elif class_id not in self.labels.no_object:
                    raise DataError('it has no area that is known here; draw a polygon, or map its label to "ignore"')
            except DataError as error:
                raise DataError(f"shape {number}, a {shape.kind} of {shape.label}: {error}") from None
        return mask


def number(given: Mapping[str, Any], key: str) -> float:
    """A finite number that a shape has. Raises DataError."""
    try:
        value = float(given[key])
    except (KeyError, TypeError, ValueError, OverflowError):
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{key} is {given.get(key)!r}, and no finite number; draw it anew, or remove it")
    return value
