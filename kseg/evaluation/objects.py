"""How much is found of the things in the truth, by their size.

A thing is a connected component (8 directions) of one class in the true mask. Sizes are in pixels of the photo at
its own size, with the limits of COCO (Lin et al., "Microsoft COCO", ECCV 2014).
"""

from typing import Any

import cv2
import numpy as np

SIZES: tuple[tuple[str, int, int | None], ...] = (
    ("small", 0, 32**2),
    ("medium", 32**2, 96**2),
    ("large", 96**2, None),
)
"""Name, first number of pixels, and the first that is too many."""


def count_objects(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Things of one class on one photo, from masks uint8 (H, W) of 0 and 1.

    Returns:
        int64 (sizes, 4): how many there are, their pixels, how many of these are predicted, and of how many
        things more than half is.
    """
    left, top, width, height = cv2.boundingRect(truth)
    truth, predicted = (mask[top : top + height, left : left + width] for mask in (truth, predicted))
    table = np.zeros((len(SIZES), 4), np.int64)
    if truth.size == 0:
        return table
    number, labels, areas, _ = cv2.connectedComponentsWithStats(truth, connectivity=8)
    pixels = areas[1:, cv2.CC_STAT_AREA].astype(np.int64)
    hit = np.bincount(labels[(truth & predicted) > 0], minlength=number)[1:]
    sizes = np.digitize(pixels, [first for _, first, _ in SIZES[1:]])
    np.add.at(table, sizes, np.stack([np.ones_like(pixels), pixels, hit, 2 * hit > pixels], axis=1))
    return table


def describe_objects(table: np.ndarray) -> list[dict[str, Any]]:
    """Recall of pixels and share of things found, per size, from counts int64 (sizes, 4); NaN where none is."""
    return [
        {
            "size": name,
            "from": first,
            "to": end,
            "count": int(count),
            "recall": hit / pixels if count else float("nan"),
            "found": found / count if count else float("nan"),
        }
        for (name, first, end), (count, pixels, hit, found) in zip(SIZES, table.tolist(), strict=True)
    ]
