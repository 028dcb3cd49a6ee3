"""Answering photos' files with a model on a server."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kseg.data.images import read_picture
from kseg.errors import ConfigError, DataError
from kseg.inference.cleaning import Cleaning
from kseg.inference.outputs import Outputs
from kseg.inference.segmentation import Segmentation, black
from kseg.logits import SOFT
from kseg.serving.client import Client, CutOut, Segmented


class Sent(NamedTuple):
    """A photo: its file, and the bytes in it."""

    path: Path
    content: bytes


class ServerAnswerer:
    """See ``kseg.inference.folder.Answerer``; a photo's bytes are all that is sent.

    Args:
        client: Of the model.
        outputs: What is to be made of the answers.
        cleaning: What is tidied in every mask.
        batch_size: Photos in a request.

    Raises:
        ConfigError: an output that a server's answers do not suffice for.
    """

    def __init__(self, client: Client, outputs: Outputs, cleaning: Cleaning | None, batch_size: int) -> None:
        if "probabilities" in outputs.kinds:
            raise ConfigError("a server answers with masks and cut-outs; for probabilities name a run or its export")
        self.client = client
        self.outputs = outputs
        self.cleaning = cleaning
        self.batch_size = batch_size

    def read(self, photo: Path) -> Sent:
        """Read the file; the server decodes it."""
        try:
            return Sent(photo, photo.read_bytes())
        except OSError as error:
            raise DataError(f"{photo}: {error.strerror or error}") from None

    def judge(self, photos: Sequence[Sent]) -> list[tuple[Segmented, CutOut | None]]:
        """The server's masks and, where they are needed, its cut-outs. Raises ServingError if it cannot be used."""
        contents = [photo.content for photo in photos]
        masks = self.client.segment(contents)
        cuts = self.client.cutout(contents) if self.outputs.soft else [None] * len(masks)
        return list(zip(masks, cuts, strict=True))

    def finish(self, photo: Sent, judged: tuple[Segmented, CutOut | None]) -> Segmentation:
        """The segmentation, tidied. Raises DataError with the server's reason where it has none."""
        found, cut = judged
        for answer, made in ((found, found.mask), (cut, cut.picture if cut else found.mask)):
            if answer is not None and made is None:
                raise DataError(f"{photo.path}: {_reason(answer)}")
        assert found.mask is not None
        ids = len(found.coverage)
        classes = ("background", *(f"class {number}" for number in range(1, ids)))
        several = ids > 2 or found.mask.max() == 1  # a mask of one class is of 0 and 255
        mask = found.mask if several else (found.mask > 0).astype(np.uint8)
        if cut is not None and cut.picture is not None:
            segmentation = Segmentation(cut.picture[..., :3], mask, _probabilities_of(cut.picture[..., 3]), classes)
        else:
            segmentation = Segmentation(self._photo(photo, mask.shape), mask, None, classes, several=several)
        return segmentation.cleaned(self.cleaning) if self.cleaning else segmentation

    def _photo(self, photo: Sent, size: tuple[int, int]) -> np.ndarray:
        """uint8 (H, W, 3); black where it is not needed."""
        return read_picture(photo.path) if self.outputs.need_photo else black(size)


def _probabilities_of(opacity: np.ndarray) -> np.ndarray:
    """Probabilities, float32 (H, W, 1), that give a cut-out this opacity, uint8 (H, W), again."""
    return SOFT + (1 - 2 * SOFT) / 255 * opacity[..., None].astype(np.float32)


def _reason(answer: Segmented | CutOut) -> str:
    return " ".join(answer.message.split()) or f"the server gave it status {answer.status}, without a reason"
