import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kseg.config import dump_settings, load_settings
from kseg.errors import KsegError, TrainingError
from kseg.settings import DataSettings, Settings, SourceSettings
from kseg.training.experiments import write_experiments
from kseg.training.result import conclude
from kseg.training.run import Run


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def settings_with(config, *overrides):
    return load_settings(config(), overrides)


def begin(runs, name="people", path=None, settings=None):
    run = Run.create(path, name, settings or Settings(), runs)
    run.write_data(["a"], ["b"], {})
    return run


def test_runs_are_numbered_and_keep_their_settings(runs):
    for number in (1, 2):
        with begin(runs) as run:
            assert run.path == runs / f"people-00{number}"
            assert load_settings(run.settings_file) == Settings()
            environment = json.loads((run.path / "environment.json").read_text())
            assert {"command", "started", "tensorflow", "keras", "python"} <= environment.keys()


def test_a_run_that_never_settled_its_samples_leaves_nothing(runs):
    with Run.create(None, "people", Settings(), runs) as run:
        assert run.path.exists()
    assert list(runs.iterdir()) == []
    mine = runs / "mine"
    mine.mkdir(parents=True)
    (mine / "notes.txt").touch()
    with Run.create(mine, "people", Settings(), runs):
        pass
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


def test_an_existing_run_is_not_overwritten(runs):
    with begin(runs, path=runs / "x"):
        pass
    with pytest.raises(TrainingError, match=r"already holds a run; add --resume"):
        begin(runs, path=runs / "x")


def test_the_newest_run_of_a_name_is_resumed(runs):
    """That which was begun last, whatever was written where since, and whichever number it has."""
    for name in ("people", "people", "people-2", "fashion"):
        with begin(runs, name):
            pass
    (runs / "people-001" / "notes.txt").touch()
    with Run.resume(None, "people", Settings(), runs) as run:
        assert run.path.name == "people-002"
        assert run.history == []
        assert run.read_data()["training"] == ["a"]
    environment = runs / "people-001" / "environment.json"
    content = json.loads(environment.read_text())
    environment.write_text(json.dumps(content | {"started": "2099-01-01T00:00:00+0000"}))
    with Run.resume(None, "people", Settings(), runs) as run:
        assert run.path.name == "people-001"


def test_resuming_needs_a_run(runs):
    with pytest.raises(TrainingError, match="holds no run of people to resume"):
        Run.resume(None, "people", Settings(), runs)
    with pytest.raises(TrainingError, match="holds no run to resume"):
        Run.resume(runs, "people", Settings(), runs)


def test_resuming_with_other_settings_is_refused_but_more_epochs_are_not(runs, config):
    with begin(runs):
        pass
    with pytest.raises(TrainingError, match=r"other settings than training\.learning_rate = 0\.1"):
        Run.resume(None, "people", settings_with(config, "training.learning_rate=0.1"), runs)
    with Run.resume(None, "people", settings_with(config, "training.epochs=50"), runs) as run:
        assert load_settings(run.settings_file).training.epochs == 50
    with Run.resume(None, "people", settings_with(config, "export.precision=bfloat16"), runs) as run:
        assert load_settings(run.settings_file).export.precision == "bfloat16"


def test_the_places_of_further_sources_may_change_but_not_what_is_read_of_them(runs):
    street = SourceSettings(roots=(Path("/data/street"),), mask_values={"7": 1})
    with begin(runs, settings=Settings(data=DataSettings(also=(street,)))):
        pass
    moved = street.model_copy(update={"roots": (Path("/mnt/street"),)})
    with Run.resume(None, "people", Settings(data=DataSettings(also=(moved,))), runs) as run:
        assert load_settings(run.settings_file).data.also[0].roots == (Path("/mnt/street"),)
    other = SourceSettings(roots=(Path("/mnt/street"),), mask_values={"8": 1})
    with pytest.raises(TrainingError, match=r"other settings than data\.also"):
        Run.resume(None, "people", Settings(data=DataSettings(also=(other,))), runs)


def test_what_was_stored_for_the_export_stays_unless_it_is_named(runs, config):
    with begin(runs) as run:
        pass
    stored = load_settings(run.settings_file, ["export.threshold=0.37", "export.precision=bfloat16"])
    run.settings_file.write_text(dump_settings(stored))
    for overrides, threshold in ((), 0.37), (["training.epochs=50"], 0.37), (["export.threshold=0.5"], 0.5):
        with Run.resume(None, "people", settings_with(config, *overrides), runs):
            export = load_settings(run.settings_file).export
            assert (export.threshold, export.precision) == (threshold, "bfloat16")


def test_a_cosine_cannot_be_made_longer(runs, config):
    cosine = settings_with(config, "training.schedule=cosine")
    with begin(runs, settings=cosine):
        pass
    with pytest.raises(TrainingError, match="epochs = 50"):
        longer = settings_with(config, "training.schedule=cosine", "training.epochs=50")
        Run.resume(None, "people", longer, runs)


def test_a_run_is_held_by_one_process_and_let_go_when_it_dies(runs):
    script = (
        "import sys, os, pathlib, signal\nfrom kseg.settings import Settings\nfrom kseg.training.run import Run\n"
        "run = Run.create(pathlib.Path(sys.argv[1]), 'x', Settings(), pathlib.Path('.'))\n"
        "run.write_data(['a'], ['b'], {})\nprint('held', flush=True)\nsignal.pause()"
    )
    other = subprocess.Popen([sys.executable, "-c", script, runs / "r"], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(TrainingError, match="another process is training"):
        Run.resume(runs / "r", "x", Settings(), runs)
    other.kill()
    other.communicate()
    with Run.resume(runs / "r", "x", Settings(), runs) as run:
        assert run.history == []


def test_a_place_that_cannot_be_written_is_said(runs):
    runs.mkdir()
    (runs / "file").touch()
    for path in (runs / "file", runs / "file" / "run"):
        with pytest.raises(KsegError, match="cannot be written"):
            Run.create(path, "x", Settings(), runs)
    with pytest.raises(KsegError, match="cannot be written"):
        Run.create(None, "x", Settings(), runs / "file")


ROW = {
    "loss": 0.5, "jaccard": 0.4, "dice": 0.5, "val_loss": 0.4, "val_jaccard": 0.6, "val_dice": 0.75,
    "val_jaccard_per_image": 0.5, "val_dice_per_image": 0.6, "seconds": 3.0,
}  # fmt: skip


def test_the_experiment_log_has_a_row_per_ended_run(runs, config):
    for overrides in ((), ("training.learning_rate=0.01", "model.join=unet")):
        settings = settings_with(config, *overrides)
        with begin(runs, settings=settings) as run:
            history = [{"epoch": 1, **ROW}, {"epoch": 2, **ROW, "val_jaccard": 0.7}, {"epoch": 3, **ROW}]
            said = conclude(run, settings, history)
    begin(runs).__exit__()  # not ended: not in the log
    assert "best epoch 2 of 3" in said
    assert "0.7000" in said
    assert "without ImageNet" in said
    with (runs / "experiments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["people-001", "people-002"]
    assert rows[1]["val_jaccard"] == "0.7"
    assert rows[1]["epochs"] == "3"
    assert rows[0]["changed"] == ""
    assert rows[1]["changed"] == 'model.join="unet" training.learning_rate=0.01'
    (runs / "people-001" / "result.json").unlink()
    write_experiments(runs)
    assert len((runs / "experiments.csv").read_text().splitlines()) == 2


def test_a_spoiled_result_of_another_run_does_not_spoil_the_log(runs, config):
    (runs / "broken").mkdir(parents=True)
    (runs / "broken" / "result.json").write_text("{half")
    with begin(runs) as run:
        conclude(run, Settings(), [{"epoch": 1, **ROW}])
    assert len((runs / "experiments.csv").read_text().splitlines()) == 2


def test_a_score_of_a_class_that_no_picture_has_is_null(runs):
    with begin(runs) as run:
        conclude(run, Settings(), [{"epoch": 1, **ROW, "val_jaccard/hat": float("nan")}])
    scores = json.loads(run.result_file.read_text(), parse_constant=pytest.fail)["scores"]
    assert scores["val_jaccard/hat"] is None
    (row,) = csv.DictReader((runs / "experiments.csv").read_text().splitlines())
    assert (row["val_jaccard"], "val_jaccard/hat" in row) == ("0.6", False)


def test_a_log_that_cannot_be_written_does_not_spoil_the_result(runs):
    (runs / "experiments.csv").mkdir(parents=True)
    with begin(runs) as run:
        said = conclude(run, Settings(), [{"epoch": 1, **ROW}])
    assert "best epoch 1 of 1" in said
    assert f"no log of all runs: {runs}/experiments.csv" in said
    assert json.loads(run.result_file.read_text())["best_epoch"] == 1
