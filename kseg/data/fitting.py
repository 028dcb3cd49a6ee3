"""Photos at the network's size, and what it says of them back at their own.

A picture is uint8 (H, W, 3), RGB; a mask is uint8 (H, W) of class ids; logits are float32 (H, W, C). A size is
(height, width). ``kseg.serving.fitting`` does the same inside a TensorFlow graph.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from kseg.data.samples import Original, Sample, View

REDUCTIONS = (8, 4, 2)
"""By what libjpeg divides the sides of a JPEG while it decodes it, in a fraction of the time."""

FINE = 8
"""A reduced photo's edges are off by no more than this part of a pixel of the network's; half of one cost 0.003 of
Jaccard."""


class Box(NamedTuple):
    """Where the photo lies on the network's picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def place(photo: tuple[int, int], size: tuple[int, int], resize: str) -> Box:
    """Where a photo's (height, width) comes to lie on ``size``: ``stretch`` fills it, ``pad`` keeps the aspect."""
    if resize == "stretch":
        return Box(0, 0, *size)
    factor = min(size[0] / photo[0], size[1] / photo[1])
    height, width = (min(whole, max(1, round(side * factor))) for side, whole in zip(photo, size, strict=True))
    return Box((size[0] - height) // 2, (size[1] - width) // 2, height, width)


def reduction(photo: tuple[int, int], view: View) -> int:
    """By what a JPEG of this (height, width) is to be reduced as it is decoded: 8, 4, 2 or 1.

    As much as leaves it no smaller than the network sees it. The cosines that are left out would have been averaged
    away anyhow. A side that cannot be divided is rounded up, so that what lies at its end moves inwards: as
    little as ``FINE`` says.
    """
    box = place(photo, *view)
    sides = (photo[0], box.height), (photo[1], box.width)
    for divisor in REDUCTIONS:
        if all(side // divisor >= inner and FINE * inner * (-side % divisor) <= side for side, inner in sides):
            return divisor
    return 1


def fit_photo(picture: np.ndarray, photo: tuple[int, int], view: View) -> tuple[np.ndarray, Box]:
    """A photo of this (height, width), whole or reduced, as the network sees it, and where it lies on that."""
    box = place(photo, *view)
    return fit_picture(picture, view.size, box), box


def fit_picture(picture: np.ndarray, size: tuple[int, int], box: Box) -> np.ndarray:
    """The picture in its box, and black around it: uint8 (*size, 3)."""
    inner = _resized(picture, box.height, box.width)
    if inner.shape[:2] == size:
        return inner
    padded = np.zeros((*size, 3), np.uint8)
    padded[box.slices] = inner
    return padded


def shrunk(picture: np.ndarray, most: int) -> np.ndarray:
    """The picture, its aspect kept, with no more pixels than ``most``, at least 1: itself if it has no more."""
    height, width = picture.shape[:2]
    if height * width <= most:
        return picture
    factor = math.sqrt(most / (height * width))
    rows = min(most, max(1, int(height * factor)))
    return cv2.resize(picture, (min(most // rows, max(1, int(width * factor))), rows), interpolation=cv2.INTER_AREA)


def fit_mask(mask: np.ndarray, size: tuple[int, int], box: Box, ignore_class: int = 255) -> np.ndarray:
    """The mask in its picture's box, by the nearest pixel so that no id is invented; around it nothing counts."""
    if mask.shape == size == (box.height, box.width):
        return mask
    padded = np.full(size, ignore_class, np.uint8)
    padded[box.slices] = cv2.resize(mask, (box.width, box.height), interpolation=cv2.INTER_NEAREST_EXACT)
    return padded


def fit_sample(original: Original, view: View, ignore_class: int) -> Sample:
    """A photo with its mask, both as the network sees them."""
    picture, box = fit_photo(original.picture, original.size, view)
    return Sample(picture, fit_mask(original.mask, view.size, box, ignore_class))


def restore(logits: np.ndarray, photo: tuple[int, int], box: Box) -> np.ndarray:
    """The network's logits at the photo's own (height, width): linear between the centres of pixels."""
    return np.stack(list(restored_channels(logits, photo, box)), axis=-1)


def restored_channels(logits: np.ndarray, photo: tuple[int, int], box: Box) -> Iterator[np.ndarray]:
    """The same channel by channel, float32 (H, W) each: OpenCV resizes four at once at most, and they may be large."""
    for channel in np.moveaxis(logits[box.slices], -1, 0):
        yield cv2.resize(channel, photo[::-1], interpolation=cv2.INTER_LINEAR)


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Averaged over areas along a side that shrinks, then linear along one that grows."""
    smaller = min(height, picture.shape[0]), min(width, picture.shape[1])
    if smaller != picture.shape[:2]:
        picture = cv2.resize(picture, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != (height, width):
        # in float32: on bytes, OpenCV's weights are coarse, and every eighth pixel would be one level off
        grown = cv2.resize(picture.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        picture = np.rint(grown).astype(np.uint8)
    return picture
