"""Plain JPEG files, which most photos are, decoded by OpenCV in half of Pillow's time, to the same pixels.

Both decode by libjpeg-turbo. Where it gives up on damaged data, Pillow raises an error, and OpenCV returns what there
is. In a baseline JPEG, libjpeg gives up only at a marker: of anything else that is damaged it makes pixels, the same in
both. So a file is plain if there are no markers among its compressed data but restarts, and the end is where it ought
to be (ITU-T T.81, B.1.1.5). All others are left to Pillow.
"""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from kseg.data.orientation import orientation_of

LARGEST = 1 << 26
"""Pixels. What claims more is left to Pillow as well."""

END = 0xD9
HARMLESS = np.isin(np.arange(256), [0x00, *range(0xD0, 0xD8)])
"""What may follow 0xFF within the data: 0x00, where 0xFF is a datum, and the eight restarts."""


REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""OpenCV's flags by what the sides are divided by; a flag for colours beside them counts for more than their names."""


def read_plain_jpeg(
    path: Path, reduction: Callable[[tuple[int, int]], int] | None = None
) -> tuple[np.ndarray, tuple[int, int]] | None:
    """The picture, uint8 (h, w, 3) RGB, and its own (height, width).

    None if the file is anything else, cannot be read, or may be damaged. ``reduction``: by what the sides are to be
    divided, 1, 2, 4 or 8, of a picture of a (height, width).
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as header:
            if header.fp is None or not _is_plain(header, np.frombuffer(content, np.uint8)[header.fp.tell() :]):
                return None
        size = header.height, header.width
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | REDUCED[reduction(size) if reduction else 1]
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        return None if pixels is None else (pixels, size)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, cv2.error):
        return None


def _is_plain(header: Image.Image, data: np.ndarray) -> bool:
    """Whether it is one scan of upright RGB; ``data`` is what comes after the scan's header, uint8 (N,)."""
    if header.format != "JPEG" or header.mode != "RGB" or "adobe" in header.info:
        return False
    if min(header.size) < 2 or header.width * header.height > LARGEST or orientation_of(header) != 1:
        return False
    marks = data[1:][data[:-1] == 0xFF]
    return len(marks) > 0 and data[-1] == marks[-1] == END and bool(HARMLESS[marks[:-1]].all())
