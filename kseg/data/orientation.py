"""How a picture is turned upright: the orientation in its EXIF data (CIPA DC-008)."""

from collections.abc import Callable

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
"""The EXIF tag."""

UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""From rows and columns as stored to the upright picture, by orientation; 1 is upright already."""

TURNED = range(5, 9)
"""Orientations that swap the sides."""


def orientation_of(image: Image.Image) -> int:
    """The orientation of an opened picture, 1 to 8.

    What is no orientation counts as 1, as all programs have it: some cameras write 0 for one they do not know.
    """
    found = image.getexif().get(ORIENTATION, 1)
    return found if found in UPRIGHT else 1


def turn_upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """An array (H, W, ...) of an orientation, as a person sees it."""
    return np.ascontiguousarray(UPRIGHT[orientation](stored)) if orientation in UPRIGHT else stored
