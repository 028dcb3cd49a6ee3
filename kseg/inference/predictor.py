"""From a photo of any size to its segmentation: to the network's size as in training, judged, and back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from PIL import Image

from kseg.data.fitting import Box, fit_photo, fit_picture, restore, restored_channels
from kseg.data.images import read_photo, read_picture
from kseg.data.samples import View
from kseg.errors import DataError
from kseg.inference.segmentation import Segmentation, black
from kseg.inference.tiles import OVERLAP, TILE, judge_in_tiles
from kseg.logits import as_probabilities, decide, decide_by_channel
from kseg.objectives.overlap import check_threshold

Photo: TypeAlias = np.ndarray | Path | str | Image.Image
"""A photo: uint8 (H, W, 3) RGB, a file, or a Pillow image."""


class Fitted(NamedTuple):
    """A photo, uint8 (H, W, 3), the picture the network sees of it, uint8 (h, w, 3), and where it lies on that."""

    photo: np.ndarray
    picture: np.ndarray
    box: Box


class Predictor:
    """A trained network, and what it has to know of the photos it was trained on.

    Args:
        network: float32 (B, H, W, 3) pixels in [0, 255] to float32 (B, H, W, C) logits, H and W multiples of 32.
        classes: Names by class id; of one class, C = 1, the background's first.
        image_size: Height and width it was trained at.
        resize: "stretch" or "pad": how photos came to that size.
        threshold: Of one class: the probability above which a pixel belongs to it.
        colours: ``"#rrggbb"`` by name, of the classes that are not drawn in kseg's own.
    """

    def __init__(
        self,
        network: Callable[[tf.Tensor], tf.Tensor],
        *,
        classes: Sequence[str],
        image_size: tuple[int, int],
        resize: str = "stretch",
        threshold: float = 0.5,
        colours: Mapping[str, str] | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.colours = colours or {}
        self.view = View(image_size, resize)
        self.threshold = check_threshold(threshold)
        pixels = tf.TensorSpec([None, None, None, 3], tf.float32)
        self._network = tf.function(network, input_signature=[pixels], autograph=False)

    @cached_property
    def several(self) -> bool:
        """Whether the network has a logit for every class id; False: one, for the class against the background."""
        return self._network.get_concrete_function().structured_outputs.shape[-1] > 1

    def predict(
        self,
        photo: Photo,
        *,
        resolution: int | str = "trained",
        flip: bool = False,
        soft: bool = True,
        tile: int = TILE,
        overlap: int = OVERLAP,
    ) -> Segmentation:
        """Segment a photo.

        Args:
            photo: uint8 (H, W, 3) RGB, a file, or a Pillow image. A file is seen as in training (``fit_file``).
            resolution: "trained": the photo is brought to the size the network was trained at, which suits photos
                like those. "full": the network sees it pixel by pixel, which finds what is small in a large photo; or
                the longer side, in pixels, that it is brought to. What is larger than a tile is judged in tiles.
            flip: Judge the mirrored photo, too, and take the mean of the logits: twice the work, slightly better.
            soft: Keep the probabilities, 4 bytes for every pixel and class; without them there is only the mask.
            tile: Side of a tile, a multiple of 32.
            overlap: Of neighbouring tiles, in pixels, a multiple of 32 up to a third of the tile.

        Raises:
            DataError: the photo cannot be read, or is no such array; or there are no such tiles.
        """
        if resolution != "trained":
            return self._predict_large(as_picture(photo), resolution, flip, soft, tile, overlap)
        fitted = self.fit_file(Path(photo)) if isinstance(photo, str | Path) else self.fit(as_picture(photo))
        (logits,) = self.judge([fitted.picture], flip=flip)
        return self.finish(fitted, logits, soft)

    def fit(self, photo: np.ndarray) -> Fitted:
        """A uint8 (H, W, 3) photo at the network's size."""
        return Fitted(photo, *fit_photo(photo, photo.shape[:2], self.view))

    def fit_file(self, path: Path, *, whole: bool = True) -> Fitted:
        """The photo in a file at the network's size, a large JPEG by way of a reduced one, as training sees it.

        ``whole``: the photo itself is needed, too; else it is black, and takes no memory. Raises DataError if it
        cannot be read.
        """
        pixels, size = read_photo(path, self.view)
        photo = pixels if pixels.shape[:2] == size else read_picture(path) if whole else black(size)
        return Fitted(photo, *fit_photo(pixels, size, self.view))

    def judge(self, pictures: Sequence[np.ndarray] | np.ndarray, flip: bool = False) -> np.ndarray:
        """The logits, float32 (B, H, W, C), of uint8 (B, H, W, 3) pictures, H and W multiples of 32."""
        pixels = tf.cast(np.asarray(pictures), tf.float32)
        logits = self._network(pixels)
        if flip:
            logits = (logits + self._network(pixels[:, :, ::-1])[:, :, ::-1]) / 2
        return logits.numpy()

    def finish(self, fitted: Fitted, logits: np.ndarray, soft: bool = True) -> Segmentation:
        """The answer, at the photo's own size, from float32 (h, w, C) logits at the network's."""
        size = fitted.photo.shape[:2]
        if soft:
            return self._segmentation(fitted.photo, [restore(logits, size, fitted.box)], soft=True)
        mask = decide_by_channel(restored_channels(logits, size, fitted.box), self.threshold)
        return Segmentation(fitted.photo, mask, None, self.classes, self.colours, logits.shape[-1] > 1)

    def _predict_large(
        self, photo: np.ndarray, resolution: int | str, flip: bool, soft: bool, tile: int, overlap: int
    ) -> Segmentation:
        working = self._working_size(photo.shape[:2], resolution)
        whole = Box(0, 0, *working)
        picture = fit_picture(photo, working, whole)

        def network(pictures: np.ndarray) -> np.ndarray:
            return self.judge(pictures, flip)

        bands = judge_in_tiles(network, picture, tile, overlap)
        if working == photo.shape[:2]:
            return self._segmentation(photo, bands, soft)
        return self.finish(Fitted(photo, picture, whole), np.concatenate(list(bands)), soft)

    def _working_size(self, photo: tuple[int, int], resolution: int | str) -> tuple[int, int]:
        """Height and width at which the network sees a photo of (height, width)."""
        if resolution == "full":
            return photo
        if not isinstance(resolution, int) or resolution < 1:
            raise DataError(f'resolution {resolution!r}: "trained", "full" or a number of pixels is needed')
        height, width = (max(1, round(side * resolution / max(photo))) for side in photo)
        return height, width

    def _segmentation(self, photo: np.ndarray, bands: Iterable[np.ndarray], soft: bool) -> Segmentation:
        """From logits, float32 (rows, W, C), of a photo's rows from top to bottom."""
        masks, kept = [], []
        for logits in bands:
            masks.append(decide(logits, self.threshold))
            kept += [as_probabilities(logits)] if soft else []
        probabilities = _joined(kept) if soft else None
        return Segmentation(photo, _joined(masks), probabilities, self.classes, self.colours, self.several)


def as_picture(photo: Photo) -> np.ndarray:
    """uint8 (H, W, 3), RGB, of a photo, a file of one, or a Pillow image.

    Raises DataError if it cannot be read, or is another kind of array.
    """
    if isinstance(photo, str | Path):
        return read_picture(Path(photo))
    picture = np.asarray(photo.convert("RGB") if isinstance(photo, Image.Image) else photo)
    if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise DataError(
            f"a photo of {picture.dtype} and shape {picture.shape}; uint8 (height, width, 3), RGB, is needed, or a file"
        )
    return picture


def _joined(bands: list[np.ndarray]) -> np.ndarray:
    return bands[0] if len(bands) == 1 else np.concatenate(bands)
