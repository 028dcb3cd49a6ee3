"""What an exported version answers, compared with what the Keras network says, before anybody can see the version."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import keras
import numpy as np

from kseg.data.fitting import fit_photo, fit_picture, place, restore
from kseg.errors import ExportError
from kseg.logits import decide
from kseg.serving import session_run
from kseg.serving.graph import Contract
from kseg.serving.photo.header import Status
from kseg.settings import STRIDE

TIMEOUT = 600
"""Seconds for loading the version and answering a few photos; a machine where that takes longer cannot serve."""

LARGEST_DIFFERENCE = {"float32": 1e-4, "bfloat16": 0.25, "int8": 0.25}
"""Between probabilities. With 8 bits a pixel on an edge may move far, so the masks are what is judged."""

CHANGED_SHARE = {"float32": 0.001, "bfloat16": 0.005, "int8": 0.01}
"""Of the masks' pixels."""


class Sample(NamedTuple):
    """A photo to verify with: the bytes of its file, and the upright uint8 (H, W, 3) RGB picture in it."""

    content: bytes
    picture: np.ndarray


@dataclass(frozen=True)
class Verification:
    """How far the version is from the Keras network in float32.

    Attributes:
        precision: Of the version.
        photos: How many were answered.
        largest_difference: Between probabilities, over all batches of pixels.
        changed_share: Of the pixels of all masks, at the photos' own size.
    """

    precision: str
    photos: int
    largest_difference: float
    changed_share: float

    def require_close(self) -> None:
        """Raise ExportError if the version drifts from the network."""
        for what, value, bound in (
            ("probabilities differ by up to", self.largest_difference, LARGEST_DIFFERENCE[self.precision]),
            ("share of changed mask pixels is", self.changed_share, CHANGED_SHARE[self.precision]),
        ):
            if not value <= bound:  # a NaN is refused, too
                advice = (
                    "export with --set export.precision=float32"
                    if self.precision != "float32"
                    else "please report this"
                )
                raise ExportError(
                    f"the exported network does not answer as the trained one: {what} {value:.3g} on {self.photos} "
                    f"photos, at most {bound:g} is accepted in {self.precision}; nothing was published; {advice}"
                )


def verify(
    folder: Path, model: keras.Model, contract: Contract, precision: str, samples: Sequence[Sample]
) -> Verification:
    """Run a version in a fresh process and compare it with the network it was made of.

    Args:
        folder: Of the SavedModel.
        model: The network, in float32.
        contract: What the version was made with.
        precision: The version's.
        samples: At least one.

    Raises:
        ExportError: the version cannot be loaded or run, refuses a photo, or leaves one out.
    """
    # Two sizes, one of them odd, made of the photos themselves: noise would not be what the network knows.
    batches = {f"pixels-{height}x{width}": _batch(samples, height, width) for height, width in ((64, 96), (75, 51))}
    answers = _answers(folder, samples, batches)
    differences = []
    for name, batch in batches.items():
        expected = _expected_probabilities(model, contract, batch)
        for signature in ("probabilities", "probabilities_uint8"):
            differences.append(largest_difference(answers[f"{signature}/probabilities/{name}"], expected))
    changed, pixels = 0, 0
    for index, sample in enumerate(samples):
        if (status := int(answers["serving_default/status"][index])) != int(Status.OK):
            message = answers[f"serving_default/message_bytes/{index}"].tobytes().decode(errors="replace")
            raise ExportError(f"{folder}: the exported network refuses sample photo {index}: {message} ({status})")
        mask = cv2.imdecode(answers[f"serving_default/mask_bytes/{index}"], cv2.IMREAD_UNCHANGED)
        expected = expected_mask(model, contract, sample.picture)
        if mask is None or mask.shape != expected.shape:
            raise ExportError(
                f"{folder}: the exported network's mask of sample photo {index} is not of the photo's size"
            )
        changed += int((mask != expected).sum())
        pixels += mask.size
    # NumPy's maximum: Python's would lose a NaN
    return Verification(precision, len(samples), float(np.max(differences)), changed / pixels)


def network_pixels(contract: Contract, picture: np.ndarray) -> np.ndarray:
    """A uint8 (H, W, 3) picture as the network sees it: float32 (1, *image_size, 3)."""
    return fit_photo(picture, picture.shape[:2], contract.view)[0][None].astype(np.float32)


def expected_logits(model: keras.Model, contract: Contract, picture: np.ndarray) -> np.ndarray:
    """What a network says of a uint8 (H, W, 3) picture, at the picture's own size: float32 (H, W, C) logits."""
    box = place(picture.shape[:2], *contract.view)
    return restore(model.predict_on_batch(network_pixels(contract, picture))[0], picture.shape[:2], box)


def expected_mask(model: keras.Model, contract: Contract, picture: np.ndarray) -> np.ndarray:
    """The mask, as served, that a network gives a uint8 (H, W, 3) picture: uint8 (H, W)."""
    logits = expected_logits(model, contract, picture)
    return decide(logits, contract.threshold) * (255 if contract.binary else 1)


def largest_difference(answer: np.ndarray, expected: np.ndarray) -> float:
    """Between two arrays; NaN, which no bound accepts, if their shapes are not the same."""
    return float(np.abs(answer - expected).max()) if answer.shape == expected.shape else float("nan")


def _batch(samples: Sequence[Sample], height: int, width: int) -> np.ndarray:
    """The first two photos at a size: uint8 (N, height, width, 3)."""
    shape = height, width
    return np.stack([fit_picture(s.picture, shape, place(s.picture.shape[:2], shape, "stretch")) for s in samples[:2]])


def _expected_probabilities(model: keras.Model, contract: Contract, batch: np.ndarray) -> np.ndarray:
    """The network's, of uint8 (N, H, W, 3) continued to multiples of 32: float32 (N, H, W, C)."""
    height, width = batch.shape[1:3]
    continued = np.pad(batch, ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), "edge")
    logits = model.predict_on_batch(continued.astype(np.float32))
    return contract.probabilities(logits).numpy()[:, :height, :width]


def _answers(folder: Path, samples: Sequence[Sample], batches: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What every signature answers in a process of its own."""
    given: dict[str, Any] = {
        f"photo-{i:03}": np.frombuffer(sample.content, np.uint8) for i, sample in enumerate(samples)
    }
    with tempfile.TemporaryDirectory(prefix="kseg-verify-") as scratch:
        given |= batches
        inputs, outputs = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
        np.savez(inputs, **given)
        # -I: neither the working folder nor the user's environment changes what is imported
        command = [sys.executable, "-I", session_run.__file__, folder, inputs, outputs]
        try:
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"{folder}: the exported network gave no answer within {TIMEOUT} s; is the machine out of memory?"
            ) from None
        if done.returncode or not outputs.exists():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ExportError(
                f"{folder}: the exported network cannot be loaded and run (status {done.returncode}): {last}"
            )
        with np.load(outputs) as loaded:
            return {name: loaded[name] for name in loaded.files}
