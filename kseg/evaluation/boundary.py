"""How well a predicted outline follows the true one.

Boundary IoU is the Jaccard index of two bands: the pixels of each mask that are close to its outline (Cheng,
Girshick, Dollár, Berg and Kirillov, "Boundary IoU", CVPR 2021). Boundary F is the harmonic mean of precision and
recall of contour pixels that have one of the other contour close by (Csurka, Larlus and Perronnin, "What is a good
evaluation measure for semantic segmentation?", BMVC 2013).

Masks are uint8 (H, W) of 0 and 1. Where the truth is ignored, it is taken to be what was predicted when outlines
are drawn, so that none runs along the ignored region; and no pixel is counted there.
"""

import math

import cv2
import numpy as np

BAND = 0.02
"""Width of the band of boundary IoU, as a share of the photo's diagonal; the paper's."""

SQUARED_TOLERANCE = 9, 160_000
"""Square of boundary F's tolerance, 0.0075 (0.75 % of the diagonal; the paper's), as an exact fraction."""

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def count_boundary(truth: np.ndarray, predicted: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What boundary IoU and boundary F follow from, for one class of one photo.

    Args:
        truth: the true mask, filled with the prediction where ``counted`` is False.
        predicted: the predicted mask.
        counted: bool (H, W), False where the truth is ignored.

    Returns:
        Pixels of the bands, int64 (3,): in both, in the truth's, in the prediction's.
        Pixels of the contours, int64 (4,): the truth's with the prediction's in reach, all of the truth's, the
        prediction's with the truth's in reach, all of the prediction's.
    """
    squared_diagonal = truth.shape[0] ** 2 + truth.shape[1] ** 2
    box = _around(truth | predicted)
    masks, counted = (truth[box], predicted[box]), counted[box]

    width = max(1, round(BAND * math.sqrt(squared_diagonal)))
    bands = [(band(mask, width) > 0) & counted for mask in masks]
    of_bands = [np.count_nonzero(pixels) for pixels in (bands[0] & bands[1], *bands)]

    # Squares of distances are integers. Half an integer more, and OpenCV's rounding of the root decides nothing.
    numerator, denominator = SQUARED_TOLERANCE
    reach = math.sqrt(squared_diagonal * numerator // denominator + 0.5)
    lines = [contour(mask) for mask in masks]
    of_contours = []
    for line, other in (lines, lines[::-1]):
        pixels = (line > 0) & counted
        of_contours += [_in_reach(pixels, other, reach), np.count_nonzero(pixels)]
    return np.array(of_bands, np.int64), np.array(of_contours, np.int64)


def band(mask: np.ndarray, width: int) -> np.ndarray:
    """The mask's pixels at most ``width`` steps (8 directions) from outside it, or of the photo: uint8 (H, W).

    The paper's authors erode ``width`` times by a square of 3 pixels; that is once by one of 2 ``width`` + 1.
    """
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return mask - cv2.erode(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def contour(mask: np.ndarray) -> np.ndarray:
    """The mask's pixels beside (4 directions) a pixel of the photo that is not in it: uint8 (H, W)."""
    return mask - cv2.erode(mask, CROSS)  # OpenCV takes what is beyond the photo for mask


def f_scores(contours: np.ndarray) -> np.ndarray:
    """Boundary F, float64 (...,), from counts of contour pixels, int64 (4, ...).

    A contour on one side only scores 0; NaN without any, as for the empty class of ``kseg.objectives.overlap``.
    """
    truth_met, truth, predicted_met, predicted = contours
    recall, precision = truth_met / np.maximum(truth, 1), predicted_met / np.maximum(predicted, 1)
    total = precision + recall
    harmonic = 2 * precision * recall / np.where(total > 0, total, 1)
    return np.where(truth + predicted > 0, harmonic, math.nan)


def _around(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a mask and one pixel around it, within the photo: beyond, nothing would change."""
    left, top, width, height = cv2.boundingRect(mask)
    return slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)


def _in_reach(pixels: np.ndarray, line: np.ndarray, reach: float) -> int:
    """How many of the pixels, bool (H, W), have a pixel of the line within ``reach``, straight (Euclidean)."""
    if not line.any():  # OpenCV does not say how far nothing is
        return 0
    distances = cv2.distanceTransform(1 - line, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return int(np.count_nonzero(distances[pixels] <= reach))
