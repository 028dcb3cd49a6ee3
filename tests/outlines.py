"""What the tests of annotation sources share: pictures made on the spot, and a slow rasteriser to compare with."""

import json

import numpy as np
from PIL import Image

from kseg.settings import DataSettings

ORIENTATION = 0x0112


def make_picture(path, height=6, width=6, orientation=None):
    """A grey picture of ``height`` x ``width`` as stored; EXIF may turn it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[ORIENTATION] = orientation
    Image.new("RGB", (width, height), (90, 90, 90)).save(path, exif=exif)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def settings(root, **given):
    return DataSettings(roots=(root,), **given)


def filled(*boxes, size=(6, 6)):
    """uint8 ``size`` from (top, left, bottom, right, class id) boxes, painted in order."""
    mask = np.zeros(size, np.uint8)
    for top, left, bottom, right, class_id in boxes:
        mask[top:bottom, left:right] = class_id
    return mask


def even_odd(ring, size):
    """bool ``size``: a ray to the left of each pixel's centre crosses the outline an odd number of times."""
    y, x = np.mgrid[0.5 : size[0], 0.5 : size[1]]
    inside = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 <= y) != (y1 <= y)
            inside ^= crosses & (x0 + (y - y0) / (y1 - y0) * (x1 - x0) < x)
    return inside


def distance(ring, size):
    """float ``size``: from each pixel's centre to the outline."""
    y, x = np.mgrid[0.5 : size[0], 0.5 : size[1]]
    nearest = np.full(size, np.inf)
    for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        along = end - start
        share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(along @ along, 1e-12)
        share = share.clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(start[0] + share * along[0] - x, start[1] + share * along[1] - y))
    return nearest
