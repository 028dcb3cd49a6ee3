"""What is written of a segmentation, and how: whole files under names of their own."""

import io
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np

from kseg.errors import ConfigError, DataError
from kseg.files import replacing
from kseg.inference.segmentation import Segmentation

KINDS = ("mask", "probabilities", "overlay", "cutout", "background")

SOFT_KINDS = {"probabilities", "cutout", "background"}
"""Those that need the probabilities, not only the mask."""

FORMATS = ("png", "webp", "tif", "jpg")

QUALITY: dict[str, list[int]] = {
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
    "webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100: without loss, but for colours nobody sees
    "tif": [],
    "jpg": [cv2.IMWRITE_JPEG_QUALITY, 92],
}

QUALITY_OF_MASKS = QUALITY | {"png": []}
"""OpenCV's own choice for PNG is run lengths: of a mask they are smaller, and made three times as fast."""

Background = str | tuple[int, int, int] | np.ndarray
"""``blur``, a colour (r, g, b), or a picture, uint8 (h, w, 3)."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What to write of every photo.

    Attributes:
        kinds: Of ``KINDS``. ``mask``: 0 and 255 for one class, else class ids. ``probabilities``: 0 to 255 for one
            class, else float16 (H, W, C) as ``.npy``. ``overlay``: the photo with the classes over it. ``cutout``:
            RGBA, the background transparent. ``background``: the cut-out before another one.
        format: Of ``FORMATS``; ``jpg``, which changes values, for overlays and new backgrounds only.
        background: For the kind of that name.
        legend: Name the classes on overlays.

    Raises:
        ConfigError: a kind or format that is unknown, or does not go with the other.
    """

    kinds: tuple[str, ...] = ("mask",)
    format: str = "png"
    background: Background = "blur"
    legend: bool = False

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"output {kind} is unknown; there are {', '.join(KINDS)}")
            if self.format == "jpg" and kind not in {"overlay", "background"}:
                raise ConfigError(f"format jpg would change the values of a {kind}; use png, webp or tif")
        if self.format not in FORMATS:
            raise ConfigError(f"format {self.format} is unknown; there are {', '.join(FORMATS)}")

    @property
    def soft(self) -> bool:
        """Whether the probabilities are needed."""
        return bool(SOFT_KINDS & set(self.kinds))

    @property
    def need_photo(self) -> bool:
        """Whether the photo itself is needed."""
        return set(self.kinds) != {"mask"} and set(self.kinds) != {"probabilities"}

    def files(self, out: Path, place: PurePath, several: bool) -> dict[str, Path]:
        """The file of every kind for what is to lie at ``place`` below ``out``; ``several`` as of the network."""
        endings = {kind: "npy" if kind == "probabilities" and several else self.format for kind in self.kinds}
        return {kind: out / place.with_name(f"{place.name}_{kind}.{ending}") for kind, ending in endings.items()}

    def write(self, segmentation: Segmentation, files: dict[str, Path]) -> None:
        """Write every file, whole or not at all. Raises KsegError naming the one that cannot be written."""
        for kind, path in files.items():
            with replacing(path) as temporary:
                temporary.write_bytes(self.encode(kind, segmentation))

    def encode(self, kind: str, segmentation: Segmentation) -> bytes:
        """The content of a file of one kind. Raises DataError where the format has no room for such a photo."""
        made = self.render(kind, segmentation)
        if made.dtype == np.float16:
            return _npy(made)
        stored = made if made.ndim == 2 else cv2.cvtColor(made, _TO_OPENCV[made.shape[-1]])
        quality = QUALITY_OF_MASKS if kind == "mask" else QUALITY
        fits, content = cv2.imencode(f".{self.format}", stored, quality[self.format])
        if not fits:
            height, width = made.shape[:2]
            raise DataError(f"{width} x {height} pixels are too many for {self.format}; use tif or png")
        return content.tobytes()

    def render(self, kind: str, segmentation: Segmentation) -> np.ndarray:
        """uint8 (H, W), (H, W, 3) RGB or (H, W, 4) RGBA; float16 (H, W, C) for several classes' probabilities."""
        match kind:
            case "mask":
                return segmentation.mask * np.uint8(1 if segmentation.several else 255)
            case "overlay":
                return segmentation.overlay(legend=self.legend)
            case "cutout":
                return segmentation.cutout()
            case "background":
                return segmentation.on_background(self.background)
        found = segmentation.kept_probabilities()
        return np.rint(255 * found[..., 0]).astype(np.uint8) if found.shape[-1] == 1 else found.astype(np.float16)


_TO_OPENCV = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()
