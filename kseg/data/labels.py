"""From what a mask file stores (values or colours) to class ids."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from kseg.errors import ConfigError, DataError, did_you_mean
from kseg.palette import parse_colour

Stored = int | tuple[int, int, int]
"""What stands in a mask's pixel: a value, or an RGB colour."""

OTHER = "other"
"""The key of ``data.mask_values`` for all that it does not name."""

EITHER: dict[Stored, int] = {0: 0, 1: 1, 255: 1}
"""What masks of one class store; those of a file 0 and 1, or 0 and 255."""

UNKNOWN = -1
SHOWN = 6
"""How many unknown values a message lists."""

LONGEST = 12
"""So many known values are no mapping that anybody would copy from a message."""


class LabelMap:
    """Turns stored masks into class ids, and refuses values it was not told about.

    ``mask_values`` maps what is stored, and by the key ``"other"`` all that it does not name. Where it names nothing:
    in the binary case 0 and 1, or 0 and 255, whichever the file uses (where 255 is, 1 is a soft edge like any other
    value); with more classes the stored value is the class id, and ``ignore_class`` is itself.
    """

    def __init__(
        self,
        classes: Sequence[str],
        mask_values: Mapping[str, str | int] | None = None,
        ignore_class: int = 255,
    ) -> None:
        self.classes = tuple(classes)
        self.ignore_class = ignore_class
        self.binary = len(classes) == 1
        given = {key: class_id(key, value, classes, ignore_class) for key, value in (mask_values or {}).items()}
        self._other = given.pop(OTHER, UNKNOWN)
        named = {_parse_stored(key): found for key, found in given.items()}
        kinds = {isinstance(stored, tuple) for stored in named}
        if len(kinds) > 1:
            raise ConfigError("data.mask_values: values and colours are mixed; write all keys as colours")
        self.colours = kinds == {True}
        """Whether masks are to be read as colours (H, W, 3) rather than as values (H, W)."""
        self._named = bool(named)
        self._either = self.binary and not named
        identity: dict[Stored, int] = {value: value for value in (*range(len(classes)), ignore_class)}
        self._known = named or (EITHER if self.binary else identity)

    def encode(self, stored: np.ndarray) -> np.ndarray:
        """Stored values (H, W), or colours (H, W, 3), to class ids uint8 (H, W).

        Raises DataError (without the file's name, which the caller knows) listing the unknown values, how many
        pixels have each, and the setting that would map them.
        """
        if self.colours:
            return self._encode_colours(stored)
        if self._either:
            return self._encode_binary(stored)
        highest = int(stored.max(initial=0))
        if stored.min(initial=0) < 0 or highest > 65535:
            raise DataError(f"values up to {highest}; a mask stores 0 to 65535")
        table = np.full(highest + 1, self._other, np.int16)
        for value, found in self._known.items():
            if isinstance(value, int) and value <= highest:
                table[value] = found
        ids = table[stored]
        if (ids == UNKNOWN).any():
            raise DataError(self._complain(stored[ids == UNKNOWN]))
        return ids.astype(np.uint8)

    def _encode_binary(self, stored: np.ndarray) -> np.ndarray:
        # Not np.unique, which sorts: it would take as long as decoding the file.
        nothing, one, full = (stored == value for value in EITHER)
        if (nothing | one).all():
            return stored.astype(np.uint8)
        if (nothing | full).all():
            return full.astype(np.uint8)
        shown = full if full.any() else one
        unknown = ~(nothing | shown)
        # 0, 1 and 255 alone are no soft edges: 255 may be the class, or what is to be ignored
        if self._other == UNKNOWN or np.array_equal(unknown, one):
            raise DataError(self._complain(stored[unknown]))
        return np.where(unknown, self._other, shown).astype(np.uint8)

    def _encode_colours(self, stored: np.ndarray) -> np.ndarray:
        codes = _pack(stored)
        ids = np.full(codes.shape, self._other, np.int16)
        for colour, found in self._known.items():
            ids[codes == _pack(np.array(colour))] = found
        if (ids == UNKNOWN).any():
            raise DataError(self._complain(codes[ids == UNKNOWN]))
        return ids.astype(np.uint8)

    def _complain(self, unknown: np.ndarray) -> str:
        values, counts = np.unique(unknown, return_counts=True)
        by_count = np.argsort(-counts)[:SHOWN]
        shown = [(_show(int(values[i]), self.colours), int(counts[i])) for i in by_count]
        found = ", ".join(f"{value} ({count} pixels)" for value, count in shown)
        more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
        known = ", ".join(_show(value, self.colours) for value in self._known)
        if self._either:
            known = "0 and 1, or 0 and 255" + (", and this file mixes them" if 1 in values else "")
        smooth = "; so many values mean soft edges or JPEG: save hard labels as PNG" if len(values) > 20 else ""
        advice = self._advise([value for value, _ in shown], whole=not more)
        return f"unknown mask values {found}{more}{smooth}; known are {known}; {advice}"

    def _advise(self, unknown: Sequence[str], whole: bool) -> str:
        """A mapping of unknown values; where none was given, of the known ones, too, which it must name as well.

        ``whole``: whether these are all of a file's unknown values.
        """
        if self._named:
            return f'add them to mask_values, such as "{unknown[0]}" = 1, or "ignore"; or add "other" = "ignore"'
        rest = 'map the rest at once: mask_values = { "other" = "ignore" }'
        known = {
            str(value): '"ignore"' if found == self.ignore_class else found for value, found in self._known.items()
        }
        if not whole or len(known) > LONGEST:
            return rest
        mapping = ", ".join(f'"{value}" = {found}' for value, found in (known | dict.fromkeys(unknown, 1)).items())
        every = f'map all, such as mask_values = {{ {mapping} }}, each to a class or "ignore"'
        return every if self._either and list(unknown) == ["1"] else f"{every}; or {rest}"


def class_id(key: str, value: str | int, classes: Sequence[str], ignore_class: int) -> int:
    """What an entry of ``data.mask_values`` maps to: a class by name or id, or ``"ignore"``. Raises ConfigError."""
    if value in ("ignore", ignore_class):
        return ignore_class
    names = ["background", *classes] if len(classes) == 1 else list(classes)
    if isinstance(value, int) and 0 <= value < len(names):
        return value
    if isinstance(value, str) and value in names:
        return names.index(value)
    raise ConfigError(
        f'data.mask_values: "{key}" = {value!r} is no class{did_you_mean(str(value), names)}; '
        f'there are {", ".join(f"{name} ({i})" for i, name in enumerate(names))}, and "ignore"'
    )


def _parse_stored(text: str) -> Stored:
    """``"255"``, ``"128,0,0"`` or ``"#800000"``."""
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return parse_colour(text)
    if re.fullmatch(r"\d{1,5}", text) and int(text) <= 65535:
        return int(text)
    parts = text.replace(" ", "").split(",")
    if len(parts) == 3 and all(part.isdecimal() and int(part) <= 255 for part in parts):
        return int(parts[0]), int(parts[1]), int(parts[2])
    raise ConfigError(
        f'data.mask_values: "{text}" is neither a value such as "255" nor a colour such as "128,0,0" or "#800000"'
    )


def _pack(colours: np.ndarray) -> np.ndarray:
    """RGB in the last axis to one integer 0xRRGGBB."""
    wide = colours.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _show(value: Stored, colour: bool) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value >> 16},{value >> 8 & 255},{value & 255}" if colour else str(value)
