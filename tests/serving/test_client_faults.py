"""Servers that are down, busy, slow, or answer what makes no sense: one clear error, or patience where it helps."""

import contextlib
import re
import socket
import ssl
import subprocess
import threading
import time

import cv2
import numpy as np
import pytest
from fake_serving import Grpc, Rest, png, strings

from kseg.errors import ServingError
from kseg.serving.client import Client

PHOTO = png(np.full((8, 9, 3), 200, np.uint8))
BITMAP = cv2.imencode(".bmp", np.zeros((8, 9), np.uint8))[1].tobytes()
both = pytest.mark.parametrize("scheme", ["grpc", "http"])


@pytest.fixture
def start(fake):
    """Start a server for a scheme, return the address of its model people; all end with the test."""
    with contextlib.ExitStack() as started:

        def start(scheme, **options):
            if scheme.startswith("grpc"):
                pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api has the official messages")
                server = Grpc(fake, **options)
                started.callback(lambda: server.server.stop(None).wait())
                return f"{scheme}://127.0.0.1:{server.port}/people"
            server = Rest(fake, **options)
            started.callback(server.server_close)
            started.callback(server.shutdown)
            return f"{scheme}://127.0.0.1:{server.server_port}/people"

        yield start


def refusal(address, *seen, method="segment", given=None, **options):
    """The error's text, which names the address and what was seen."""
    with Client.open(address, **options) as client, pytest.raises(ServingError) as caught:
        arguments = [] if method == "status" else [[PHOTO] if given is None else given]
        getattr(client, method)(*arguments)
    message = str(caught.value)
    assert message.startswith(f"{address}: ")
    assert "\n" not in message
    for part in seen:
        assert part in message
    return message


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@both
@pytest.mark.parametrize("method", ["segment", "status"])
def test_nobody_listens(scheme, method):
    address = f"{scheme}://127.0.0.1:{free_port()}/people"
    refusal(address, "no connection", "refused", "is the server running", "(attempt 3)", method=method, retries=2)


@both
def test_a_host_that_is_not_known(scheme):
    refusal(f"{scheme}://nowhere.invalid/people", "nowhere.invalid", retries=0)


@both
def test_a_server_that_is_back_in_time(scheme, fake):
    port = free_port()
    address = f"{scheme}://127.0.0.1:{port}/people"
    servers = []

    def begin():
        time.sleep(0.5)
        servers.append(late_server(scheme, fake, port))

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        with Client.open(address, retries=20, timeout=30) as client:
            assert client.segment([PHOTO])[0].ok
    finally:
        thread.join()
        for end in servers:
            end()


def late_server(scheme, fake, port):
    if scheme == "grpc":
        pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api has the official messages")
        server = Grpc(fake, port=port)
        return lambda: server.server.stop(None).wait()
    rest = Rest(fake, port=port)
    return lambda: (rest.shutdown(), rest.server_close())


@both
@pytest.mark.parametrize("fault", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_what_passes_is_tried_again(scheme, fault, fake, start):
    address = start(scheme)
    fake.faults = [fault, fault]
    with Client.open(address) as client:
        assert client.segment([PHOTO])[0].ok
    assert fake.faults == []
    assert len(fake.seen) == 1


@pytest.mark.parametrize("fault", ["reset", "bad gateway", "half", "DEADLINE_EXCEEDED"])
def test_what_passes_over_rest_is_tried_again(fault, fake, start):
    address = start("http")
    fake.faults = [fault, fault]
    with Client.open(address) as client:
        assert client.segment([PHOTO])[0].ok
        assert len(client.segment([PHOTO, PHOTO])) == 2
    assert [rows for *_, rows in fake.seen] == [1, 2]


@both
def test_patience_has_an_end(scheme, fake, start):
    address = start(scheme)
    fake.faults = ["UNAVAILABLE"] * 10
    refusal(address, 'it\'s said to be "out"', "(attempt 3)", retries=2)
    assert len(fake.faults) == 7


@both
@pytest.mark.parametrize("fault", ["INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "INTERNAL", "UNIMPLEMENTED"])
def test_what_stays_is_not_tried_again(scheme, fault, fake, start):
    address = start(scheme)
    fake.faults = [fault] * 5
    assert "attempt" not in refusal(address, "the server answered", 'it\'s said to be "out"')
    assert len(fake.faults) == 4


@both
def test_no_attempt_begins_after_the_deadline(scheme, fake, start):
    address = start(scheme)
    fake.faults = ["UNAVAILABLE"] * 100
    begin = time.monotonic()
    refusal(address, "out", retries=50, timeout=1.0)
    assert time.monotonic() - begin < 5, "the waits alone would take minutes"


@both
@pytest.mark.parametrize("method", ["segment", "status"])
def test_a_slow_server(scheme, method, fake, start):
    address = start(scheme)
    fake.faults = ["slow"]
    begin = time.monotonic()
    refusal(address, "no whole answer within 0.5 s", "more time", timeout=0.5, method=method)
    assert time.monotonic() - begin < 5, "the server would take 20 s"


def test_the_deadline_is_one_for_all_requests_of_a_call(fake, start):
    address = start("http")
    fake.tamper = lambda outputs: time.sleep(0.4) or outputs
    refusal(address, "no whole answer within 1 s", timeout=1, batch_size=1, given=[PHOTO] * 20)
    assert len(fake.seen) <= 3


def test_a_server_that_sends_a_byte_now_and_then_is_slow(fake, start):
    address = start("http")
    fake.faults = ["drip"]
    refusal(address, "no whole answer within 0.5 s", timeout=0.5)


@both
def test_a_server_that_never_says_a_word(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/people"
        begin = time.monotonic()
        refusal(address, timeout=0.7)
        assert time.monotonic() - begin < 5


@both
@pytest.mark.parametrize("method", ["segment", "status"])
def test_junk(scheme, method, fake, start):
    address = start(scheme)
    fake.faults = ["junk"] * 3
    refusal(address, "makes no sense", "is it TensorFlow Serving that listens there?", method=method)
    assert len(fake.faults) == 2


def test_html(fake, start):
    fake.faults = ["html"]
    refusal(start("http"), "<html><body>Welcome to the proxy</body></html>", "is no JSON")


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (b"[1]", "is no JSON object"),
        (b"[" * 100_000, "is no JSON"),
        (b"{}", "in place of 'outputs'"),
        (b'{"predictions": []}', "['predictions'] in place of 'outputs'"),
        (b'{"outputs": 5}', "mask_bytes is no list"),
        (b'{"outputs": {"mask_bytes": [{"b64": "?"}]}}', "mask_bytes[0] is no base64 object"),
        (b'{"outputs": {"mask_bytes": ["raw"]}}', "mask_bytes[0] is no base64 object"),
        (b'{"outputs": {"mask_bytes": [{"b64": 5}]}}', "mask_bytes[0] is no base64 object"),
        (b'{"outputs": {"score": ["1.5"]}}', "score does not consist of numbers"),
        (b'{"outputs": {"score": [null]}}', "score does not consist of numbers"),
        (b'{"outputs": {"score": [true]}}', "score does not consist of numbers"),
        (b'{"outputs": {"coverage": [[1.0], [1.0, 2.0]]}}', "coverage has rows of different lengths"),
    ],
)
def test_json_that_is_no_answer(answer, seen):
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer) as port:
        refusal(f"http://127.0.0.1:{port}/people", seen)


@contextlib.contextmanager
def raw_server(answer):
    """Take connections one after the other, read what comes first, and send `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(1_000_000)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00\x00\x18\x04\x00\x00\x00\x00\x00\x00\x04"])
def test_another_protocol_on_the_rest_port(answer):
    with raw_server(answer) as port:
        refusal(f"http://127.0.0.1:{port}/people", "no HTTP is spoken there", "REST port (8501", timeout=5)


def test_the_ports_mixed_up(start):
    rest, grpc = start("http"), start("grpc")
    refusal(rest.replace("http", "grpc"), "is this its gRPC port (8500 by default; 8501 is REST)", retries=1)
    refusal(grpc.replace("grpc", "http"), "people: ", timeout=2, retries=1)


def without(name):
    return lambda outputs: {key: value for key, value in outputs.items() if key != name}


def replaced(name, value):
    return lambda outputs: {**outputs, name: value}


@both
@pytest.mark.parametrize(
    ("tamper", "seen"),
    [
        (without("mask_bytes"), "answered without mask_bytes; there is: coverage, message_bytes, score, status"),
        (without("message_bytes"), "answered without message_bytes"),
        (replaced("status", np.array([0], np.int32)), "status has the shape (1,), not (2)"),
        (replaced("mask_bytes", strings([b"x"] * 3)), "mask_bytes has the shape (3,), not (2)"),
        (replaced("coverage", np.zeros(2, np.float32)), "coverage has the shape (2,), not (2, *)"),
        (replaced("score", np.zeros((2, 1), np.float32)), "score has the shape (2, 1), not (2)"),
        (replaced("status", np.array([0.5, 0], np.float32)), "status is float32, not int"),
        (replaced("mask_bytes", strings([b"", b""])), "mask_bytes[0], 0 bytes"),
        (replaced("mask_bytes", strings([png(np.zeros((2, 2), np.uint8)), b"GIF89a"])), "mask_bytes[1], 6 bytes"),
        (replaced("mask_bytes", strings([BITMAP, BITMAP])), "bytes starting with b'BM"),
        (replaced("mask_bytes", strings([png(np.zeros((9, 9), np.uint8))[:40]] * 2)), "is no PNG"),
        (replaced("mask_bytes", strings([png(np.zeros((2, 2, 3), np.uint8))] * 2)), "has 3 channels of uint8, not 1"),
        (replaced("mask_bytes", strings([png(np.zeros((2, 2), np.uint16))] * 2)), "has 1 channels of uint16"),
    ],
)
def test_an_answer_that_does_not_fit_the_question(scheme, tamper, seen, fake, start):
    address = start(scheme)
    fake.tamper = tamper
    refusal(address, seen, given=[PHOTO, PHOTO])
    assert len(fake.seen) == 1, "asking again would not help"


@both
def test_a_cut_out_that_is_none(scheme, fake, start):
    address = start(scheme)
    fake.tamper = replaced("cutout_bytes", strings([png(np.zeros((2, 2, 3), np.uint8))]))
    refusal(address, "has 3 channels of uint8, not 4", method="cutout")


@both
def test_probabilities_of_another_size(scheme, fake, start):
    address = start(scheme)
    fake.tamper = replaced("probabilities", np.zeros((1, 4, 4, 1), np.float32))
    pixels = np.zeros((1, 8, 8, 3), np.float32)
    refusal(address, "probabilities (1, 4, 4, 1) for pixels (1, 8, 8, 3)", method="probabilities", given=pixels)


@both
def test_numbers_that_are_none_are_answers(scheme, fake, start):
    address = start(scheme)
    fake.tamper = lambda outputs: {
        **outputs,
        "score": np.array([np.nan], np.float32),
        "coverage": np.array([[np.inf, -np.inf]], np.float32),
    }
    with Client.open(address) as client:
        (result,) = client.segment([PHOTO])
    assert np.isnan(result.score)
    assert result.coverage.tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("given", [b"bytes", "path", ["path"], [None], [PHOTO, bytearray(b"x")]])
def test_what_is_no_list_of_file_contents_is_refused(given):
    with Client.open("http://127.0.0.1:1/people") as client, pytest.raises(ServingError, match="in place of photos"):
        client.segment(given)


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 8, 8, 4), (0, 8, 8, 3)])
def test_what_is_no_pixels_is_refused(shape):
    with Client.open("http://127.0.0.1:1/people") as client:
        with pytest.raises(ServingError, match=re.escape(str(shape))):
            client.probabilities(np.zeros(shape, np.float32))
        with pytest.raises(ServingError, match="float64"):
            client.probabilities(np.zeros((1, 8, 8, 3)))


def test_a_kept_connection_that_was_closed_is_opened_anew(fake, start):
    address = start("http")
    with Client.open(address) as client:
        assert client.segment([PHOTO])[0].ok
        client._port._idle[0].sock.shutdown(socket.SHUT_RDWR)
        assert client.segment([PHOTO])[0].ok


@both
def test_threads_share_a_client(scheme, fake, start):
    pictures = [cv2.imencode(".png", np.full((4, 4 + n, 3), 200, np.uint8))[1].tobytes() for n in range(16)]
    found = {}
    with Client.open(start(scheme)) as client:
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: client.segment([pictures[n]])[0].mask.shape}))
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: (4, 4 + n) for n in range(16)}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate for 127.0.0.1 that nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    try:
        subprocess.run(
            [*command.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True
        )
    except OSError:
        pytest.skip("there is no openssl to make a certificate")
    return folder


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_tls(scheme, certificate, start):
    if scheme == "grpcs":
        grpc = pytest.importorskip("grpc")
        pair = ((certificate / "key.pem").read_bytes(), (certificate / "cert.pem").read_bytes())
        address = start(scheme, credentials=grpc.ssl_server_credentials([pair]))
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        address = start(scheme, context=context)
    with Client.open(address, certificates=certificate / "cert.pem") as client:
        assert client.segment([PHOTO])[0].ok
        assert client.segment([PHOTO])[0].ok
    refusal(address, "certificate" if scheme == "https" else "no connection", retries=0)
    refusal(address.replace("s://", "://"), retries=0, timeout=2)


@pytest.mark.parametrize("fault", ["slow", "drip"])
def test_a_slow_server_over_tls(fault, certificate, fake, start):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    address = start("https", context=context)
    fake.faults = [fault]
    refusal(address, "no whole answer within 1 s", timeout=1, certificates=certificate / "cert.pem")


def test_a_gateways_path(start):
    address = start("http").replace("/people", "/gateway/people@stable")
    with Client.open(address) as client:
        assert client.segment([PHOTO])[0].ok
        assert len(client.status()) == 3
