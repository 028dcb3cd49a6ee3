"""What a model answers, checked and taken apart: one result per photo, in the order they were sent.

The signatures, as the export makes them (N photos; C = 1 for one class, or one per class id):

``serving_default``  image_bytes (N,) -> mask_bytes (N,), PNG of the photo's size, 0/255 for one class, class ids for
                     more; score float32 (N,); coverage float32 (N, ids); status int32 (N,); message_bytes (N,)
``cutout``           image_bytes (N,) -> cutout_bytes (N,), RGBA PNG; status; message_bytes
``probabilities``    pixels float32 (N, H, W, 3) -> probabilities float32 (N, H, W, C);
                     ``probabilities_uint8`` takes them as uint8
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from kseg.serving.client.trouble import TroubleError, nonsense

PNG = b"\x89PNG\r\n\x1a\n"

SEGMENT, CUTOUT = "serving_default", "cutout"
PROBABILITIES = {"float32": "probabilities", "uint8": "probabilities_uint8"}
"""By the type of the pixels."""

OUTPUTS = {
    SEGMENT: {
        "mask_bytes": ("bytes", 1), "score": ("float", 1), "coverage": ("float", 2), "status": ("int", 1),
        "message_bytes": ("bytes", 1),
    },
    CUTOUT: {"cutout_bytes": ("bytes", 1), "status": ("int", 1), "message_bytes": ("bytes", 1)},
    **{signature: {"probabilities": ("float", 4)} for signature in PROBABILITIES.values()},
}  # fmt: skip
"""By signature and name: what the output consists of, and its number of axes; the first axis is the photos'."""

_NUMPY_KINDS = {"bytes": "O", "float": "fiu", "int": "iu"}


@dataclass(frozen=True, eq=False)
class Segmented:
    """A photo's mask, or why there is none.

    ``mask`` is uint8 (H, W) of the photo's size: 0/255 for one class, class ids for more; None unless ``status`` is 0.
    ``score`` is the mean confidence, in [0, 1]; ``coverage``, float32 (ids,), the share of the pixels of every class
    id, the background's first: for one class, too, there are two.
    """

    mask: np.ndarray | None
    score: float
    coverage: np.ndarray
    status: int
    message: str

    @property
    def ok(self) -> bool:
        """Whether there is a mask."""
        return self.status == 0


@dataclass(frozen=True, eq=False)
class CutOut:
    """A photo without its background, ``picture``, uint8 (H, W, 4), RGBA; or None, and ``message`` says why."""

    picture: np.ndarray | None
    status: int
    message: str

    @property
    def ok(self) -> bool:
        """Whether there is a picture."""
        return self.status == 0


def checked(outputs: Mapping[str, np.ndarray], signature: str, rows: int) -> dict[str, np.ndarray]:
    """The outputs of a signature, all there, each of ``rows`` rows. Raises TroubleError where one is not.

    Numbers become float32 and int64; REST does not tell how wide they were.
    """
    found = {}
    for name, (kind, axes) in OUTPUTS[signature].items():
        if name not in outputs:
            there = ", ".join(sorted(outputs)) or "nothing"
            raise TroubleError(
                f"the signature {signature} answered without {name}; there is: {there}",
                "export the model with kseg-export of this version",
            )
        array = outputs[name]
        if array.dtype.kind not in _NUMPY_KINDS[kind]:
            raise nonsense(f"{name} is {array.dtype}, not {kind}")
        if array.ndim != axes or len(array) != rows:
            expected = ", ".join([str(rows), *["*"] * (axes - 1)])
            raise nonsense(f"{name} has the shape {array.shape}, not ({expected}), one row per photo sent")
        found[name] = array if kind == "bytes" else array.astype({"float": np.float32, "int": np.int64}[kind])
    return found


def segmented(outputs: Mapping[str, np.ndarray], rows: int) -> list[Segmented]:
    """The answer of ``serving_default``."""
    columns = checked(outputs, SEGMENT, rows)
    return [
        Segmented(
            mask=_decode(columns["mask_bytes"][row], f"mask_bytes[{row}]", channels=1) if status == 0 else None,
            score=float(columns["score"][row]),
            coverage=columns["coverage"][row],
            status=status,
            message=_text(columns["message_bytes"][row]),
        )
        for row, status in enumerate(columns["status"].tolist())
    ]


def cut_out(outputs: Mapping[str, np.ndarray], rows: int) -> list[CutOut]:
    """The answer of ``cutout``."""
    columns = checked(outputs, CUTOUT, rows)
    results = []
    for row, status in enumerate(columns["status"].tolist()):
        picture = None
        if status == 0:
            bgra = _decode(columns["cutout_bytes"][row], f"cutout_bytes[{row}]", channels=4)
            picture = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)
        results.append(CutOut(picture, status, _text(columns["message_bytes"][row])))
    return results


def probabilities(outputs: Mapping[str, np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """The answer to pixels (N, H, W, 3): float32 (N, H, W, C)."""
    array = checked(outputs, PROBABILITIES[pixels.dtype.name], len(pixels))["probabilities"]
    if array.shape[:3] != pixels.shape[:3]:
        raise nonsense(f"probabilities {array.shape} for pixels {pixels.shape}")
    return array


def _decode(content: bytes, name: str, *, channels: int) -> np.ndarray:
    """A PNG's pixels, uint8, as OpenCV orders its channels."""
    picture = None
    if content.startswith(PNG):
        try:
            picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:  # larger than it decodes
            picture = None
    if picture is None:
        raise nonsense(f"{name}, {len(content)} bytes starting with {content[:8]!r}, is no PNG")
    found = 1 if picture.ndim == 2 else picture.shape[2]
    if picture.dtype != np.uint8 or found != channels:
        raise nonsense(f"{name} has {found} channels of {picture.dtype}, not {channels} of uint8")
    return picture


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")
