"""kseg-train through kseg-data serve: processes on loopback."""

import csv
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from input_machines import machine, two_machines
from support import SMALL, make_photos

from kseg.cli.train import main, train_in
from kseg.config import load_settings
from kseg.training.run import Run
from kseg.training.workers import ALONE

OPTIONS = (
    *("--data", "photos", *SMALL, "--set", "augmentation.brightness=0.2"),
    *("--set", "training.precision=float32", "--set", "data.validation_every=4", "--set", "data.cache=false"),
)
"""Of the training and of the machines."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("served")
    make_photos(home / "photos", 12)
    (home / "settings.toml").write_text("")
    return home


@pytest.fixture(autouse=True)
def _in_the_folder(home, monkeypatch, keras_as_before):
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def service(home):
    with two_machines(home, "settings.toml", *OPTIONS) as address:
        yield ("--set", f"data.input_service={address}")


def train(*arguments):
    """kseg-train in this process, which has loaded TensorFlow already."""
    return CliRunner().invoke(main, ["settings.toml", *OPTIONS, *arguments], prog_name="kseg-train")


def settings_of(*changes):
    given = [text for text in (*OPTIONS, *changes) if text not in ("--set", "--data")]
    return load_settings(Path("settings.toml"), given[1:], [Path(given[0])])


def trained(name, *changes):
    """The weights and the losses of a run of one epoch, trained as kseg-train does but for the report."""
    settings = settings_of("training.epochs=1", *changes)
    with Run.create(Path(name), "settings", settings, Path("runs")) as run:
        train_in(run, settings, ALONE)
    with Path(name, "history.csv").open() as file:
        losses = [row["loss"] for row in csv.DictReader(file)]
    return keras.models.load_model(f"{name}/last.keras").get_weights(), losses


def test_a_training_through_the_service_has_the_same_bits(service, capsys):
    weights, losses = trained("plain")
    weights_served, losses_served = trained("served", *service)
    assert losses_served == losses
    for one, same in zip(weights, weights_served, strict=True):
        np.testing.assert_array_equal(one, same)
    assert "loading here" not in capsys.readouterr().out
    # and therefore it may be resumed with a service or without:
    for name, change in (("plain", service), ("served", ())):
        settings = settings_of("training.epochs=2", *change)
        with Run.resume(Path(name), "settings", settings, Path("runs")) as run:
            assert len(run.history) == 1


def test_a_sample_that_a_machine_cannot_load_is_named(home, service):
    photo = home / "photos" / "images" / "p000.jpg"
    whole = photo.read_bytes()
    try:
        photo.write_bytes(b"")
        refused = train("--set", "training.epochs=1", "--set", "data.verify=false", "--run", "broken", *service)
    finally:
        photo.write_bytes(whole)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("kseg-train: input service, machine localhost:")
    assert "p000.jpg: the file is empty" in refused.stderr
    assert "Traceback" not in refused.output


def test_machines_of_other_settings_are_refused_before_training(home, service):
    refused = train("--set", "data.resize=pad", "--run", "other", *service)
    assert refused.exit_code == 1
    assert "serves other samples than these: data.resize: stretch there, pad here; " in refused.stderr
    assert not (home / "other" / "history.csv").exists()


@pytest.mark.parametrize("address", ["cpu1:5050", "grpc://cpu1", "http://cpu1:5050", "grpc://cpu1:port", ""])
def test_an_address_that_is_none_is_refused(address):
    refused = train("--set", f'data.input_service="{address}"')
    assert refused.exit_code == 1
    assert f"data.input_service: {address} is no address; write it as grpc://host:port" in refused.stderr


def test_ctrl_c_is_how_a_machine_ends(home):
    with machine(home, "settings.toml", *OPTIONS) as (_, process):
        assert "9 samples at" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout.read() == "interrupted: serves no more\n"
