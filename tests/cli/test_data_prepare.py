"""kseg-data prepare as its users meet it. KSEG_PREPARE_KILLS=5 prepares 1,000 photos and kills as often."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from support import SMALL, make_photos

from kseg.cli.data import main
from kseg.cli.train import main as train
from kseg.data.tfds import staging

KILLS = int(os.environ.get("KSEG_PREPARE_KILLS", "0"))
PHOTOS = 1000 if KILLS else 40

IN_SMALL_CHUNKS = "from kseg.data.tfds import staging; staging.CHUNK = {}; from kseg.cli.data import main; main()"
"""More files than usual, so that there are more moments to be killed in."""


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch, keras_as_before):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    """Run the command in this process, which has loaded TensorFlow already."""
    return CliRunner().invoke(main, ["prepare", *map(str, arguments)], prog_name="kseg-data")


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_training_on_the_set_gives_the_folders_weights_to_the_bit(trained_run, tmp_path):
    """The run of the folder is the session's own."""
    config, photos = trained_run.parent / "small.toml", trained_run.parent / "photos"
    options = (*SMALL, "--set", "data.validation_every=4")
    made = run(config, "--data", photos, *options, "--to", "set")
    assert made.exit_code == 0, made.output
    first, second = made.stdout.splitlines()
    assert first == "set: 9 samples train, 3 validate, 0 were skipped"
    assert second == f"train on it with: kseg-train {config} --data set --set data.source=tfds"
    assert made.stderr == ""
    arguments = [
        config,
        "--data",
        "set",
        "--set",
        "data.source=tfds",
        *options,
        "--set",
        "training.epochs=1",
        "--run",
        "r",
    ]
    done = CliRunner().invoke(train, [str(argument) for argument in arguments], prog_name="kseg-train")
    assert done.exit_code == 0, done.output
    expected, found = (keras.models.load_model(path / "last.keras", compile=False) for path in (trained_run, Path("r")))
    assert len(found.weights) == len(expected.weights) > 100
    for one, other in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def works_in(process, partial):
    """Whether a process has opened the staging folder's lock."""
    for opened in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if opened.readlink() == partial / ".lock":
                return True
    return False


def test_killed_at_random_moments_the_bytes_are_the_same(tmp_path, monkeypatch):
    chunk = 64 if KILLS else 4
    monkeypatch.setattr(staging, "CHUNK", chunk)
    make_photos(tmp_path / "photos", PHOTOS)
    (tmp_path / "small.toml").write_text("" if KILLS else "data.image_size = [64, 64]")
    arguments = ["small.toml", "--data", "photos", "--to"]
    began = time.monotonic()
    assert run(*arguments, "whole").exit_code == 0
    seconds = time.monotonic() - began
    command = [sys.executable, "-c", IN_SMALL_CHUNKS.format(chunk), "prepare", *arguments, "set"]
    dice, partial, log, found = random.Random(7), tmp_path / ".set.partial", tmp_path / "log", []
    for _ in range(KILLS or 1):
        with log.open("w") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
        while not works_in(process, partial):
            assert process.poll() is None, log.read_text()
            time.sleep(0.002)
        time.sleep(dice.uniform(0, seconds / (KILLS or 1)))
        process.send_signal(signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL), log.read_text()
        if (tmp_path / "set").exists():
            break
        found.append(len(list(partial.glob("chunk-*"))))
    print(f"{PHOTOS} photos, {seconds:.1f} s; killed with so many files of samples there: {found}")
    if partial.exists():
        done = run(*arguments, "set")
        assert done.exit_code == 0, done.output
    assert contents("set") == contents("whole")
    assert sorted(os.listdir()) == ["log", "photos", "set", "small.toml", "whole"]


def test_what_is_wrong_gets_one_message(photos, config):
    for arguments, message in (
        ((config(), "--data", "nowhere", "--to", "set"), "nowhere/images: no such folder"),
        ((config(), "--data", photos, "--to", photos, "--set", "data.validation_every=4"), "photos: is there already"),
        ((config(), "--data", photos, "--to", "set", "--set", "data.validation_every=40"), "validation_every = 6"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1, result.output
        assert message in result.stderr
        assert "Traceback" not in result.output
    assert not os.path.exists("set")


def test_help_loads_neither_tensorflow_nor_its_datasets():
    script = (
        "import sys; from kseg.cli.data import main\n"
        "try: main(['prepare', '--help'])\n"
        "except SystemExit: print({'tensorflow', 'tensorflow_datasets', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--licence TEXT" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"
