"""Reading picture and mask files, each turned upright once by its own EXIF orientation.

A picture is uint8 (H, W, 3), RGB. A mask, as stored, is an integer array (H, W) of values or uint8 (H, W, 3) of
colours; as used, it is uint8 (H, W) of class ids (see ``kseg.data.labels``).
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kseg.errors import DataError

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MASK_ENDING = ".png"

MAX_PIXELS = 200_000_000
"""A file that claims more is refused from its header, before anything is allocated."""

MIN_SIDE = 2
"""A picture of one row or column shows nothing; it is a broken download or a tracking pixel."""

BAND_PIXELS = 1 << 16
"""Copied from Pillow to NumPy at a time, so that what lies between stays in the processor's cache."""


def read_picture(path: Path) -> np.ndarray:
    """The picture in a file, upright: uint8 (H, W, 3), RGB. Raises DataError naming the file and the cause."""
    picture = _open(path)
    if picture.mode.startswith("I;16"):
        return np.repeat((np.asarray(picture) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode in {"I", "F"}:
        raise DataError(f"{path}: {picture.mode} pixels of 32 bits; convert it to 8 bits a channel")
    return _as_rgb(picture)


def read_mask(path: Path, *, colours: bool) -> np.ndarray:
    """What a mask file stores, upright. Raises DataError naming the file and the cause.

    ``colours`` False: (H, W) values; of a palette file its indices, of an RGB file with equal channels one of them.
    ``colours`` True: uint8 (H, W, 3), RGB; a palette is looked up, grey becomes three equal channels.
    """
    mask = _open(path)
    if colours:
        return _as_rgb(mask)
    if mask.mode in {"RGB", "RGBA", "LA"}:
        channels = _as_rgb(mask)
        if (channels != channels[..., :1]).any():
            raise DataError(
                f"{path}: a coloured mask, and data.mask_values names no colours; "
                'say what they mean, such as mask_values = { "128,0,0" = 1 }'
            )
        return channels[..., 0]
    return np.asarray(mask.convert("L") if mask.mode == "1" else mask)


def _open(path: Path) -> Image.Image:
    """Decode a file whole and turn it upright."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty; copy it again or remove it")
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # remarks on harmless metadata
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{path}: claims {image.width} x {image.height} pixels; the limit is {MAX_PIXELS:,}; reduce it"
                )
            if min(image.size) < MIN_SIDE:
                raise DataError(f"{path}: only {image.width} x {image.height} pixels; remove it")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a picture, whatever its name says; replace or remove it") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}; reduce it") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's decoders raise on damage
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be decoded ({reason}); copy it again, or remove it") from None


def _as_rgb(image: Image.Image) -> np.ndarray:
    """Its colours: uint8 (H, W, 3), as ``np.asarray`` gives them, which takes longer and twice the memory."""
    if image.mode != "RGB":
        image = image.convert("RGB")
    width, height = image.size
    picture = np.empty((height, width, 3), np.uint8)
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = picture[top : top + rows]
        content = image.crop((0, top, width, top + len(band))).tobytes()
        band[:] = np.frombuffer(content, np.uint8).reshape(band.shape)
    return picture
