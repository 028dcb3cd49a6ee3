"""The client: photos in, masks out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from kseg.errors import ServingError
from kseg.serving.client import answers
from kseg.serving.client.address import Address
from kseg.serving.client.answers import CutOut, Segmented
from kseg.serving.client.port import Port, VersionState
from kseg.serving.client.trouble import Deadline, TroubleError, persist

TIMEOUT_SECONDS = 60.0
LONGEST_TIMEOUT_SECONDS = 86400.0
BATCH_SIZE = 8
RETRIES = 5
"""Together, they wait about two seconds, for a server that is out for a moment, not for one that is down."""

Outputs = Mapping[str, np.ndarray]
Rows = TypeVar("Rows", np.ndarray, list[bytes])
T = TypeVar("T")


class Client:
    """A model behind TensorFlow Serving. Made by ``Client.open``; closed by ``close`` or at the end of a ``with``.

    Every method raises ServingError, naming the address, what was seen and what to do, where the server cannot be
    reached, takes too long, has no such model, version, label or signature, or answers what makes no sense. A photo
    that cannot be read is no error: its result says so. Threads may share a client.
    """

    def __init__(self, address: Address, port: Port, *, timeout: float, batch_size: int, retries: int) -> None:
        self.address = address
        self._port = port
        self._timeout = timeout
        self._batch_size = batch_size
        self._retries = retries

    @classmethod
    def open(
        cls,
        address: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        batch_size: int = BATCH_SIZE,
        retries: int = RETRIES,
        certificates: Path | None = None,
    ) -> "Client":
        """Open ``grpc://host:8500/model``, or with grpcs, http or https, and ``@label`` or ``@version`` at its end.

        Nothing is sent yet. ``timeout`` is seconds for a whole call of a method: all its requests, their retries and
        the waits between them. ``batch_size`` photos at most go into one request. ``retries`` is how often a request
        is sent again where the server is not there or too busy. ``certificates`` is a PEM file with those to trust,
        in place of the usual ones. No proxy is used. Raises ServingError.
        """
        parsed = Address.parse(address)
        if not 0 < timeout <= LONGEST_TIMEOUT_SECONDS or batch_size < 1 or retries < 0:
            raise ServingError(
                f"timeout = {timeout}, batch_size = {batch_size}, retries = {retries}: more than 0 seconds and at "
                "most a day, at least 1 photo and at least 0 retries expected"
            )
        try:
            port = _open_port(parsed, certificates)
        except OSError as error:
            raise ServingError(f"{certificates}: no certificates can be read from it: {error}") from None
        return cls(parsed, port, timeout=timeout, batch_size=batch_size, retries=retries)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections; the client cannot be used after it."""
        self._port.close()

    def segment(self, images: Sequence[bytes]) -> list[Segmented]:
        """The masks of photos, given as the contents of JPEG, PNG, WebP, BMP or GIF files."""
        parts = self._ask(
            answers.SEGMENT, "image_bytes", _files(images), lambda found, part: answers.segmented(found, len(part))
        )
        return [result for part in parts for result in part]

    def cutout(self, images: Sequence[bytes]) -> list[CutOut]:
        """The photos without their background, given as file contents; only for models of one class."""
        parts = self._ask(
            answers.CUTOUT, "image_bytes", _files(images), lambda found, part: answers.cut_out(found, len(part))
        )
        return [result for part in parts for result in part]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Each class's probability in each pixel, float32 (N, H, W, C), of pixels (N, H, W, 3), RGB in [0, 255].

        Pixels are float32 or uint8, a quarter of the size to send. C is 1 for one class, or one per class id.
        """
        if (
            pixels.dtype.name not in answers.PROBABILITIES
            or pixels.ndim != 4
            or pixels.shape[3] != 3
            or not pixels.size
        ):
            raise ServingError(
                f"pixels {pixels.dtype} {pixels.shape}: float32 or uint8 (N, H, W, 3) expected, none of them 0"
            )
        parts = self._ask(answers.PROBABILITIES[pixels.dtype.name], "pixels", pixels, answers.probabilities)
        try:
            return np.concatenate(list(parts))
        except ValueError as error:
            raise ServingError(f"{self.address.text}: requests were answered with different classes: {error}") from None

    def status(self) -> list[VersionState]:
        """The states of the model's versions, or of the addressed version; TensorFlow Serving ignores labels here."""
        deadline = Deadline.after(self._timeout)
        return self._persist(lambda: self._port.states(deadline), deadline)

    def _ask(self, signature: str, name: str, rows: Rows, read: Callable[[Outputs, Rows], T]) -> Iterator[T]:
        """Send rows to a signature's input in requests of the batch size, and give what ``read`` makes of each answer.

        The deadline is one for all of them.
        """
        deadline = Deadline.after(self._timeout)
        for start in range(0, len(rows), self._batch_size):
            part = rows[start : start + self._batch_size]
            yield self._persist(partial(self._request, signature, name, part, read, deadline), deadline)

    def _request(
        self, signature: str, name: str, rows: Rows, read: Callable[[Outputs, Rows], T], deadline: Deadline
    ) -> T:
        return read(self._port.predict(signature, {name: rows}, list(answers.OUTPUTS[signature]), deadline), rows)

    def _persist(self, attempt: Callable[[], T], deadline: Deadline) -> T:
        try:
            return persist(attempt, deadline, self._retries)
        except TroubleError as trouble:
            raise ServingError(f"{self.address.text}: {trouble.seen}; {trouble.advice}") from None


def _files(images: Sequence[bytes]) -> list[bytes]:
    given = [images] if isinstance(images, bytes | str) else [image for image in images if not isinstance(image, bytes)]
    if given:
        raise ServingError(
            f"{type(given[0]).__name__} in place of photos: a list of file contents is expected, each bytes, as from "
            "Path.read_bytes"
        )
    return list(images)


def _open_port(address: Address, certificates: Path | None) -> Port:
    # Here: who talks to one kind of port has no need to load the other's modules.
    if address.scheme.startswith("grpc"):
        from kseg.serving.client.grpc_port import GrpcPort

        return GrpcPort(address, certificates)
    from kseg.serving.client.rest_port import RestPort

    return RestPort(address, certificates)
