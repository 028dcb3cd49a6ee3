"""Small data made on the spot, and the real pictures where they are."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_serving import Fake
from support import EXPORT, SMALL, kseg_train, make_photos

import kseg

if TYPE_CHECKING:
    from kseg.inference.predictor import Predictor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A shell that starts the tests in the background has them, and every process that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = (
    "test_export_killed.py", "test_workers.py", "test_freezing.py", "test_resume.py", "test_predictor.py",
    "test_beam.py", "test_graph.py", "test_export.py", "test_train.py",
)  # fmt: skip
"""Files that take minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: of several processes, none is left with it at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of twelve small people pictures with 0/255 masks."""
    return make_photos(tmp_path / "photos", 12)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real pictures named by KSEG_TEST_DATA; the test is skipped where there is none."""
    path = os.environ.get("KSEG_TEST_DATA")
    if not path:
        pytest.skip("KSEG_TEST_DATA names no folder of real pictures")
    return Path(path)


def talkative() -> dict[str, str]:
    """The environment of a user, who tells TensorFlow nothing of its remarks: a command has to keep them quiet."""
    return {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """What kseg-train, as a process of its own, says of one epoch on pictures beside its run, and the run."""
    home = tmp_path_factory.mktemp("trained")
    make_photos(home / "photos", 12)
    (home / "small.toml").write_text("")
    options = ("--set", "training.epochs=1", "--set", "data.validation_every=4", "--run", "run")
    done = kseg_train("small.toml", "--data", "photos", *SMALL, *options, cwd=home, env=talkative())
    return done, home / "run"


@pytest.fixture(scope="session")
def trained_run(training: tuple[subprocess.CompletedProcess[str], Path]) -> Path:
    """The run of ``training``, which no test changes."""
    done, run = training
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="session")
def predictor(trained_run: Path) -> "Predictor":
    """The network of ``trained_run``, which no test changes, in float32."""
    return kseg.load(trained_run, "float32")


@pytest.fixture(scope="session")
def exported(trained_run: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """What kseg-export, as a process of its own, says of its first version, and the model's folder: none changes it."""
    command = [*EXPORT, "run", "--to", "models/people"]
    done = subprocess.run(command, cwd=trained_run.parent, env=talkative(), capture_output=True, text=True, check=False)
    return done, trained_run.parent / "models" / "people"


@pytest.fixture
def fake() -> Iterator[Fake]:
    """What the servers on loopback answer, faults included; whoever waits in them is let go at the end."""
    fake = Fake()
    yield fake
    fake.release.set()


@pytest.fixture
def keras_as_before() -> Iterator[None]:
    """A command's dtype policy and determinism are not inherited by other tests."""
    # Here and not at the top: most tests of commands need no TensorFlow in this process.
    import keras
    from tensorflow.python.framework import config as determinism

    policy = keras.mixed_precision.dtype_policy()
    yield
    keras.mixed_precision.set_dtype_policy(policy)
    determinism.disable_op_determinism()  # TensorFlow has no public name for it


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Write a settings file."""

    def write(text: str = "") -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text)
        return path

    return write
