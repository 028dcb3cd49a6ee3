"""Masks as class ids, and what is odd about them."""

import cv2
import numpy as np

from kseg.data.check.examined import Examined
from kseg.data.check.findings import Kind, Severity
from kseg.data.fitting import place
from kseg.data.labels import LabelMap
from kseg.errors import DataError
from kseg.palette import BACKGROUND, Palette
from kseg.settings import DataSettings

TINY = 64
"""Pixels at the network's size: of 8 x 8, the encoder's deeper half sees less than one pixel."""

SPECK = 8
"""Pixels at the network's size: beside larger objects, one that small is a slip of the pen more often than not."""


def class_ids(stored: np.ndarray, labels: LabelMap) -> np.ndarray:
    """What ``labels.encode`` makes of stored values or colours, faster where there are few values."""
    if stored.ndim == 3 or stored.dtype != np.uint8:
        return labels.encode(stored)
    values = np.flatnonzero(_histogram(stored)).astype(np.uint8)
    try:
        known = labels.encode(values[None])[0]
    except DataError:
        return labels.encode(stored)  # raises, too, and counts the pixels
    table = np.zeros(256, np.uint8)
    table[values] = known
    return cv2.LUT(stored, table)


def _histogram(values: np.ndarray) -> np.ndarray:
    """Pixels of each value of a uint8 (H, W) array: int64 (256,)."""
    if values.size >= 1 << 24:  # OpenCV gives float32
        return np.bincount(values.ravel(), minlength=256)
    return cv2.calcHist([values], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def judge_mask(seen: Examined, ids: np.ndarray, title: str, data: DataSettings) -> None:
    """Count a mask that can be used, and note what is odd about it."""
    counts = _histogram(ids)
    seen.pixels = np.append(counts[: len(data.class_ids)], counts[data.ignore_class])
    present = np.flatnonzero(seen.pixels[:-1]).tolist()
    named = Palette.of(data.class_ids).foreground
    foreground = [class_id for class_id in present if class_id in named]
    if not present:
        seen.add(Kind.EMPTY, Severity.WARNING, f"{title}: is ignored all over, and teaches nothing; remove the pair")
    elif not foreground:
        message = f"{title}: is {BACKGROUND} all over; label what is there, or leave it if that is nothing"
        seen.add(Kind.EMPTY, Severity.WARNING, message)
    elif len(present) == 1 and not seen.pixels[-1]:
        message = f"{title}: is {data.class_ids[present[0]]} all over; look whether that is so, or remove the pair"
        seen.add(Kind.FULL, Severity.WARNING, message)
    else:
        _judge_objects(seen, ids, title, foreground, data)


def _judge_objects(seen: Examined, ids: np.ndarray, title: str, foreground: list[int], data: DataSettings) -> None:
    """Note objects that are nothing at the network's size, all of them or some."""
    height, width = ids.shape
    box = place(seen.size or ids.shape, data.image_size, data.resize)
    factor = box.height * box.width / ids.size
    objects = [(data.class_ids[class_id], *one) for class_id in foreground for one in _objects(ids == class_id)]
    largest = max(area for _, area, _ in objects)
    specks = [one for one in objects if one[1] * factor < SPECK]
    if largest * factor < TINY:
        severity, what = Severity.WARNING, f"nothing larger than {largest} pixels is labelled"
        chosen = objects
        advice = "label what is there, or set a larger data.image_size"
    elif specks:
        severity, what = Severity.NOTE, f"{len(specks)} speck{'s' if len(specks) > 1 else ''}"
        chosen = specks
        advice = "erase it if the pen slipped"
    else:
        return
    name, area, (x, y) = min(chosen, key=lambda one: one[1])
    message = f"{title}: {what}, such as {area} of {name} at x = {x}, y = {y} of {width} x {height}; {advice}"
    seen.add(Kind.TINY, severity, message)


def _objects(inside: np.ndarray) -> list[tuple[int, tuple[int, int]]]:
    """Area and corner (x, y) of each connected part of a bool (H, W) mask."""
    x, y, width, height = cv2.boundingRect(inside.view(np.uint8))
    numbers = cv2.CV_16U if (width + 1) * (height + 1) < 1 << 18 else cv2.CV_32S  # where they suffice, twice as fast
    _, _, parts, _ = cv2.connectedComponentsWithStats(
        inside.view(np.uint8)[y : y + height, x : x + width], connectivity=8, ltype=numbers
    )
    return [(int(area), (int(x + left), int(y + top))) for left, top, _, _, area in parts[1:]]
