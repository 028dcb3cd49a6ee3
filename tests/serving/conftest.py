"""Small networks and their exported versions, each made once: writing and verifying one takes some ten seconds."""

import functools

import pytest
from served import BINARY, SEVERAL, Exported, Loaded, network, samples, seen

from kseg.serving.export import export

WARM_BATCHES = 1, 3


@pytest.fixture(scope="session")
def network_of():
    """The network for a contract: there is one for each number of classes and way of resizing."""
    made = functools.cache(lambda classes, resize: network(BINARY if classes == 2 else SEVERAL, resize))
    return lambda contract: made(len(contract.classes), contract.resize)


@pytest.fixture(scope="session")
def exact(network_of, tmp_path_factory):
    """One class, stretched, float32."""
    return _exported(network_of, tmp_path_factory, BINARY, "float32")


@pytest.fixture(scope="session")
def rounded(network_of, tmp_path_factory):
    """The same network in bfloat16."""
    return _exported(network_of, tmp_path_factory, BINARY, "bfloat16")


@pytest.fixture(scope="session")
def eight(network_of, tmp_path_factory):
    """The same network in int8."""
    return _exported(network_of, tmp_path_factory, BINARY, "int8")


@pytest.fixture(scope="session")
def several(network_of, tmp_path_factory):
    """Four classes, padded, float32."""
    return _exported(network_of, tmp_path_factory, SEVERAL, "float32")


@pytest.fixture(scope="session")
def loaded(exact):
    """``exact`` in a Session of this process."""
    return Loaded(exact.folder)


def _exported(network_of, tmp_path_factory, contract, precision):
    folder, model = tmp_path_factory.mktemp(precision) / "1", network_of(contract)
    options = {"precision": precision, "measured": seen(contract), "batch_sizes": WARM_BATCHES}
    found = export(folder, model, contract, samples(contract), **options)
    return Exported(folder, model, contract, found)
