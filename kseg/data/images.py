"""Reading picture and mask files, each turned upright once by its own EXIF orientation.

A picture is uint8 (H, W, 3), RGB. A mask, as stored, is an integer array (H, W) of values or uint8 (H, W, 3) of
colours; as used, it is uint8 (H, W) of class ids (see ``kseg.data.labels``).
"""

import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kseg.data.fitting import reduction
from kseg.data.orientation import TURNED, orientation_of
from kseg.data.plain_jpeg import read_plain_jpeg
from kseg.data.samples import View
from kseg.errors import DataError

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MASK_ENDING = ".png"

MAX_PIXELS = 175_000_000
"""A file that claims more is refused from its header, before anything is allocated. Pillow itself refuses little more:
178,956,970."""

MIN_SIDE = 2
"""A picture of one row or column shows nothing; it is a broken download or a tracking pixel."""

BAND_PIXELS = 1 << 16
"""Copied from Pillow to NumPy at a time, so that what lies between stays in the processor's cache."""

# Pillow's remarks on harmless metadata and large pictures. Once, for the whole process: loading takes several threads,
# and to switch warnings off and on again around each file is safe in one only.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Glance(NamedTuple):
    """What a quick look at a picture file tells.

    Attributes:
        size: (height, width) of the upright picture.
        orientation: See ``orientation_of``.
        grey: The picture, upright, made smaller where its format is decoded faster for that: uint8 (h, w).
    """

    size: tuple[int, int]
    orientation: int
    grey: np.ndarray


class Photo(NamedTuple):
    """A photo from a file, upright: pixels, uint8 (h, w, 3) RGB, whole or reduced, and its own (height, width)."""

    pixels: np.ndarray
    size: tuple[int, int]


def read_picture(path: Path) -> np.ndarray:
    """The picture in a file, upright: uint8 (H, W, 3), RGB. Raises DataError naming the file and the cause."""
    return read_photo(path).pixels


def read_photo(path: Path, view: View | None = None) -> Photo:
    """The photo in a file; if it is a JPEG and read for a view, reduced to what that needs (``fitting.reduction``).

    Raises DataError as ``read_picture``.
    """
    plain = read_plain_jpeg(path, (lambda size: reduction(size, view)) if view else None)
    if plain is not None:
        return Photo(*plain)
    opened = _open(path, draft=_reducing(view) if view else None)
    if grey := _wide_grey(opened.image, path):
        return Photo(np.repeat(np.asarray(grey)[..., None], 3, axis=2), opened.upright)
    return Photo(_as_rgb(opened.image), opened.upright)


def glance(path: Path, content: bytes, smallest: int) -> Glance:
    """Decode what was read from ``path`` whole, but a JPEG at a fraction of its size, of at least ``smallest`` pixels.

    All of a JPEG's data is read for that, so that a damaged one is noticed as by ``read_picture``.
    Raises DataError as that.
    """
    opened = _open(path, content, draft=lambda image, _: image.draft("L", (smallest, smallest)))
    grey = _wide_grey(opened.image, path) or opened.image.convert("L")
    return Glance(opened.upright, opened.orientation, np.asarray(grey))


def read_mask(path: Path, *, colours: bool) -> np.ndarray:
    """What a mask file stores, upright. Raises DataError naming the file and the cause.

    ``colours`` False: (H, W) values; of a palette file its indices, of an RGB file with equal channels one of them.
    ``colours`` True: uint8 (H, W, 3), RGB; a palette is looked up, grey becomes three equal channels.
    """
    mask = _open(path).image
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


class _Opened(NamedTuple):
    image: Image.Image
    size: tuple[int, int]
    """(width, height) as stored."""
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        width, height = self.size[::-1] if self.orientation in TURNED else self.size
        return height, width


Draft = Callable[[Image.Image, tuple[int, int]], object]
"""Called before a picture of this upright (height, width) is decoded, to have it made smaller then."""


def _reducing(view: View) -> Draft:
    def reduce(image: Image.Image, upright: tuple[int, int]) -> None:
        divisor = reduction(upright, view)
        if divisor > 1:
            image.draft(None, (image.width // divisor, image.height // divisor))

    return reduce


def _open(path: Path, content: bytes | None = None, draft: Draft | None = None) -> _Opened:
    """Decode a file, or its content if it was read before, and turn it upright."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty; copy it again or remove it")
        file = path if content is None else io.BytesIO(content)
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width * image.height} pixels")
            if min(image.size) < MIN_SIDE:
                raise DataError(f"{path}: only {image.width} x {image.height} pixels; remove it")
            opened = _Opened(image, image.size, orientation_of(image))
            if draft:
                draft(image, opened.upright)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return opened
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a picture, whatever its name says; replace or remove it") from None
    except Image.DecompressionBombError as error:
        number = re.search(r"\d+", str(error))  # Pillow, refusing by itself, tells how many in its words only
        claimed = f"{int(number[0]):,}" if number else "too many"
        raise DataError(f"{path}: claims {claimed} pixels; the limit is {MAX_PIXELS:,}; reduce it") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's decoders raise on damage
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be decoded ({reason}); copy it again, or remove it") from None


def _wide_grey(image: Image.Image, path: Path) -> Image.Image | None:
    """The upper byte of grey of 16 bits; None if there are 8 bits a channel. Raises DataError if there are 32."""
    if image.mode in {"I", "F"}:
        raise DataError(f"{path}: {image.mode} pixels of 32 bits; convert it to 8 bits a channel")
    if not image.mode.startswith("I;16"):
        return None
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


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
