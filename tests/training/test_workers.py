"""Two workers on loopback, each a kseg-train of its own, against one that trains alone; and killed, either of them."""

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from support import SMALL, make_photos
from training.test_resume import arrays, assert_same_weights

from kseg.errors import ConfigError
from kseg.settings import Settings
from kseg.training.workers import Mirrors, Workers, find_workers, read_cluster

# Adam divides a gradient by its size: where it is all but zero, rounding alone makes whole steps of it. With an epsilon
# of 1 it is gradient descent with momentum, and what differs after 50 steps is what was computed otherwise.
DESCENT = """
import kseg.training.adam as adam
begin = adam.PacedAdam.__init__
adam.PacedAdam.__init__ = lambda self, *given, **options: begin(self, *given, **options, epsilon=1.0)
from kseg.cli.train import main
main(prog_name="kseg-train")
"""

# Where there is no GPU, a processor can be two devices.
TWO_DEVICES = """
import tensorflow as tf
processor, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
"""

COMMAND = [sys.executable, "-c", DESCENT, "small.toml", "--data", "photos", *SMALL]
RECIPE = (
    "--set", "data.image_size=[64, 64]",
    "--set", "data.validation_every=4",
    "--set", "training.precision=float32",
    "--set", "training.batch_size=8",
    "--set", "training.learning_rate=0.002",
    "--set", "training.epochs=2",
    "--set", "training.steps_per_epoch=25",
)  # fmt: skip
WITHIN = 300
"""Seconds after which a worker is taken to hang."""


def start(folder, run, options=()):
    """kseg-train as each of two workers."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        cluster = {"worker": [f"127.0.0.1:{held.getsockname()[1]}" for held in (one, other)]}
    processes = []
    for rank in (0, 1):
        environment = os.environ | {
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
        }
        command = [*COMMAND, *RECIPE, "--run", run, *options]
        with (folder / f"{run}-{rank}.log").open("w") as log:
            processes.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log))
    return processes


def said(folder, run, rank):
    return (folder / f"{run}-{rank}.log").read_text()


def history(folder, run):
    with (folder / run / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of one process, ``one``, and of two workers, ``two``."""
    folder = tmp_path_factory.mktemp("workers")
    make_photos(folder / "photos", 16)
    (folder / "small.toml").write_text("")
    alone = subprocess.run([*COMMAND, *RECIPE, "--run", "one"], cwd=folder, capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    for rank, process in enumerate(start(folder, "two")):
        assert process.wait(WITHIN) == 0, said(folder, "two", rank)
    return folder


@pytest.fixture(scope="module")
def mirrored(trained):
    """The same run on two devices of one process; what it said."""
    command = [sys.executable, "-c", TWO_DEVICES + DESCENT, *COMMAND[3:], *RECIPE, "--run", "mirrored"]
    done = subprocess.run(
        [*command, "--strategy", "mirrored"], cwd=trained, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_equal_weights(folder, run):
    """The run's weights against those of one process, after 50 steps."""
    one, two = (arrays(folder / name / "checkpoint.weights.h5") for name in ("one", run))
    layers = [name for name in one if name.startswith("layers/")]
    statistics = {name for name in layers if "batch_norm" in name and name.endswith(("/2", "/3"))}
    assert one.keys() == two.keys()
    assert len(layers) > 100 > len(statistics) > 20
    for name in layers:
        # sums over maps of hundreds: equal to as many digits, not to the same place after the point
        size = max(1.0, np.abs(one[name]).max()) * 100 if name in statistics else 1.0
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5 * size, err_msg=name)


def assert_equal_scores(folder, run):
    one, two = history(folder, "one"), history(folder, run)
    assert [row["epoch"] for row in two] == [1, 2]
    assert two[1]["loss"] < two[0]["loss"] - 0.01, "equal weights say nothing where nothing is learnt"
    for own, theirs in zip(one, two, strict=True):
        for name in own.keys() - {"seconds"}:
            assert theirs[name] == pytest.approx(own[name], abs=2e-3), name  # a pixel on the edge may change sides


def test_two_workers_train_to_the_weights_of_one(trained):
    assert_equal_weights(trained, "two")
    assert_equal_scores(trained, "two")


def test_two_devices_train_to_the_weights_of_one(trained, mirrored):
    assert "2 GPUs, each with 4 of every 8 samples" in mirrored
    assert_equal_weights(trained, "mirrored")
    assert_equal_scores(trained, "mirrored")


@pytest.mark.parametrize(
    ("samples", "batch_size", "expected"), [(4, 8, 4), (8, 4, 4), (7, 4, 4), (9, 4, 6), (270, 16, 16), (2, 4, 2)]
)
def test_every_device_has_something_to_validate(samples, batch_size, expected):
    mirrors = Mirrors(["CPU:0"])
    mirrors.shares = 2
    assert mirrors.evaluation_batch(samples, batch_size) == expected


@pytest.mark.parametrize("samples", [1, 3, 5])
def test_too_few_to_validate_on_all_devices_are_refused(samples):
    mirrors = Mirrors(["CPU:0"])
    mirrors.shares = 2
    with pytest.raises(ConfigError, match=f"{samples} validation samples cannot be shared by 2 GPUs; add one"):
        mirrors.evaluation_batch(samples, 4)


def test_the_first_worker_alone_writes_and_all_say_who_they_are(trained):
    first, second = said(trained, "two", 0), said(trained, "two", 1)
    assert "epoch 2/2" in first
    assert "report, with scores" in first
    assert "worker 1 of 2, with 4 of every 8 samples" in first
    assert "worker 2 of 2, with 4 of every 8 samples" in second
    assert "epoch 2/2" not in second
    assert "report" not in second
    assert {path.name for path in (trained / "two").iterdir()} == {path.name for path in (trained / "one").iterdir()}


def test_either_worker_killed_and_all_resumed_the_weights_are_the_same(trained):
    run, moments = "killed", random.Random()
    for victim in (1, 0):
        processes = start(trained, run, options=["--resume"])
        resumed = victim == 0
        while not (trained / run / "checkpoint.weights.h5").exists() or (
            resumed and "results in" not in said(trained, run, victim)
        ):
            assert [process.poll() for process in processes] == [None, None], said(trained, run, 0)
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 3))
        processes[victim].send_signal(signal.SIGKILL)
        assert processes[1 - victim].wait(WITHIN) == 1, said(trained, run, 1 - victim)
        message = said(trained, run, 1 - victim)
        assert "another worker is gone" in message
        assert "--resume" in message
        assert "Traceback" not in message
        processes[victim].wait()
        assert len(history(trained, run)) == 1
    for rank, process in enumerate(start(trained, run, options=["--resume"])):
        assert process.wait(WITHIN) == 0, said(trained, run, rank)
    assert_same_weights(trained / "two" / "checkpoint.weights.h5", trained / run / "checkpoint.weights.h5")


def test_a_batch_that_cannot_be_shared_is_refused():
    settings = Settings.model_validate({"training": {"batch_size": 4}})
    Workers(0, 2).check(settings)
    with pytest.raises(ConfigError, match=r"batch_size: 4 is the batch of all 3 workers.*set it to 6"):
        Workers(0, 3).check(settings)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"training": {"precision": "float16"}}, "use bfloat16"),
        ({"data": {"input_service": "grpc://host:5050"}}, "leave it out|each worker loads its own"),
    ],
)
def test_what_workers_cannot_do_is_refused(changed, message):
    settings = Settings.model_validate(changed)
    Workers(0, 1).check(settings)
    with pytest.raises(ConfigError, match=message):
        Workers(0, 2).check(settings)


def cluster(task, **jobs):
    return json.dumps({"cluster": jobs, "task": {"type": task, "index": 0}})


def test_the_chief_is_the_first_of_all():
    assert read_cluster(cluster("worker", worker=["b:1", "c:1"], chief=["a:1"])) == ["a:1", "b:1", "c:1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "TF_CONFIG: is not set.*write it as"),
        ("{", "TF_CONFIG: cannot be read.*write it as"),
        ("[]", "TF_CONFIG: cannot be read"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "IndexError"),
        (cluster("ps", worker=["a:1", "b:1"], ps=["c:1"]), "a task of type ps has no part in a training"),
    ],
)
def test_a_bad_tf_config_is_said(text, message):
    with pytest.raises(ConfigError, match=message):
        read_cluster(text)


def test_who_trains_with_whom(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert find_workers("auto").count == find_workers("one").count == 1
    with pytest.raises(ConfigError, match="TF_CONFIG: is not set"):
        find_workers("multiworker")
    monkeypatch.setenv("TF_CONFIG", cluster("worker", worker=["a:1"]))
    assert find_workers("auto").count == 1
    monkeypatch.setenv("TF_CONFIG", cluster("worker", worker=["a:1", "b:1"]))
    assert find_workers("one").count == 1
