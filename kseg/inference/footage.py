"""Films and cameras, segmented frame by frame: judged in batches, steadied if asked for, written at their own rate."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kseg.errors import KsegError
from kseg.inference.cleaning import Cleaning
from kseg.inference.film import CODECS, Film, FilmWriter, Steady
from kseg.inference.outputs import Outputs
from kseg.inference.segmentation import Segmentation
from kseg.logits import as_logits, as_probabilities, decide

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
    resolution: int | str = "trained",
    flip: bool = False,
    steady: float = 0.0,
    cleaning: Cleaning | None = None,
    batch_size: int = 4,
    seen: Callable[[], bool] = lambda: True,
) -> None:
    """Write a film of every kind in ``files``.

    Args:
        predictor: The network.
        film: Its frames.
        files: A film's name for every kind; there may be none.
        outputs: How the kinds look.
        resolution, flip: See ``Predictor.predict``.
        steady: Of what was said before, the share that is kept; see ``Steady``.
        cleaning: What is tidied in every mask.
        batch_size: Frames judged together, at the trained resolution; a camera's are judged one by one.
        seen: Called after every frame; False ends the film, as for a camera.

    Raises:
        KsegError: a kind that no film can show, or a file that cannot be written.
    """
    if "cutout" in files:
        raise KsegError("a film cannot be transparent; ask for background instead of cutout")
    if "probabilities" in files and predictor.several:
        raise KsegError("the probabilities of several classes are no film; ask for mask or overlay")
    if resolution == "trained":
        segmentations = _at_trained_size(predictor, film, flip, Steady(steady), batch_size)
    else:
        segmentations = _at_other_size(predictor, film, resolution, flip, Steady(steady))
    with contextlib.ExitStack() as stack:
        writers = {kind: stack.enter_context(FilmWriter(file, film.fps, film.size)) for kind, file in files.items()}
        for found in segmentations:
            tidied = found.cleaned(cleaning) if cleaning else found
            for kind, writer in writers.items():
                writer.write(_in_colour(outputs.render(kind, tidied)))
            if not seen():
                break


def _at_trained_size(
    predictor: "Predictor", film: Film, flip: bool, steady: Steady, batch_size: int
) -> Iterator[Segmentation]:
    """Of every frame, judged in batches, and steadied at the size the network sees, which is less work."""
    frames = (predictor.fit(frame) for frame in film)
    while batch := list(islice(frames, batch_size)):
        logits = predictor.judge([frame.picture for frame in batch], flip)
        for frame, judged in zip(batch, logits, strict=True):
            if steady.strength:
                judged = as_logits(steady(frame.photo, as_probabilities(judged)))
            yield predictor.finish(frame, judged)


def _at_other_size(
    predictor: "Predictor", film: Film, resolution: int | str, flip: bool, steady: Steady
) -> Iterator[Segmentation]:
    """Of every frame, judged alone, since it may take several tiles, and steadied at its own size."""
    for frame in film:
        found = predictor.predict(frame, resolution=resolution, flip=flip)
        if steady.strength and found.probabilities is not None:
            probabilities = steady(frame, found.probabilities)
            mask = decide(as_logits(probabilities), predictor.threshold)
            found = replace(found, mask=mask, probabilities=probabilities)
        yield found


def _in_colour(made: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) of a grey or coloured picture."""
    return np.repeat(made[..., None], 3, axis=2) if made.ndim == 2 else made
