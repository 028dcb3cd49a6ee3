"""Answering photos' files with a network in this process."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kseg.inference.cleaning import Cleaning
from kseg.inference.predictor import Fitted, Predictor
from kseg.inference.segmentation import Segmentation


class LocalAnswerer:
    """See ``kseg.inference.folder.Answerer``.

    Args:
        predictor: The network.
        resolution, flip, soft: See ``Predictor.predict``.
        need_photo: The segmentations' pictures will be looked at.
        cleaning: What is tidied in every mask.
        batch_size: Photos judged together, at the trained resolution.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        resolution: int | str = "trained",
        flip: bool = False,
        soft: bool = True,
        need_photo: bool = True,
        cleaning: Cleaning | None = None,
        batch_size: int = 4,
    ) -> None:
        self.predictor = predictor
        self.resolution = resolution
        self.flip = flip
        self.soft = soft
        self.need_photo = need_photo or resolution != "trained"
        self.cleaning = cleaning
        self.batch_size = batch_size if resolution == "trained" else 1

    def read(self, photo: Path) -> Fitted:
        """Read a photo and bring it to the network's size."""
        return self.predictor.fit_file(photo, whole=self.need_photo)

    def judge(self, photos: Sequence[Fitted]) -> Sequence[np.ndarray | Segmentation]:
        """The logits of each; or, at another resolution, which is judged in tiles, the whole answer."""
        if self.resolution == "trained":
            return list(self.predictor.judge([photo.picture for photo in photos], self.flip))
        return [
            self.predictor.predict(photo.photo, resolution=self.resolution, flip=self.flip, soft=self.soft)
            for photo in photos
        ]

    def finish(self, photo: Fitted, judged: np.ndarray | Segmentation) -> Segmentation:
        """The segmentation, tidied."""
        found = judged if isinstance(judged, Segmentation) else self.predictor.finish(photo, judged, self.soft)
        return found.cleaned(self.cleaning) if self.cleaning else found
