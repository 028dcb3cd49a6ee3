"""Tidying a mask: smooth edges, no specks, no holes."""

from dataclasses import dataclass

import cv2
import numpy as np

from kseg.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """What is tidied in a mask, in this order; as it is by default, nothing.

    A region is connected over corners, too. One that is dropped becomes background, whatever lies around it;
    ``fill_holes`` may then give it to the class around.

    Attributes:
        smooth: Radius in pixels: every pixel takes the class that most pixels within it have. Of equally many, it
            keeps its own, or takes the smaller id. Rounds corners, and removes what is thinner than about the radius.
        min_region: A region of fewer pixels than this share of the photo's is dropped, 0 to 1.
        largest: Keep the largest region of every class, one of equally large ones, and drop the others.
        fill_holes: Background of fewer pixels than this share of the photo's that foreground encloses, and the
            photo's edge does not, takes the class it has the longest border with (of equal ones, the smaller id);
            0 to 1.

    Raises:
        ConfigError: a number that cannot be.
    """

    largest: bool = False
    fill_holes: float = 0.0
    min_region: float = 0.0
    smooth: float = 0.0

    def __post_init__(self) -> None:
        for name in ("fill_holes", "min_region"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ConfigError(f"{name}: {share} is no share of the photo; use 0 to 1, such as 0.001")
        if not 0 <= self.smooth < float("inf"):
            raise ConfigError(f"smooth: {self.smooth} is no radius in pixels; use 0 or more, such as 2")

    @property
    def needs_background(self) -> bool:
        """Whether class id 0 has to be the background: what is dropped becomes it, and holes are of it."""
        return self.largest or self.min_region > 0 or self.fill_holes > 0

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        """The mask, uint8 (H, W) class ids, tidied: the same, and no id that was not in it but background."""
        if self.smooth >= 1:
            mask = _smoothed(mask, self.smooth)
        if self.largest or self.min_region:
            mask = self._without_small_regions(mask)
        if self.fill_holes:
            mask = _filled(mask, self.fill_holes * mask.size)
        return mask

    def _without_small_regions(self, mask: np.ndarray) -> np.ndarray:
        kept = np.zeros_like(mask)
        for class_id in _foreground(mask):
            inside = (mask == class_id).view(np.uint8)
            _, labels, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
            areas = stats[:, cv2.CC_STAT_AREA]
            stays = areas >= self.min_region * mask.size
            stays[0] = False  # what is not of this class
            if self.largest:
                stays &= np.arange(len(areas)) == 1 + areas[1:].argmax()
            kept[stays[labels]] = class_id
        return kept


def _foreground(mask: np.ndarray) -> list[int]:
    """The class ids in a mask other than the background's, ascending."""
    return [class_id for class_id in np.flatnonzero(np.bincount(mask.ravel())).tolist() if class_id > 0]


def _smoothed(mask: np.ndarray, radius: float) -> np.ndarray:
    """Every pixel by the majority in a disc around it, of the pixels on the photo."""
    offsets = np.arange(-int(radius), int(radius) + 1)
    disc = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float32)
    ids = [0, *_foreground(mask)]
    smoothed, most = mask.copy(), np.zeros(mask.shape, np.int32)
    votes = {class_id: _votes(mask == class_id, disc) for class_id in ids}
    for class_id in ids:
        np.copyto(most, votes[class_id], where=mask == class_id)
    for class_id in ids:
        better = votes[class_id] > most
        smoothed[better] = class_id
        most[better] = votes[class_id][better]
    return smoothed


def _votes(inside: np.ndarray, disc: np.ndarray) -> np.ndarray:
    """How many pixels of a bool (H, W) region the disc around every pixel holds: int32 (H, W)."""
    summed = cv2.filter2D(inside.astype(np.float32), -1, disc, borderType=cv2.BORDER_CONSTANT)
    return np.rint(summed).astype(np.int32)  # OpenCV may sum large discs by a Fourier transform


def _filled(mask: np.ndarray, below: float) -> np.ndarray:
    """Enclosed background of fewer than ``below`` pixels takes the class around it."""
    # Over sides only: where foreground touches over a corner, it encloses.
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask == 0).view(np.uint8), connectivity=4)
    left, top, across, down, areas = stats.T
    height, width = mask.shape
    holes = (areas < below) & (left > 0) & (top > 0) & (left + across < width) & (top + down < height)
    holes[0] = False  # the foreground
    if not holes.any():
        return mask
    borders = np.zeros((count, int(mask.max()) + 1), np.int64)
    for hole_side, other_side in _neighbours():
        label, class_id = labels[hole_side], mask[other_side]
        met = holes[label] & (class_id > 0)
        np.add.at(borders, (label[met], class_id[met]), 1)
    around = np.where(holes, borders.argmax(axis=1), 0).astype(np.uint8)
    return np.where(mask == 0, around[labels], mask)


def _neighbours() -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Two views of a picture for each of the four sides of a pixel: the pixels, and their neighbours there."""
    every, first, last = slice(None), slice(None, -1), slice(1, None)
    pairs = [((first, every), (last, every)), ((every, first), (every, last))]
    return pairs + [(other, one) for one, other in pairs]
