"""One pair of a data set, written anew as it should be."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from kseg.data.check.contents import ENDINGS, right_ending, type_of
from kseg.data.check.listing import Pair
from kseg.data.check.masks import class_ids
from kseg.data.images import MASK_ENDING, glance, read_mask, read_picture
from kseg.data.labels import LabelMap
from kseg.data.orientation import turn_upright
from kseg.errors import DataError

IMAGES, MASKS = "images", "masks"
"""The folders of the copy, as the settings have them by default."""

JPEG_QUALITY = 95
"""Of photos that must be stored anew."""


@dataclass
class Mended:
    """What became of a sample.

    Attributes:
        changes: Rows of the log: the file, what was changed, and what was written for it.
        kept: Whether it is in the copy.
        ignored: Whether its mask has ignored pixels.
    """

    changes: list[dict[str, str]] = field(default_factory=list)
    kept: bool = False
    ignored: bool = False

    def log(self, file: Path, change: str, written: str = "") -> None:
        """Note a change."""
        self.changes.append({"file": str(file), "change": change, "written": written})


def leave_out(pair: Pair, reason: str) -> Mended:
    """What becomes of a pair that is not copied."""
    mended = Mended()
    mended.log(pair.picture, f"left out: {reason}")
    return mended


def mend(pair: Pair, labels: LabelMap, turned: bool, out: Path) -> Mended:
    """Write an upright photo, and its mask as class ids, PNG, of the photo's size, into folders of ``out``.

    Args:
        pair: With a mask.
        labels: What the mask means.
        turned: Whether the mask lies on the photo as that is stored, and must be turned with it.
        out: A root with both folders in it.
    """
    mended = Mended()
    content = pair.picture.read_bytes()
    photo = glance(pair.picture, content, smallest=1)
    orientation = photo.orientation if turned else 1
    try:
        stored, ids = _ids(pair, labels, orientation)
    except DataError as error:
        return leave_out(pair, str(error))
    height, width = photo.size
    resized = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    written = f"{MASKS}/{pair.picture.stem}{MASK_ENDING}"
    Image.fromarray(resized).save(out / written)
    if orientation > 1:
        mended.log(_mask_of(pair), f"turned as its photo, EXIF orientation {orientation}", written)
    if resized.shape != ids.shape:
        mended.log(_mask_of(pair), f"resized from {ids.shape[1]} x {ids.shape[0]} to {width} x {height}", written)
    if not np.array_equal(stored, ids):
        mended.log(_mask_of(pair), "values are class ids now", written)
    _mend_picture(pair.picture, content, photo.orientation, mended, out)
    mended.kept, mended.ignored = True, bool((ids == labels.ignore_class).any())
    return mended


def _mask_of(pair: Pair) -> Path:
    if pair.mask is None:
        raise DataError(f"{pair.picture}: has no mask")
    return pair.mask


def _ids(pair: Pair, labels: LabelMap, orientation: int) -> tuple[np.ndarray, np.ndarray]:
    """The mask as stored and as class ids, both turned upright. Raises DataError if it cannot be used."""
    stored = turn_upright(read_mask(_mask_of(pair), colours=labels.colours), orientation)
    return stored, class_ids(stored, labels)


def _mend_picture(path: Path, content: bytes, orientation: int, mended: Mended, out: Path) -> None:
    """Copy a photo as it is, or under its right ending; store it anew only if it must be turned or converted."""
    found = type_of(content)
    if orientation == 1 and found in ENDINGS:
        ending = right_ending(path, content) or path.suffix
        written = f"{IMAGES}/{path.stem}{ending}"
        (out / written).write_bytes(content)
        if ending != path.suffix:
            mended.log(path, f"renamed: is {found}", written)
        return
    ending = ".jpg" if found == "JPEG" else ".png"
    written = f"{IMAGES}/{path.stem}{ending}"
    options = {"quality": JPEG_QUALITY, "subsampling": 0} if found == "JPEG" else {}
    Image.fromarray(read_picture(path)).save(out / written, **options)
    change = f"turned upright, EXIF orientation {orientation}" if orientation > 1 else "stored anew"
    mended.log(path, f"{change}, as {f'JPEG of quality {JPEG_QUALITY}' if found == 'JPEG' else 'PNG'}", written)
