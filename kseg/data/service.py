"""A machine that loads training samples for others, through the tf.data service (Audibert et al. 2023).

Machines that hold the same pictures, started with the same settings, load and augment; the training only receives: see
``kseg.data.served``.

tf.data ships a pipeline as a graph, which cannot hold a Python function, and loading is one. It can hold the *name*
that TensorFlow gave to a function when it was made an operation, and the machine that runs the graph looks it up. In a
process that has made no other, this name is known beforehand: see ``TOKEN``. Only public names of TensorFlow are used;
if a newer one names functions otherwise, ``InputServer`` says so at its start, before a training can ask.
"""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kseg import __version__
from kseg.config import MACHINE_ONLY, flatten, wherever
from kseg.data.loading import Loader
from kseg.data.pipeline import TrainingOrder, sample_seeds
from kseg.errors import ConfigError, DataError, KsegError
from kseg.settings import Settings

TOKEN = "pyfunc_0"
"""TensorFlow's name for the first Python function that a process makes an operation."""

OUTPUTS = (tf.uint8, tf.uint8, tf.int64)
"""What that function gives for a position of the stream: picture, mask, seed."""

REACHED_WITHIN = 30.0
"""Seconds after which a service that does not answer is given up: it may be starting at the same time."""

SPLIT_ONLY = {"train_list", "validation_list", "validation_every", "on_bad_sample", "colours"}
"""Settings that need not be compared: the samples that follow from them are."""


def describe_samples(settings: Settings, names: Sequence[str], order: TrainingOrder) -> str:
    """What decides about the training samples, as JSON: where two machines say the same, they make the same."""
    listed = "\n".join(names[index] for index in order.indices)
    digest = hashlib.sha256(listed.encode() + order.indices.tobytes() + order.ends.tobytes()).hexdigest()
    compared = {
        key: wherever(value)
        for key, value in flatten(settings).items()
        if key.startswith(("data.", "synthetic.")) and key.partition(".")[2] not in MACHINE_ONLY | SPLIT_ONLY
    }
    samples = f"{len(order.indices)} ({digest[:12]})"
    versions = {"kseg": __version__, "tensorflow": tf.__version__}
    return json.dumps({**versions, "seed": settings.seed, **compared, "the training samples, by name": samples})


class InputServer:
    """A machine of the service: loads its samples, by their position in the stream, for trainings on the same ones.

    To be made before anything else of TensorFlow in a process of its own. Raises KsegError if ``TOKEN`` is not what
    TensorFlow calls its function.
    """

    def __init__(self) -> None:
        self._passes: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()
        self._graph = tf.Graph()  # kept, since TensorFlow forgets a function with the graph it is in
        with self._graph.as_default():
            arguments = [tf.constant(0, tf.int64), tf.constant("")]
            outputs = tf.numpy_function(self._load, arguments, OUTPUTS, stateful=False)
            operation = outputs[0].op
        made = operation.type, operation.get_attr("token").decode()
        if made != ("PyFuncStateless", TOKEN):
            raise KsegError(
                f"TensorFlow {tf.__version__} made a {made[0]} called {made[1]} of a first Python function, and not a "
                f"PyFuncStateless called {TOKEN}; data.input_service cannot work with it"
            )

    def start(
        self, loader: Loader, order: TrainingOrder, description: str, *, host: str, port: int, dispatcher: str | None
    ) -> str:
        """Serve from now on, as a further machine of ``dispatcher`` or as the first of a new service; its address.

        ``host`` is what others call this machine. A new service listens at ``port``, and its own samples are at the
        next one; a further machine's are at ``port`` itself. Raises KsegError if one is taken, or there is no service.
        """
        self._loader, self._order, self._description = loader, order, description
        service = tf.data.experimental.service
        ports = [port] if dispatcher else [port, port + 1]
        require_free(ports)
        if dispatcher:
            reach(dispatcher)
        else:
            self._dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
            dispatcher = f"grpc://localhost:{port}"
        address = f"{host}:{ports[-1]}"
        config = service.WorkerConfig(dispatcher.removeprefix("grpc://"), worker_address=address, port=ports[-1])
        self._worker = service.WorkerServer(config)
        return f"grpc://{host}:{port}"

    def _load(self, position: np.int64, description: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if description.decode() != self._description:
            raise DataError(_differences(json.loads(description), json.loads(self._description)))
        number, within = divmod(int(position), self._order.length)
        indices, seeds = self._pass(number)
        picture, mask = self._loader.load(indices[within])
        return picture, mask, seeds[within]

    def _pass(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices, int64 (N,), and seeds, int64 (N, 2), of a pass; those of it and of one beside it are kept."""
        with self._lock:
            if number not in self._passes:
                with tf.device("CPU"):  # as a pipeline's
                    pairs, seed = (part.numpy() for part in self._order.one_pass(number))
                seeds = sample_seeds(seed, pairs)
                kept = {other: self._passes[other] for other in self._passes if abs(other - number) == 1}
                self._passes = {**kept, number: (self._order.indices[pairs[:, 0]], seeds)}
            return self._passes[number]


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    listed = "; ".join(f"{key}: {ours.get(key)} there, {theirs.get(key)} here" for key in keys)
    return f"serves other samples than these: {listed}; start kseg-data serve with this CONFIG, --set and data"


def require_free(ports: Sequence[int]) -> None:
    """Raise KsegError if a port is taken: TensorFlow would say so in a way that names none."""
    for port in ports:
        try:
            with socket.create_server(("", port)):
                pass
        except (OSError, OverflowError) as error:
            raise KsegError(f"port {port} cannot be listened at: {error}; choose another with --port") from None


def reach(address: str) -> None:
    """Return once something listens at ``grpc://host:port``. Raises ConfigError if nothing does in time."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    until = time.monotonic() + REACHED_WITHIN
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED_WITHIN).close()
            return
        except (OSError, OverflowError, ValueError) as error:
            if time.monotonic() > until or not isinstance(error, ConnectionRefusedError | TimeoutError):
                raise ConfigError(
                    f"{address}: no input service answers there ({error}); start one with kseg-data serve, or mend the "
                    "address"
                ) from None
            time.sleep(0.5)
