"""A run is a folder: settings, data, environment, history, checkpoint, networks, pictures, result.

settings.toml             every setting, defaults included: a config that repeats the run
encoder_weights.json      where the encoder's weights came from, with their hash (only if they are not random)
data.json                 the samples, by name: training, validation, and those left out with the reason
environment.json          command, versions, machine, start
history.csv, curves.png   one row, one point per epoch
predictions/epoch-001.png validation pictures, their truth, the prediction, its errors
tensorboard/              the same for TensorBoard
checkpoint.weights.h5     all that resuming needs
best.keras, last.keras    networks that Keras loads without kseg
skipped.csv               samples left out, with the reason (only if there are any)
result.json               the scores, once the training has ended
evaluation/report.html    the page of it all; evaluation.json and two tables: scores at the photos' own size
"""

import contextlib
import csv
import fcntl
import json
import os
import platform
import re
import sys
import time
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from kseg import __version__
from kseg.config import MACHINE_ONLY, difference, dump_settings, flatten, load_settings, wherever
from kseg.errors import KsegError, TrainingError
from kseg.files import plain, write_csv, write_text
from kseg.models.weights import WeightsOrigin
from kseg.settings import Settings
from kseg.training.checkpoint import read_history
from kseg.training.history import Row

PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python-headless", "pillow")

MAY_CHANGE = {"training.epochs", *(f"data.{key}" for key in MACHINE_ONLY)}
"""Settings that a resumed run may have otherwise: to train on, or where the same data is elsewhere or comes through
other machines now; that holds for further sources, too.

Those of the export, which training does not look at, may change too.
"""


class Run:
    """The folder of one training; held by one process at a time. See the module for what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history: list[Row] = []
        self.settings_file = path / "settings.toml"
        self.data_file = path / "data.json"
        self.weights_file = path / "encoder_weights.json"
        self.skipped_file = path / "skipped.csv"
        self.curves = path / "curves.png"
        self.tensorboard = path / "tensorboard"
        self.checkpoint = path / "checkpoint.weights.h5"
        self.best_model = path / "best.keras"
        self.last_model = path / "last.keras"
        self.result_file = path / "result.json"
        self.evaluation = path / "evaluation"

    @classmethod
    def create(cls, path: Path | None, name: str, settings: Settings, runs: Path) -> Self:
        """A new run in ``path``, or in the next free ``runs/name-001``. Raises TrainingError if ``path`` holds one."""
        run = cls(path or _next_free(runs, name))
        if run.settings_file.exists():
            raise TrainingError(
                f"{run.path}: already holds a run; add --resume to go on with it, or choose another --run"
            )
        run._hold()
        write_text(run.path / "environment.json", json.dumps(_environment(), indent=2) + "\n")
        write_text(run.settings_file, dump_settings(settings))  # last: a folder with settings is a run
        return run

    @classmethod
    def resume(cls, path: Path | None, name: str, settings: Settings, runs: Path) -> Self:
        """The run in ``path``, or the newest of ``name`` in ``runs``, with its history; ``settings`` must be its.

        What ``settings`` do not name of the export stays as it is in the run, where a threshold may have been stored.
        """
        run = cls(path or _newest(runs, name))
        if not run.settings_file.exists():
            raise TrainingError(f"{run.path}: holds no run to resume; leave --resume out to start one")
        earlier = load_settings(run.settings_file)
        _require_same(settings, earlier, run.settings_file)
        run._hold()
        write_text(run.settings_file, dump_settings(_with_export_of(earlier, settings)))
        run.history = read_history(run.checkpoint)
        return run

    @classmethod
    def follow(cls, path: Path) -> Self:
        """Another worker's run, with its history, to read from. Raises TrainingError if it is not there."""
        run = cls(path)
        if not run.settings_file.exists():
            raise TrainingError(
                f"{path}: is not there for this worker; --run must name a folder on storage that all workers see"
            )
        run.history = read_history(run.checkpoint)
        return run

    def __enter__(self) -> Self:
        """The run is held already; leaving lets go of it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the folder, and remove it if the training never began (its samples were never settled)."""
        if not self.data_file.exists():
            for name in ("settings.toml", "environment.json", "encoder_weights.json", ".lock"):
                (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds something of the user's
                self.path.rmdir()
        self._lock.close()

    def predictions(self, epoch: int) -> Path:
        """The picture of an epoch's predictions."""
        return self.path / "predictions" / f"epoch-{epoch:03}.png"

    def write_data(self, training: list[str], validation: list[str], skipped: dict[str, str]) -> None:
        """Keep the samples' names, so that resuming uses the very same ones."""
        content = {"training": training, "validation": validation, "skipped": skipped}
        write_text(self.data_file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        if skipped:
            rows = [{"sample": name, "reason": skipped[name]} for name in sorted(skipped)]
            write_csv(self.skipped_file, ["sample", "reason"], rows)

    def read_data(self) -> dict[str, Any] | None:
        """What ``write_data`` kept; None if the run was interrupted before."""
        return json.loads(self.data_file.read_text(encoding="utf-8")) if self.data_file.exists() else None

    def write_weights(self, origin: WeightsOrigin | None) -> None:
        """Keep where the encoder's weights came from; None: they are random."""
        if origin is not None:
            write_text(self.weights_file, json.dumps(asdict(origin), indent=2) + "\n")

    def read_weights(self) -> WeightsOrigin | None:
        """What ``write_weights`` kept."""
        if not self.weights_file.exists():
            return None
        return WeightsOrigin(**json.loads(self.weights_file.read_text(encoding="utf-8")))

    def read_environment(self) -> dict[str, Any]:
        """Command, versions, machine and time of the run's beginning."""
        return json.loads((self.path / "environment.json").read_text(encoding="utf-8"))

    def write_history(self, history: list[Row]) -> None:
        """Write ``history.csv``."""
        write_csv(self.path / "history.csv", list(history[-1]), history)

    def read_rows(self) -> list[Row]:
        """The rows of ``history.csv``, as numbers; none before the first epoch."""
        file = self.path / "history.csv"
        if not file.exists():
            return []
        with file.open(encoding="utf-8", newline="") as text:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(text)]

    def write_result(self, result: dict[str, Any]) -> None:
        """Write ``result.json``: the run has ended. A score of a class that no picture has is null."""
        write_text(self.result_file, json.dumps(plain(result), indent=2, allow_nan=False) + "\n")

    def _hold(self) -> None:
        """Create the folder and lock it; the system lets go of the lock when the process ends, however it ends."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise TrainingError(
                f"{self.path}: another process is training in this run; wait for it, or end it"
            ) from None
        except OSError as error:
            raise KsegError(f"{self.path}: cannot be written: {error.strerror}; choose another with --run") from None


def _next_free(runs: Path, name: str) -> Path:
    """Create and return ``runs/name-001`` or the next number; creating it is what reserves it."""
    for number in range(1, 100_000):
        path = runs / f"{name}-{number:03}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise KsegError(f"{path}: cannot be written: {error.strerror}; choose another with --run") from None
        return path
    raise TrainingError(f"{runs}: is full of runs of {name}; remove some")


def _newest(runs: Path, name: str) -> Path:
    """The run begun last: a folder's time changes with all that is written into it later."""
    numbered = re.compile(rf"{re.escape(name)}-[0-9]+")
    candidates = [file.parent for file in runs.glob("*/settings.toml") if numbered.fullmatch(file.parent.name)]
    if not candidates:
        raise TrainingError(f"{runs}: holds no run of {name} to resume; leave --resume out, or name one with --run")
    return max(candidates, key=lambda path: (datetime.fromisoformat(Run(path).read_environment()["started"]), path))


def _with_export_of(earlier: Settings, settings: Settings) -> Settings:
    """The settings, with the earlier ones' export but for what they name themselves, defaults not counted."""
    named = settings.export.model_dump(include=settings.export.model_fields_set)
    return settings.model_copy(update={"export": earlier.export.model_copy(update=named)})


def _require_same(settings: Settings, earlier: Settings, file: Path) -> None:
    before = flatten(earlier)
    changed = {
        key: value
        for key, value in difference(settings, earlier).items()
        if key not in MAY_CHANGE and not key.startswith("export.") and wherever(value) != wherever(before[key])
    }
    if "training.epochs" in difference(settings, earlier) and settings.training.schedule == "cosine":
        changed["training.epochs"] = settings.training.epochs  # the schedule is stretched over all epochs
    if changed:
        listed = ", ".join(f"{key} = {value}" for key, value in changed.items())
        raise TrainingError(
            f"{file}: the run was started with other settings than {listed}; "
            "resume it without changing them, or start a new run"
        )


def _environment() -> dict[str, Any]:
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "kseg": __version__,
        **{package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
    }
