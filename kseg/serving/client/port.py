"""What a server can be asked, over gRPC or REST alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kseg.serving.client.trouble import Deadline


@dataclass(frozen=True)
class VersionState:
    """A version of a model on the server.

    ``state`` is TensorFlow Serving's: START, LOADING, AVAILABLE, UNLOADING or END; ``error`` is empty, or why it
    could not be loaded.
    """

    version: int
    state: str
    error: str = ""

    @property
    def available(self) -> bool:
        """Whether it answers."""
        return self.state == "AVAILABLE"


Column = np.ndarray | Sequence[bytes]
"""An input: numbers, or the bytes of files."""


class Port(Protocol):
    """One way to a server. What goes wrong is a TroubleError; nothing is retried here, and every call ends in time."""

    def predict(
        self, signature: str, inputs: Mapping[str, Column], outputs: Sequence[str], deadline: Deadline
    ) -> dict[str, np.ndarray]:
        """Run a signature. Strings come as object arrays of bytes; ``outputs`` are the names one hopes for."""

    def states(self, deadline: Deadline) -> list[VersionState]:
        """The model's versions, or the one addressed by its number."""

    def close(self) -> None:
        """Let go of the connections."""
