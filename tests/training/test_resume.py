"""Training killed at random moments and resumed ends with the very weights of the uninterrupted training.

KSEG_KILLS says how often it is killed (default 3).
"""

import csv
import os
import random
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest
from support import COMMAND, SMALL, kseg_train, make_photos

KILLS = int(os.environ.get("KSEG_KILLS", "3"))

RECIPE = (
    "--set", f"training.epochs={2 * KILLS}",
    "--set", "training.schedule=cosine",
    "--set", "training.warmup_epochs=1.0",
    "--set", "training.ema=0.9",
    "--set", "training.optimizer=muon",
    "--set", "augmentation.rotation=20.0",
    "--set", "augmentation.brightness=0.2",
)  # fmt: skip


def arrays(path):
    """Every array of a checkpoint: weights, moving statistics, optimizer and averages."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) and name != "kseg_history" else None
            )
        )
    return found


def assert_same_weights(one, other):
    ours, theirs = arrays(one), arrays(other)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 100
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A finished run, what it was started with, and the seconds of its first two epochs."""
    folder = tmp_path_factory.mktemp("resume")
    make_photos(folder / "photos", 12)
    (folder / "small.toml").write_text("")
    command = ["small.toml", "--data", "photos", *SMALL, *RECIPE]
    done = kseg_train(*command, "--run", "whole", cwd=folder)
    assert done.returncode == 0, done.stderr
    with (folder / "whole" / "history.csv").open() as file:
        seconds = sum(float(row["seconds"]) for row in list(csv.DictReader(file))[:2])
    return folder, command, seconds


def test_killed_and_resumed_training_ends_with_the_same_bits(uninterrupted):
    folder, command, seconds = uninterrupted
    moments = random.Random()
    for _ in range(KILLS):
        resume = ["--resume"] if (folder / "killed" / "settings.toml").exists() else []
        process = subprocess.Popen(
            [*COMMAND, *command, "--run", "killed", *resume],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        process.stdout.readline()  # the samples are known, training begins
        time.sleep(moments.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        errors = process.communicate()[1]
        assert process.returncode == -signal.SIGKILL, errors
    done = kseg_train(*command, "--run", "killed", "--resume", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_same_weights(folder / "whole" / "checkpoint.weights.h5", folder / "killed" / "checkpoint.weights.h5")


def test_ctrl_c_says_how_to_go_on(uninterrupted):
    folder, command, _ = uninterrupted
    process = subprocess.Popen(
        [*COMMAND, *command, "--run", "interrupted", "--set", "training.epochs=500"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (folder / "interrupted" / "checkpoint.weights.h5").exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "--run interrupted --resume" in errors
