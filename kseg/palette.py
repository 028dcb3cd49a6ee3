"""What the classes are called in pictures, and in which colours they are drawn."""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

Colour = tuple[int, int, int]
"""R, G and B, 0 to 255."""

BACKGROUND = "background"
"""A first class of this name is what is left of a photo: drawn as the photo itself, and nothing to be cut out."""

# Distinct for colour-blind people, too (Okabe & Ito 2008), strongest first; further classes take hues between.
OKABE_ITO: tuple[Colour, ...] = (
    (0, 158, 115),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
)
GOLDEN_ANGLE = 0.381966
"""Of the colour circle: steps of it never come close to an earlier hue."""


@dataclass(frozen=True)
class Palette:
    """Names and colours by class id.

    Attributes:
        names: One per class id.
        colours: Likewise; None: not drawn, since it is the background.
    """

    names: tuple[str, ...]
    colours: tuple[Colour | None, ...]

    @classmethod
    def of(cls, names: Sequence[str], given: Mapping[str, str] | None = None) -> Self:
        """Of classes by id: the colours ``given`` as ``"#rrggbb"`` by name, and kseg's own for the others.

        The background has none, even if one is given: pictures could not be seen for it.
        """
        chosen = {name: parse_colour(text) for name, text in (given or {}).items()}
        number = 0
        colours: list[Colour | None] = []
        for class_id, name in enumerate(names):
            hidden = class_id == 0 and name == BACKGROUND
            colours.append(None if hidden else chosen.get(name, default_colour(number)))
            number += not hidden
        return cls(tuple(names), tuple(colours))

    @property
    def background(self) -> int | None:
        """The class id that is drawn as the photo itself, if there is one."""
        return 0 if None in self.colours else None

    @property
    def foreground(self) -> dict[int, str]:
        """The names of the other class ids."""
        return {class_id: name for class_id, name in enumerate(self.names) if class_id != self.background}

    @property
    def legend(self) -> dict[str, Colour]:
        """The colour of every class that is drawn, by its name."""
        return {name: colour for name, colour in zip(self.names, self.colours, strict=True) if colour}


def default_colour(number: int) -> Colour:
    """The colour of the drawn class of this number, from 0."""
    if number < len(OKABE_ITO):
        return OKABE_ITO[number]
    red, green, blue = colorsys.hsv_to_rgb((number - len(OKABE_ITO)) * GOLDEN_ANGLE % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def parse_colour(text: str) -> Colour:
    """``"#rrggbb"``."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def as_text(colour: Colour) -> str:
    """The other way: ``"#rrggbb"``."""
    return "#" + "".join(f"{part:02x}" for part in colour)
