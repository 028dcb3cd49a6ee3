"""A served model over REST: TensorFlow Serving's JSON, with files as base64.

Arrays of numbers become text here, ten times their size: send pixels over gRPC where you can.
"""

import base64
import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kseg.serving.client.address import Address
from kseg.serving.client.port import Column, VersionState
from kseg.serving.client.trouble import OTHER_SERVER, SEND_LESS, Deadline, TroubleError, advice_on, nonsense

PASSING = (429, 502, 503, 504)
GLIMPSE = 300
"""Characters of an answer that are shown where it makes no sense."""


class RestPort:
    """Kept connections to one server, for one model; may be used by several threads."""

    def __init__(self, address: Address, certificates: Path | None) -> None:
        self._address = address
        self._context = ssl.create_default_context(cafile=certificates) if address.encrypted else None
        self._idle: list[http.client.HTTPConnection] = []

    def predict(
        self, signature: str, inputs: Mapping[str, Column], outputs: Sequence[str], deadline: Deadline
    ) -> dict[str, np.ndarray]:
        """Run a signature; where the server sends a single output, it leaves out its name: ``outputs`` has it."""
        columns = {
            name: values.tolist()
            if isinstance(values, np.ndarray)
            else [{"b64": base64.b64encode(value).decode("ascii")} for value in values]
            for name, values in inputs.items()
        }
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
        answer = _object(self._exchange("POST", f"{self._address.path}:predict", body, deadline))
        if "outputs" not in answer:
            raise nonsense(f"JSON with {sorted(answer)} in place of 'outputs'")
        found = answer["outputs"]
        if not isinstance(found, dict):
            found = {outputs[0]: found}
        return {name: _array(name, values) for name, values in found.items()}

    def states(self, deadline: Deadline) -> list[VersionState]:
        """The model's versions; the server pays no attention to labels here."""
        answer = _object(self._exchange("GET", self._address.path, None, deadline))
        try:
            return [
                VersionState(int(entry["version"]), entry["state"], entry.get("status", {}).get("error_message", ""))
                for entry in answer["model_version_status"]
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise nonsense(f"JSON with {sorted(answer)}, which is no model's status") from None

    def close(self) -> None:
        """Close the connections that wait for the next request."""
        while self._idle:
            self._idle.pop().close()

    def _exchange(self, method: str, path: str, body: bytes | None, deadline: Deadline) -> bytes:
        """Send a request, on a kept connection if there is one, and return the body of a good answer."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect(deadline)
        try:
            with _errors_as_trouble(deadline), _within(deadline, connection.sock):
                # A server that refuses a large body may have closed its side already; its answer still says why.
                with contextlib.suppress(BrokenPipeError):
                    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
                response = connection.getresponse()
                content = response.read()
        except BaseException:
            connection.close()
            self.close()  # what else was kept is likely to be gone, too
            raise
        if connection.sock is not None:  # else the server does not keep it
            self._idle.append(connection)
        if response.status == http.client.OK:
            return content
        raise _refusal(response, content)

    def _connect(self, deadline: Deadline) -> http.client.HTTPConnection:
        address = self._address
        with _errors_as_trouble(deadline):
            sock = _open_socket(address.host, address.port, deadline)
            try:
                if self._context is not None:
                    sock.settimeout(max(deadline.left, 0.001))
                    sock = self._context.wrap_socket(sock, server_hostname=address.host)
            except BaseException:
                sock.close()
                raise
        connection = http.client.HTTPConnection(address.host, address.port)  # sends Host; TLS is the socket's
        connection.sock = sock
        return connection


def _open_socket(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first of the host's addresses that answers, all of them within the deadline."""
    trouble: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(deadline.left, 0.001))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            trouble = error
    raise trouble


@contextlib.contextmanager
def _within(deadline: Deadline, sock: socket.socket) -> Iterator[None]:
    """Shut a socket down at the deadline, and raise the TroubleError that says so.

    A socket's own time-out begins anew with every byte, and so never comes where a server sends one now and then.
    """
    lock = threading.Lock()
    ended, done = False, False

    def end() -> None:
        nonlocal ended
        with lock, contextlib.suppress(OSError):
            if not done:
                ended = True
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # the plain socket's: TLS would want to say goodbye

    sock.settimeout(None)
    timer = threading.Timer(deadline.left, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if ended:
            raise deadline.missed() from None
        raise
    finally:
        timer.cancel()
        with lock:
            done = True
    if ended:  # what was read until then looks whole where its length was not announced
        raise deadline.missed()


@contextlib.contextmanager
def _errors_as_trouble(deadline: Deadline) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise deadline.missed() if deadline.over else _trouble(error) from None


def _trouble(error: OSError | http.client.HTTPException) -> TroubleError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return TroubleError(f"its certificate is not trusted: {reason}", "name the certificates to trust, or the host")
    if isinstance(error, ssl.SSLError):
        return TroubleError(f"no TLS is spoken there: {reason}", "for a server without TLS, write http://")
    if isinstance(error, socket.gaierror):
        temporary = error.errno == socket.EAI_AGAIN
        return TroubleError(f"the host is not known: {reason}", "is its name right?", passing=temporary)
    if isinstance(error, http.client.IncompleteRead):
        return TroubleError(f"the answer broke off: {reason}", "look into the server's log", passing=True)
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return TroubleError(
            f"no HTTP is spoken there: {reason[:GLIMPSE]!r}", "is this the REST port (8501 by default)?"
        )
    return TroubleError(f"no connection: {reason}", "is the server running, and is the port right?", passing=True)


def _refusal(response: http.client.HTTPResponse, content: bytes) -> TroubleError:
    """The trouble in an answer other than 200. Its JSON may be none: TensorFlow Serving escapes it as C does."""
    text = _glimpse(content)
    match = re.fullmatch(r'\{\s*"error": ?"(.*?)"?\s*\}?', text)
    message = match[1].replace('\\"', '"').replace("\\'", "'").replace("\\n", " ") if match else text
    seen = f"the server answered {response.status} {response.reason}: {message}"
    if response.status == http.client.REQUEST_ENTITY_TOO_LARGE:
        return TroubleError(seen, SEND_LESS)
    if response.status in PASSING:
        return TroubleError(seen, "the server, or a gateway before it, is not ready or too busy", passing=True)
    return TroubleError(seen, advice_on(message) if match else OTHER_SERVER)


def _object(content: bytes) -> dict[str, Any]:
    """The JSON object in an answer. NaN and Infinity, which TensorFlow Serving writes, are read."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        raise nonsense(f"{_glimpse(content)!r} is no JSON") from None
    if not isinstance(answer, dict):
        raise nonsense(f"{_glimpse(content)!r} is no JSON object")
    return answer


def _array(name: str, values: Any) -> np.ndarray:
    """An output as an array: byte strings, (N,), for a name that ends like one, else numbers of any shape."""
    if name.endswith("_bytes"):
        return _byte_strings(name, values)
    try:
        array = np.asarray(values)
    except ValueError:
        raise nonsense(f"{name} has rows of different lengths") from None
    # Without a type of ours: NumPy would read numbers from strings, and NaN from null.
    if array.dtype.kind not in "iuf":
        raise nonsense(f"{name} does not consist of numbers")
    with np.errstate(over="ignore"):  # Infinity is an answer, too
        return array.astype(np.float32) if array.dtype.kind == "f" else array


def _byte_strings(name: str, values: Any) -> np.ndarray:
    if not isinstance(values, list):
        raise nonsense(f"{name} is no list")
    strings = np.empty(len(values), object)
    for index, value in enumerate(values):
        try:
            strings[index] = base64.b64decode(value["b64"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise nonsense(f"{name}[{index}] is no base64 object") from None
    return strings


def _glimpse(content: bytes) -> str:
    return " ".join(content[: 4 * GLIMPSE].decode("utf-8", errors="replace").split())[:GLIMPSE]
