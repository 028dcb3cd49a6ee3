"""Where a model is served, as one types it; and what importing the client costs."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseg.errors import ServingError
from kseg.serving.client import Client
from kseg.serving.client.address import Address


@pytest.mark.parametrize(
    ("text", "netloc", "model", "version", "label", "path"),
    [
        ("grpc://host:8500/people", "host:8500", "people", None, None, "/v1/models/people"),
        ("grpc://host/people@stable", "host:8500", "people", None, "stable", "/v1/models/people/labels/stable"),
        ("http://host/people@7", "host:8501", "people", 7, None, "/v1/models/people/versions/7"),
        ("https://host/people@v7", "host:443", "people", None, "v7", "/v1/models/people/labels/v7"),
        ("grpcs://[::1]:1/people@007", "[::1]:1", "people", 7, None, "/v1/models/people/versions/7"),
        ("http://host:80/a/b c/people", "host:80", "people", None, None, "/a/b%20c/v1/models/people"),
        ("http://h/a%40b%2Fc@d%3Ae", "h:8501", "a@b/c", None, "d:e", "/v1/models/a%40b%2Fc/labels/d%3Ae"),
        ("http://h/people@٣", "h:8501", "people", None, "٣", "/v1/models/people/labels/%D9%A3"),
    ],
)
def test_an_address_is_read(text, netloc, model, version, label, path):
    address = Address.parse(text)
    assert (address.netloc, address.model, address.version, address.label) == (netloc, model, version, label)
    assert address.path == path
    assert address.encrypted == text.startswith(("grpcs", "https"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("people", "unknown scheme ''"),
        ("localhost:8500/people", "unknown scheme 'localhost'"),
        ("gprc://host/people", "did you mean grpc?"),
        ("grpc:///people", "no host"),
        ("grpc://host:8500", "no model"),
        ("grpc://host:8500/", "no model"),
        ("grpc://host:8500/@stable", "no model"),
        ("grpc://host/people@", "nothing after '@'"),
        ("grpc://host/a/people", "gRPC knows no path"),
        ("http://me:secret@host/people", "a user"),
        ("http://host/people?x=1", "'?'"),
        ("http://host:99999/people", "Port out of range"),
        ("http://host:x/people", "Port"),
        ("http://a..b/people", "label"),
        (f"grpc://host/people@{2**63}", "larger than any version number"),
    ],
)
def test_what_is_no_address_is_answered_with_one(text, reason):
    with pytest.raises(ServingError, match=re.escape(reason)) as caught:
        Client.open(text)
    assert str(caught.value).startswith(f"{text}: ")
    assert "grpc://HOST:8500/MODEL" in str(caught.value)


@given(st.text(max_size=30), st.sampled_from(["", "grpc://", "http://host/", "https://host:1/m@"]))
def test_anything_typed_is_an_address_or_refused_as_none(text, start):
    try:
        address = Address.parse(start + text)
    except ServingError:
        return
    assert address.model
    assert address.path.isascii()
    assert re.fullmatch(r"[!-~]*/v1/models/[^/:]+(/versions/\d+|/labels/[^/:]+)?", address.path)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": float("nan")}, {"batch_size": 0}, {"retries": -1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ServingError, match="more than 0 seconds"):
        Client.open("grpc://host/people", **options)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_certificates_that_are_not_there_are_named(scheme, tmp_path):
    with pytest.raises(ServingError, match=r"gone\.pem: no certificates"):
        Client.open(f"{scheme}://host/people", certificates=tmp_path / "gone.pem")


def test_a_client_loads_neither_tensorflow_nor_keras():
    """In a fresh process, through both ports; and REST does without gRPC."""
    script = """
import sys
from kseg.serving.client import Client
Client.open("http://127.0.0.1:1/people").close()
print(sorted({"tensorflow", "keras", "grpc", "google.protobuf"} & sys.modules.keys()))
Client.open("grpc://127.0.0.1:1/people").close()
print(sorted({"tensorflow", "keras", "tensorflow_serving", "grpc"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n['grpc']\n"
