"""Photos as small pictures inside the page."""

import base64
from typing import NamedTuple

import cv2
import numpy as np

from kseg.palette import Palette
from kseg.pictures import error_map, overlay
from kseg.report.contents import Shot

LONGEST_SIDE = 640
"""In pixels: sharp on a phone and in half of a desktop's page, at some 60 kB a picture."""

JPEG_QUALITY = 82


class Thumbnail(NamedTuple):
    """A picture in the page.

    Attributes:
        caption: What it shows, in a word or two.
        uri: The JPEG itself, as a data URI.
        width: In pixels.
        height: In pixels.
    """

    caption: str
    uri: str
    width: int
    height: int


def thumbnails(shot: Shot, palette: Palette) -> list[Thumbnail]:
    """The prediction over the photo, the baseline's errors if there is one, and the errors.

    Args:
        shot: Everything is made smaller before it is drawn, so that outlines keep their width.
        palette: Of the class ids.
    """
    picture = smaller(shot.picture, cv2.INTER_AREA)
    truth, prediction = (smaller(ids, cv2.INTER_NEAREST_EXACT) for ids in (shot.truth, shot.prediction))
    errors = error_map(picture, truth, prediction, palette)
    drawn = {"prediction": overlay(picture, prediction, palette), "errors": errors}
    if shot.other is not None:
        other = smaller(shot.other, cv2.INTER_NEAREST_EXACT)
        baseline = error_map(picture, truth, other, palette)
        drawn = {"prediction": drawn["prediction"], "errors of the baseline": baseline, "errors of this model": errors}
    return [Thumbnail(caption, data_uri(pixels), *pixels.shape[1::-1]) for caption, pixels in drawn.items()]


def smaller(pixels: np.ndarray, interpolation: int, longest: int = LONGEST_SIDE) -> np.ndarray:
    """At most ``longest`` wide and high, with its shape kept; what is small already stays as it is."""
    factor = longest / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=interpolation)


def data_uri(picture: np.ndarray) -> str:
    """A uint8 (H, W, 3) RGB picture as a data URI."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode("ascii")
