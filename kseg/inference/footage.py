"""Films and cameras, segmented frame by frame: judged in batches, steadied if asked for, written at their own rate."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kseg.errors import KsegError
from kseg.inference.cleaning import Cleaning
from kseg.inference.film import CODECS, Film, FilmWriter, Steady
from kseg.inference.outputs import Outputs
from kseg.inference.segmentation import Segmentation
from kseg.logits import as_logits, as_probabilities

if TYPE_CHECKING:
    from kseg.inference.predictor import Predictor


def film_files(files: dict[str, Path], ending: str = ".mp4") -> dict[str, Path]:
    """The films to write for the kinds of ``files``: with the ``ending`` of the one read, or .mp4 instead."""
    ending = ending.lower() if ending.lower() in CODECS else ".mp4"
    return {kind: file.with_suffix(ending) for kind, file in files.items()}


def segment_film(
    predictor: "Predictor",
    film: Film,
    files: dict[str, Path],
    outputs: Outputs,
    *,
    flip: bool = False,
    steady: float = 0.0,
    cleaning: Cleaning | None = None,
    batch_size: int = 4,
    seen: Callable[[], bool] = lambda: True,
) -> None:
    """Write a film of every kind in ``files``.

    Args:
        predictor: The network.
        film: Its frames, at the size the network was trained at.
        files: A film's name for every kind; there may be none.
        outputs: How the kinds look.
        flip: See ``Predictor.predict``.
        steady: Of what was said before, the share that is kept; see ``Steady``.
        cleaning: What is tidied in every mask.
        batch_size: Frames judged together; a camera's are judged one by one.
        seen: Called after every frame; False ends the film, as for a camera.

    Raises:
        KsegError: a kind that no film can show, or a file that cannot be written.
    """
    if "cutout" in files:
        raise KsegError("a film cannot be transparent; ask for background instead of cutout")
    if "probabilities" in files and len(predictor.classes) > 2:
        raise KsegError("the probabilities of several classes are no film; ask for mask or overlay")
    with contextlib.ExitStack() as stack:
        writers = {kind: stack.enter_context(FilmWriter(file, film.fps, film.size)) for kind, file in files.items()}
        for found in _segmentations(predictor, film, flip, steady, batch_size):
            tidied = found.cleaned(cleaning) if cleaning else found
            for kind, writer in writers.items():
                writer.write(_in_colour(outputs.render(kind, tidied)))
            if not seen():
                break


def _segmentations(
    predictor: "Predictor", film: Film, flip: bool, steady: float, batch_size: int
) -> Iterator[Segmentation]:
    average = Steady(steady)
    frames = (predictor.fit(frame) for frame in film)
    while batch := list(islice(frames, batch_size)):
        logits = predictor.judge([frame.picture for frame in batch], flip)
        for frame, judged in zip(batch, logits, strict=True):
            if steady:
                judged = as_logits(average(frame.photo, as_probabilities(judged)))
            yield predictor.finish(frame, judged)


def _in_colour(made: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) of a grey or coloured picture."""
    return np.repeat(made[..., None], 3, axis=2) if made.ndim == 2 else made
