"""Small data made on the spot, and the real pictures where they are."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_serving import Fake
from support import EXPORT, SMALL, kseg_train, make_photos

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


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


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on pictures beside it, which no test changes."""
    home = tmp_path_factory.mktemp("trained")
    make_photos(home / "photos", 12)
    (home / "small.toml").write_text("")
    options = ("--set", "training.epochs=1", "--set", "data.validation_every=4", "--run", "run")
    done = kseg_train("small.toml", "--data", "photos", *SMALL, *options, cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "run"


@pytest.fixture(scope="session")
def exported(trained_run: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """What kseg-export, as a process of its own, says of its first version, and the model's folder: no test changes it.

    It is told nothing of TensorFlow's own remarks, which it has to keep quiet itself.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [*EXPORT, "run", "--to", "models/people"]
    done = subprocess.run(command, cwd=trained_run.parent, env=environment, capture_output=True, text=True, check=False)
    return done, trained_run.parent / "models" / "people"


@pytest.fixture
def fake() -> Iterator[Fake]:
    """What the servers on loopback answer, faults included; whoever waits in them is let go at the end."""
    fake = Fake()
    yield fake
    fake.release.set()


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Write a settings file."""

    def write(text: str = "") -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text)
        return path

    return write
