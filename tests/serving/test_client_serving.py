"""Photos in, masks out, over gRPC and REST: with the small server of fake_serving, and with a real one.

``KSEG_TF_SERVING=host:grpcport:restport`` names a TensorFlow Serving with an export of kseg as its model ``people``.
"""

import os
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from fake_serving import Fake, Grpc, Rest, expected_mask, png

from kseg.errors import ServingError
from kseg.serving.client import Client


@dataclass
class Server:
    """Where it listens, and the fake behind it, if it is one."""

    ports: dict
    fake: Fake | None = None
    clients: list = field(default_factory=list)

    def open(self, scheme, model="people", **options):
        client = Client.open(f"{scheme}://{self.ports[scheme]}/{model}", **options)
        self.clients.append(client)
        return client


@pytest.fixture(params=["fake", "real"], scope="module")
def server(request):
    if request.param == "fake":
        pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api has the official messages")
        fake = Fake()
        grpc, rest = Grpc(fake), Rest(fake)
        started = Server({"grpc": f"127.0.0.1:{grpc.port}", "http": f"127.0.0.1:{rest.server_port}"}, fake)
        yield started
        for client in started.clients:
            client.close()
        grpc.server.stop(None)
        rest.shutdown()
        rest.server_close()
        return
    named = os.environ.get("KSEG_TF_SERVING")
    if not named:
        pytest.skip("KSEG_TF_SERVING names no TensorFlow Serving, host:grpcport:restport")
    host, grpc_port, rest_port = named.rsplit(":", 2)
    started = Server({"grpc": f"{host}:{grpc_port}", "http": f"{host}:{rest_port}"})
    yield started
    for client in started.clients:
        client.close()


both = pytest.mark.parametrize("scheme", ["grpc", "http"])


def photo(seed, height=40, width=56):
    return cv2.resize(np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8), (width, height))


def encoded(seed, height=40, width=56, ending=".png"):
    return cv2.imencode(ending, photo(seed, height, width)[..., ::-1])[1].tobytes()


@both
def test_a_photo_comes_back_as_a_mask_of_its_size(server, scheme):
    (result,) = server.open(scheme).segment([encoded(1)])
    assert result.ok
    assert (result.status, result.message) == (0, "")
    assert (result.mask.shape, result.mask.dtype) == ((40, 56), np.uint8)
    assert set(np.unique(result.mask)) <= {0, 255}
    assert 0 <= result.score <= 1
    assert (result.coverage.shape, result.coverage.dtype) == ((2,), np.float32)
    assert result.coverage == pytest.approx([np.mean(result.mask == 0), np.mean(result.mask == 255)], abs=1e-3)
    if server.fake:
        np.testing.assert_array_equal(result.mask, expected_mask(photo(1)))
        assert result.score == pytest.approx(photo(1).mean() / 255)


@both
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_each_photo_keeps_its_own_result_whatever_the_batches(server, scheme, batch_size):
    sizes = [(40, 56), (33, 90), (64, 64), (7, 5), (120, 31)]
    images = [encoded(seed, *size, ending) for seed, (size, ending) in enumerate(zip(sizes, ENDINGS, strict=True))]
    client = server.open(scheme, batch_size=batch_size)
    if server.fake:
        server.fake.seen.clear()
    results = client.segment(images)
    assert [result.mask.shape for result in results] == sizes
    if server.fake:
        assert [rows for *_, rows in server.fake.seen] == {1: [1] * 5, 2: [2, 2, 1], 8: [5]}[batch_size]
        for image, result in zip(images, results, strict=True):
            decoded = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            np.testing.assert_array_equal(result.mask, expected_mask(decoded))


ENDINGS = (".png", ".jpg", ".webp", ".bmp", ".png")


@both
def test_a_broken_photo_is_told_and_its_neighbours_keep_their_masks(server, scheme):
    good, broken = [encoded(1), encoded(2)], [b"", b"\xff\xd8\xff broken"]
    results = server.open(scheme).segment([broken[0], good[0], broken[1], good[1]])
    assert [result.ok for result in results] == [False, True, False, True]
    alone = server.open(scheme).segment(good)
    np.testing.assert_array_equal(results[1].mask, alone[0].mask)
    np.testing.assert_array_equal(results[3].mask, alone[1].mask)
    for result in (results[0], results[2]):
        assert result.mask is None
        assert result.status != 0
        assert result.message
        if server.fake:
            assert (result.status, result.message) == (3, "not a picture — é")


def test_both_ways_give_the_same(server):
    images = [encoded(1), b"broken", encoded(3, 50, 33)]
    over_grpc, over_rest = (server.open(scheme).segment(images) for scheme in ("grpc", "http"))
    for one, other in zip(over_grpc, over_rest, strict=True):
        assert (one.status, one.message) == (other.status, other.message)
        assert (one.mask is None) == (other.mask is None)
        assert one.mask is None or np.array_equal(one.mask, other.mask)
        np.testing.assert_allclose(one.score, other.score, rtol=1e-6)  # NaN is equal to NaN here
        np.testing.assert_allclose(one.coverage, other.coverage, rtol=1e-6)


@both
def test_a_cut_out_is_the_photo_with_the_mask_for_alpha(server, scheme):
    first, broken, second = server.open(scheme).cutout([encoded(1), b"broken", encoded(2, 30, 30)])
    assert (first.picture.shape, first.picture.dtype) == ((40, 56, 4), np.uint8)
    assert second.picture.shape == (30, 30, 4)
    assert (broken.picture, broken.ok) == (None, False)
    assert broken.message
    if server.fake:
        np.testing.assert_array_equal(first.picture[..., :3], photo(1))
        np.testing.assert_array_equal(first.picture[..., 3], expected_mask(photo(1)))


@both
def test_probabilities_of_pixels(server, scheme):
    pixels = np.stack([photo(seed, 64, 96) for seed in range(3)]).astype(np.float32)
    found = server.open(scheme, batch_size=2).probabilities(pixels)
    assert (found.shape, found.dtype) == ((3, 64, 96, 1), np.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    other = server.open("http" if scheme == "grpc" else "grpc", batch_size=2).probabilities(pixels)
    np.testing.assert_allclose(found, other, rtol=1e-6)  # JSON has all digits of a float32
    if server.fake:
        np.testing.assert_array_equal(found, (pixels[..., 1:2] / 255).astype(np.float32))


@both
def test_nothing_in_nothing_out(server, scheme):
    client = server.open(scheme)
    assert client.segment([]) == []
    assert client.cutout([]) == []


@both
def test_the_versions_are_known_and_can_be_addressed(server, scheme):
    states = server.open(scheme).status()
    available = [state.version for state in states if state.available]
    assert available
    assert server.open(scheme, f"people@{available[0]}").segment([encoded(1)])[0].ok
    assert [state.version for state in server.open(scheme, f"people@{available[0]}").status()] == [available[0]]
    if server.fake:
        assert [(state.version, state.state, state.error) for state in states] == [
            (1, "AVAILABLE", ""), (2, "AVAILABLE", ""), (3, "END", "no variables"),
        ]  # fmt: skip
        for which, version in {"1": 1, "2": 2, "stable": 1, "canary": 2}.items():
            (result,) = server.open(scheme, f"people@{which}").segment([encoded(1)])
            np.testing.assert_array_equal(result.mask, expected_mask(photo(1), version=version))


@both
@pytest.mark.parametrize(
    ("model", "method", "advice"),
    [
        ("nobody", "segment", "is the name right, and is the model loaded?"),
        ("people@987654321", "segment", "is the name right, and is the model loaded?"),
        ("people@nolabel", "segment", "give the label to a version"),
        ("nobody", "status", "is the name right, and is the model loaded?"),
        ("people@987654321", "status", "is the name right, and is the model loaded?"),
    ],
)
def test_what_is_not_served_is_told_with_advice(server, scheme, model, method, advice):
    client = server.open(scheme, model)
    with pytest.raises(ServingError) as caught:
        client.segment([encoded(1)]) if method == "segment" else client.status()
    message = str(caught.value)
    assert message.startswith(f"{scheme}://{server.ports[scheme]}/{model}: the server answered ")
    assert "attempt" not in message, "asking again would not help"
    assert advice in message


@both
def test_pixels_of_one_byte_give_the_same(server, scheme):
    pixels = np.stack([photo(seed, 50, 31) for seed in range(2)])
    client = server.open(scheme)
    assert client.probabilities(pixels).shape == (2, 50, 31, 1)
    if server.fake:
        assert server.fake.seen[-1][2] == "probabilities_uint8", "four times as much would be sent"
    np.testing.assert_allclose(client.probabilities(pixels), client.probabilities(pixels.astype(np.float32)), rtol=1e-6)


@both
def test_class_ids_of_several_classes(server, scheme):
    if server.fake is None:
        pytest.skip("the real server has people only")
    (result,) = server.open(scheme, "street").segment([encoded(4)])
    np.testing.assert_array_equal(result.mask, expected_mask(photo(4), "street"))
    np.testing.assert_allclose(result.coverage, [np.mean(result.mask == number) for number in range(3)], rtol=1e-6)
    with pytest.raises(ServingError, match="cut-outs only for one class"):
        server.open(scheme, "street").cutout([encoded(4)])


@both
def test_more_than_four_mebibytes_either_way(server, scheme):
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), np.uint8)
    content = png(noise)
    assert len(content) > 5_000_000
    (result,) = server.open(scheme, timeout=300).cutout([content])
    assert result.picture.shape == (1300, 1300, 4)  # over 4 MiB as a PNG, too, if the photo's colours are in it
    if server.fake:
        np.testing.assert_array_equal(result.picture[..., :3], noise[..., ::-1])
