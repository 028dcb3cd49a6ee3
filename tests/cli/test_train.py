"""kseg-train as its users meet it: messages, exit statuses, and what is in the run's folder."""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support import SMALL, kseg_train, make_photos

from kseg.cli.evaluating import store
from kseg.cli.train import main
from kseg.config import load_settings
from kseg.training.run import Run

QUICK = (*SMALL, "--set", "training.epochs=1")


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch, keras_as_before):
    """Runs land in ./runs."""
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    """Run the command in this process, which has loaded TensorFlow already."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="kseg-train")


def refusal(*arguments):
    """What the user reads on standard error when something is wrong: status 1, no traceback."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("kseg-train: ")
    assert "Traceback" not in result.output
    return result.stderr


TWO_EPOCHS = (
    *("--data", "photos", *SMALL, "--set", "training.epochs=2"),
    *("--set", "training.precision=float32", "--set", "data.validation_every=2"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What is said of a training of two epochs, and the folder it was started in: no test changes it."""
    home = tmp_path_factory.mktemp("finished")
    make_photos(home / "photos", 12)
    (home / "settings.toml").write_text("")
    with contextlib.chdir(home):
        result = run("settings.toml", *TWO_EPOCHS)
    assert result.exit_code == 0, result.output
    return result, home


def test_a_run_folder_holds_everything(finished, monkeypatch):
    result, home = finished
    monkeypatch.chdir(home / "runs" / "settings-001")
    assert "epoch 2/2" in result.stdout
    assert "without ImageNet" in result.stdout
    names = {path.name for path in os.scandir()}
    assert names == {
        ".lock", "best.keras", "checkpoint.weights.h5", "curves.png", "data.json", "environment.json", "evaluation",
        "history.csv", "last.keras", "predictions", "result.json", "settings.toml", "tensorboard",
    }  # fmt: skip
    with open("history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "jaccard", "dice", "val_jaccard", "val_dice", "val_jaccard_per_image"} <= rows[0].keys()
    assert sorted(os.listdir("predictions")) == ["epoch-001.png", "epoch-002.png"]
    with Image.open("predictions/epoch-002.png") as picture:
        assert picture.width > 192
    best = json.loads(Path("result.json").read_text())
    assert best["scores"]["val_jaccard"] == float(rows[best["best_epoch"] - 1]["val_jaccard"])
    assert "settings-001" in Path("../experiments.csv").read_text()


def test_the_best_network_gives_its_score_in_a_process_without_kseg(finished, monkeypatch):
    """best.keras, loaded with Keras alone, finds on the validation picture what the history says it found."""
    monkeypatch.chdir(finished[1])
    script = """
import json, sys
import cv2, keras, numpy as np
from PIL import Image
model = keras.models.load_model("runs/settings-001/best.keras", safe_mode=True)
assert not any(name.startswith("kseg") for name in sys.modules)
both, either = 0, 0
for name in json.load(open("runs/settings-001/data.json"))["validation"]:
    stem = name.split("/")[1]
    picture = cv2.resize(np.asarray(Image.open(f"photos/images/{stem}.jpg")), (32, 32), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(np.asarray(Image.open(f"photos/masks/{stem}.png")), (32, 32),
                      interpolation=cv2.INTER_NEAREST_EXACT) > 0
    found = np.asarray(model(picture[None].astype("float32")))[0, ..., 0] > 0
    both, either = both + (found & mask).sum(), either + (found | mask).sum()
print(both / either)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    expected = json.loads(Path("runs/settings-001/result.json").read_text())["scores"]["val_jaccard"]
    assert float(done.stdout.split()[-1]) == pytest.approx(expected, abs=2e-3)


def test_several_classes_from_colours_with_per_class_scores(photos, config):
    for path in (photos / "masks").iterdir():
        mask = np.asarray(Image.open(path)) > 0
        coloured = np.zeros((*mask.shape, 3), np.uint8)
        coloured[mask] = (128, 0, 0)
        coloured[: len(mask) // 2][mask[: len(mask) // 2]] = (0, 128, 0)
        Image.fromarray(coloured).save(path)
    text = (
        'data.classes = ["background", "lower", "upper"]\ntraining.loss = "ce + dice"\n'
        'data.mask_values = { "0,0,0" = 0, "#800000" = "lower", "0,128,0" = "upper" }'
    )
    result = run(config(text), "--data", photos, *QUICK, "--run", "r")
    assert result.exit_code == 0, result.output
    with open("r/history.csv") as file:
        assert {"val_jaccard/background", "val_jaccard/lower", "val_jaccard/upper"} <= next(csv.DictReader(file)).keys()


def test_every_option_of_the_recipe_works_together(photos, config):
    result = run(
        config(), "--data", photos, *SMALL, "--run", "r", "--set", "training.epochs=3",
        "--set", "training.loss=bce + 0.5 dice", "--set", "training.schedule=plateau",
        "--set", "training.plateau_patience=1", "--set", "training.weight_decay=0.01", "--set", "training.ema=0.5",
        "--set", "training.clip_norm=1.0", "--set", "training.early_stopping=3", "--set", "training.precision=bfloat16",
        "--set", "training.steps_per_execution=2", "--set", "training.class_weights=[1.0, 2.0]",
        "--set", "training.label_smoothing=0.1", "--set", "training.monitor=loss", "--set", "data.resize=pad",
        "--set", "augmentation.scale=0.2", "--set", "augmentation.blur=0.2", "--set", "data.cache=false",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with open("r/history.csv") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_a_dry_run_says_when_the_encoders_weights_cannot_be_had(photos, config):
    gone = ("--set", "model.encoder_weights=gone.safetensors")
    assert "gone.safetensors: no such file" in refusal(config(), "--data", photos, *QUICK, "--dry-run", *gone)


def test_a_dry_run_shows_all_and_trains_nothing(photos, config):
    result = run(config(), "--data", photos, *QUICK, "--dry-run")
    assert result.exit_code == 0, result.output
    for expected in ("decoder5", "GFLOPs", "11 samples train, 1 validate", "person", "batch.png"):
        assert expected in result.stdout
    assert os.listdir("runs") == ["settings-dry-run"]
    assert os.listdir("runs/settings-dry-run") == ["batch.png"]


def test_bad_samples_are_all_listed_at_once(photos, config):
    (photos / "images" / "p001.jpg").write_bytes(b"")
    (photos / "images" / "p002.jpg").write_text("hello")
    whole = (photos / "images" / "p003.jpg").read_bytes()
    (photos / "images" / "p003.jpg").write_bytes(whole[:300])
    Image.new("L", (40, 48), 9).save(photos / "masks" / "p004.png")
    Image.new("RGB", (1, 1)).save(photos / "images" / "p005.jpg")
    message = refusal(config(), "--data", photos, *QUICK)
    lines = message.splitlines()
    for line, name in zip(lines[:-1], ("p001.jpg", "p002.jpg", "p003.jpg", "p004.png", "p005.jpg"), strict=True):
        assert name in line
    assert lines[-1] == "or leave such samples out: --set data.on_bad_sample=skip"
    assert not os.path.exists("runs") or os.listdir("runs") == []
    result = run(config(), "--data", photos, *QUICK, "--set", "data.on_bad_sample=skip",
                 "--set", "data.validation_every=3", "--run", "r")  # fmt: skip
    assert result.exit_code == 0, result.output
    with open("r/skipped.csv") as file:
        skipped = {row["sample"]: row["reason"] for row in csv.DictReader(file)}
    assert sorted(skipped) == [f"photos/p00{number}" for number in range(1, 6)]
    assert "empty" in skipped["photos/p001"]


def test_a_sample_that_breaks_during_training_is_named(photos, config):
    (photos / "images" / "p006.jpg").write_bytes(b"")
    assert "p006.jpg: the file is empty" in refusal(config(), "--data", photos, *QUICK, "--set", "data.verify=false")


def test_bad_input_gets_one_clear_message(photos, config, tmp_path):
    assert "no such settings file" in refusal("none.toml")
    assert "--data DIR" in refusal(config())
    assert "no such folder" in refusal(config(), "--data", "nowhere")
    assert "did you mean training?" in refusal(config("[trainin]\nepochs = 3"), "--data", photos)
    assert "training.loss" in refusal(config(), "--data", photos, *QUICK, "--set", "training.loss=bcee")
    assert "resnet34" in refusal(config(), "--data", photos, *QUICK, "--set", "model.encoder=resnet43")
    assert "validation_every = 6" in refusal(config(), "--data", photos, *QUICK, "--set", "data.validation_every=20")
    (tmp_path / "file").touch()
    assert "file: cannot be written" in refusal(config(), "--data", photos, *QUICK, "--run", "file")
    assert "holds no run" in refusal(config(), "--data", photos, *QUICK, "--resume")
    assert not os.path.exists("runs") or os.listdir("runs") == []


def test_a_class_id_out_of_range_is_named(photos, config):
    Image.new("L", (40, 48), 3).save(photos / "masks" / "p000.png")
    message = refusal(config('data.classes = ["background", "a", "b"]\ntraining.loss = "ce"'), "--data", photos, *QUICK)
    assert "p000.png: unknown mask values 3 (1920 pixels); known are 0, 1, 2, 255" in message


def test_a_nan_loss_stops_and_names_the_samples(photos, config):
    message = refusal(
        config(), "--data", photos, *SMALL, "--set", "training.learning_rate=3e38", "--set", "training.epochs=20"
    )
    assert "the loss became" in message
    assert "photos/p0" in message
    assert "clip_norm" in message


def test_a_finished_run_can_be_trained_further(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(finished[1], tmp_path / "copy"))
    again = ("settings.toml", *TWO_EPOCHS, "--resume")
    assert "all its 2 epochs" in run(*again).stdout
    store(Run(Path("runs/settings-001")), 0.37)
    more = run(*again, "--set", "training.epochs=3")
    assert "epoch 3/3" in more.stdout
    assert "epoch 2/3" not in more.stdout
    assert load_settings(Path("runs/settings-001/settings.toml")).export.threshold == 0.37
    assert json.loads(Path("runs/settings-001/evaluation/evaluation.json").read_text())["threshold"] == 0.37
    assert sorted(os.listdir("runs")) == ["experiments.csv", "settings-001"]
    Path("photos/images/p000.jpg").unlink()
    assert "p000: was there when the run started" in refusal(*again, "--set", "training.epochs=4")


def test_a_full_disk_is_said_and_leaves_a_run_to_go_on_with(photos, config, tmp_path):
    """A real, small file system fills up when the checkpoint is written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        done = kseg_train(config(), "--data", photos, *QUICK, "--run", disk / "r", cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "cannot be written" in done.stderr
        assert "free some space" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=900m", disk], check=True)
        done = kseg_train(config(), "--data", photos, *QUICK, "--run", disk / "r", "--resume", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


def test_nothing_but_kseg_speaks_on_the_terminal(training):
    done, _ = training
    assert (done.returncode, done.stderr) == (0, "")
