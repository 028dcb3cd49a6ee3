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

UNKNOWN = -1
SHOWN = 6
"""How many unknown values a message lists."""


class LabelMap:
    """Turns stored masks into class ids, and refuses values it was not told about.

    ``mask_values`` maps what is stored, and by the key ``"other"`` all that it does not name. Without it: in the
    binary case 0 and 1, or 0 and 255, whichever the file uses; with more classes the stored value is the class id,
    and ``ignore_class`` is itself.
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
        self._ids = {_parse_stored(key): found for key, found in given.items()}
        kinds = {isinstance(stored, tuple) for stored in self._ids}
        if len(kinds) > 1:
            raise ConfigError("data.mask_values: values and colours are mixed; write all keys as colours")
        self.colours = kinds == {True}
        """Whether masks are to be read as colours (H, W, 3) rather than as values (H, W)."""

    def encode(self, stored: np.ndarray) -> np.ndarray:
        """Stored values (H, W), or colours (H, W, 3), to class ids uint8 (H, W).

        Raises DataError (without the file's name, which the caller knows) listing the unknown values, how many
        pixels have each, and the setting that would map them.
        """
        if self.colours:
            return self._encode_colours(stored)
        if not self._ids and self.binary and self._other == UNKNOWN:
            return self._encode_binary(stored)
        highest = int(stored.max(initial=0))
        if stored.min(initial=0) < 0 or highest > 65535:
            raise DataError(f"values up to {highest}; a mask stores 0 to 65535")
        table = np.full(highest + 1, self._other, np.int16)
        for value, found in (self._ids or self._identity()).items():
            if isinstance(value, int) and value <= highest:
                table[value] = found
        ids = table[stored]
        if (ids == UNKNOWN).any():
            raise DataError(self._complain(stored[ids == UNKNOWN]))
        return ids.astype(np.uint8)

    def _encode_binary(self, stored: np.ndarray) -> np.ndarray:
        # Not np.unique, which sorts: it would take as long as decoding the file.
        nothing, full = stored == 0, stored == 255
        if (nothing | (stored == 1)).all():
            return stored.astype(np.uint8)
        if (nothing | full).all():
            return full.astype(np.uint8)
        raise DataError(self._complain(stored[~np.isin(stored, [0, 255])]))

    def _encode_colours(self, stored: np.ndarray) -> np.ndarray:
        codes = _pack(stored)
        ids = np.full(codes.shape, self._other, np.int16)
        for colour, found in self._ids.items():
            ids[codes == _pack(np.array(colour))] = found
        if (ids == UNKNOWN).any():
            raise DataError(self._complain(codes[ids == UNKNOWN]))
        return ids.astype(np.uint8)

    def _identity(self) -> dict[Stored, int]:
        last = 1 if self.binary else len(self.classes) - 1
        return {value: value for value in (*range(last + 1), self.ignore_class)}

    def _complain(self, unknown: np.ndarray) -> str:
        values, counts = np.unique(unknown, return_counts=True)
        by_count = np.argsort(-counts)[:SHOWN]
        shown = [(_show(int(values[i]), self.colours), int(counts[i])) for i in by_count]
        found = ", ".join(f"{value} ({count} pixels)" for value, count in shown)
        more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
        known = ", ".join(_show(value, self.colours) for value in (self._ids or self._identity()))
        smooth = "; so many values mean soft edges or JPEG: save hard labels as PNG" if len(values) > 20 else ""
        return (
            f"unknown mask values {found}{more}{smooth}; known are {known}; "
            f'map them, such as mask_values = {{ "{shown[0][0]}" = 1 }}, or to "ignore", or "other" = "ignore"'
        )


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
    if len(parts) == 3 and all(part.isdigit() and int(part) <= 255 for part in parts):
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
