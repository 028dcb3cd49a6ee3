"""Films through OpenCV, frame by frame, so that memory does not grow with a film's length. Sound is not kept.

A frame is uint8 (H, W, 3), RGB, upright by the film's own rotation; a size is (height, width).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from kseg.errors import DataError, KsegError
from kseg.files import replacing

ASSUMED_RATE = 30.0
"""Frames per second where a camera or a film does not say, or says what cannot be."""

HIGHEST_RATE = 1000.0
"""A film that claims more gives the ticks of its clock, not its frames."""

LATE = 0.05
"""Share of the frames promised that may be missing: some formats only promise a length, that of the sound included."""

SMALLEST_SIDE = 32
"""Of a film to be written: with frames of a few pixels, OpenCV's encoders damage the memory of the process."""

CUT = 25.0
"""Mean difference of grey levels (of 255) between frames from which on they show different scenes."""

COMPARED_AT = 64, 36
"""Width and height at which they are compared."""


class Film:
    """The frames of a film or camera, one after the other and once; a ``with`` statement closes it.

    Attributes:
        name: The file, or the camera.
        fps: Frames per second, the mean rate where it varies; ``ASSUMED_RATE`` where it is unknown.
        size: Height and width of the first frame.
        count: How many frames there are said to be; None if that is unknown, as with a camera.
        given: How many have been given so far.
    """

    def __init__(self, capture: cv2.VideoCapture, name: str, first: np.ndarray) -> None:
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.name = name
        self.fps = float(rate) if 0 < rate <= HIGHEST_RATE else ASSUMED_RATE
        self.size = first.shape[:2]
        self.count = int(count) if count > 0 else None
        self.given = 0
        self._capture = capture
        self._next: np.ndarray | None = first

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> "Film":
        return self

    def __next__(self) -> np.ndarray:
        frame = self._next if self._next is not None else _read(self._capture)
        self._next = None
        if frame is None:
            raise StopIteration
        self.given += 1
        return frame

    @property
    def shortfall(self) -> str:
        """After the last frame: what to tell the user if clearly fewer came than were promised, or else nothing."""
        missing = (self.count or 0) - self.given
        # a second of frames at most, however long the film
        if missing <= max(1, min(LATE * (self.count or 0), self.fps)):
            return ""
        return (
            f"{self.name}: ends early: {self.given} of {self.count} frames could be read, the rest is missing or "
            "damaged; what there is was used; copy the film again if it should be whole"
        )

    def close(self) -> None:
        """Give file or camera back; no frame comes after that."""
        self._next = None
        self._capture.release()


def open_film(path: Path) -> Film:
    """A film of any format OpenCV's FFmpeg reads, such as .mp4, .mov, .avi, .mkv and .webm.

    Raises:
        DataError: there is no such file, it is no film, or not one frame of it can be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the name")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; copy it again or remove it")
    with _quiet():
        # made absolute, so that no name is taken for an address on the network
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise DataError(
            f"{path}: cannot be opened: it is no film, or was cut off in writing or copying; "
            "copy it again, or convert it to .mp4"
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    first = _read(capture)
    if first is None:
        capture.release()
        raise DataError(f"{path}: a film of which no frame can be read; copy it again, or convert it to .mp4 elsewhere")
    return Film(capture, str(path), first)


def open_camera(index: int = 0) -> Film:
    """A camera of this machine, whose frames only end when it is unplugged.

    Raises:
        DataError: there is no such camera, or it gives no picture.
    """
    with _quiet():
        capture = cv2.VideoCapture(index)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not the oldest that was not fetched in time
    first = _read(capture) if capture.isOpened() else None
    if first is None:
        capture.release()
        raise DataError(
            f"camera {index}: gives no picture; is it plugged in, used by another program, or another number?"
        )
    return Film(capture, f"camera {index}", first)


CODECS = {
    ".mp4": ("mp4v",),  # few builds of OpenCV may encode the patented H.264
    ".avi": ("MJPG", "XVID"),
    ".webm": ("VP80", "VP90"),  # VP9 makes smaller files, and takes three times as long
}
"""OpenCV's four letters for an encoder, by the file's ending, in the order they are tried."""


class FilmWriter:
    """A film being written, inside a ``with`` statement; at its end the file is there, whole, or else not at all.

    Frames go to a hidden file beside ``path``; if the process is killed, that is what is left. A film's sides are even:
    of frames with an odd one, the last column or row is repeated, and the film is that pixel wider or higher.

    Args:
        path: Its ending decides the format: .mp4, .avi, or .webm, which browsers show.
        fps: Frames per second, kept to a thousandth.
        size: Height and width of the frames, at least ``SMALLEST_SIDE``.

    Raises:
        KsegError: the format, rate or size cannot be, this OpenCV has no encoder for it, a frame does not fit, there
            was none, or the system refuses to write.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._codecs = CODECS.get(path.suffix.lower(), ())
        if not self._codecs:
            raise KsegError(f"{path}: no format for films is known by this ending; use {', '.join(CODECS)}")
        if not 0 < fps <= HIGHEST_RATE:
            raise KsegError(f"{path}: {fps} frames per second; use a number above 0, at most {HIGHEST_RATE:g}")
        if min(size) < SMALLEST_SIDE:
            raise KsegError(
                f"{path}: frames of {size[1]} x {size[0]} pixels; a film's sides are {SMALLEST_SIDE} at least"
            )
        self.path, self.fps, self.size, self.written = path, fps, size, 0
        self._below, self._right = size[0] % 2, size[1] % 2
        self._whole = self._replacing()

    def __enter__(self) -> "FilmWriter":
        self._whole.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._whole.__exit__(kind, error, trace)

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, uint8 (H, W, 3), RGB."""
        if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
            raise KsegError(
                f"{self.path}: a frame of shape {frame.shape} and {frame.dtype}; "
                f"uint8 {(*self.size, 3)} belongs into this film"
            )
        even = cv2.copyMakeBorder(frame, 0, self._below, 0, self._right, cv2.BORDER_REPLICATE)
        self._encoder.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
        self.written += 1

    @contextlib.contextmanager
    def _replacing(self) -> Iterator[None]:
        with replacing(self.path) as temporary:
            self._encoder = self._opened(temporary)
            try:
                yield
            finally:
                self._encoder.release()
            if not self.written:
                raise KsegError(f"{self.path}: no frame was given, and a film needs one")
            self._require_whole(temporary)

    def _opened(self, temporary: Path) -> cv2.VideoWriter:
        size = self.size[1] + self._right, self.size[0] + self._below
        for letters in self._codecs:
            with _quiet():
                code = cv2.VideoWriter.fourcc(*letters)
                encoder = cv2.VideoWriter(str(temporary.resolve()), cv2.CAP_FFMPEG, code, self.fps, size)
            if encoder.isOpened():
                return encoder
        others = " or ".join(ending for ending in CODECS if ending != self.path.suffix.lower())
        raise KsegError(
            f"{self.path}: this OpenCV has no encoder for it (tried {', '.join(self._codecs)}); "
            f"try {others}, or install opencv-python-headless from PyPI"
        )

    def _require_whole(self, temporary: Path) -> None:
        """Raise KsegError where frames are missing: OpenCV keeps silent when a disk is full.

        They are counted, which takes a fraction of the time of writing them; the number in the file's header may stand
        there without them.
        """
        with _quiet():
            capture = cv2.VideoCapture(str(temporary.resolve()), cv2.CAP_FFMPEG)
        there = 0
        while capture.grab():
            there += 1
        capture.release()
        if there < self.written:
            raise KsegError(
                f"{self.path}: cannot be written: {there} of {self.written} frames arrived in the file; "
                "free some space there or choose another folder; what was there before is untouched"
            )


class Steady:
    """Less flicker: every frame's probabilities averaged with those before, from cut to cut.

    An exponential moving average, s_t = strength * s_(t-1) + (1 - strength) * p_t. It costs time: what it says is
    strength / (1 - strength) frames old on average, and something that comes or goes at once is seen once strength**n
    is under a half: at 0.5 after a frame or two, at 0.8 after four, at 0.9 after seven. Fast movement leaves a trail
    as long. A frame that differs from the one before by more than ``CUT`` starts anew.

    Args:
        strength: 0 (nothing changes) to below 1.

    Raises:
        KsegError: the strength cannot be.
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength < 1:
            raise KsegError(f"strength: {strength}; use 0 (not steadied) to below 1, such as 0.5")
        self.strength = strength
        self._small = np.zeros(0, np.float32)
        self._mean: np.ndarray | None = None

    def __call__(self, frame: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """The average up to this frame.

        Args:
            frame: uint8 (H, W, 3).
            probabilities: float32 (H, W, C), of it.
        """
        small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), COMPARED_AT, interpolation=cv2.INTER_AREA)
        small = small.astype(np.float32)
        if self._mean is None or self._mean.shape != probabilities.shape or self._cut(small):
            self._mean = probabilities
        else:
            self._mean = np.float32(self.strength) * self._mean + np.float32(1 - self.strength) * probabilities
        self._small = small
        return self._mean

    def _cut(self, small: np.ndarray) -> bool:
        return float(np.abs(small - self._small).mean()) > CUT


def _read(capture: cv2.VideoCapture) -> np.ndarray | None:
    """The next frame, RGB, or None at the end."""
    there, frame = capture.read()
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if there else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV's own remarks off the screen where kseg says in its own words what was wrong."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
