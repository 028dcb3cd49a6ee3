"""The experiment log: one row per finished run of a folder, to read and to sort.

It is made anew from the runs themselves each time one ends, so that it cannot disagree with them, two runs that
end together cannot spoil it, and a deleted run is gone from it.
"""

import json
from pathlib import Path
from typing import Any

from kseg.files import write_csv

LOG = "experiments.csv"
FIRST = ("run", "ended", "epochs", "best_epoch", "seconds")
LAST = ("kseg", "tensorflow", "keras", "changed")


def write_experiments(runs: Path) -> Path:
    """Write ``runs/experiments.csv``: per run its scores, time, versions, and the settings not at their defaults."""
    rows = [row for file in sorted(runs.glob("*/result.json")) if (row := _row(file))]
    scores = sorted({key for row in rows for key in row if key not in {*FIRST, *LAST}})
    write_csv(runs / LOG, [*FIRST, *scores, *LAST], rows)
    return runs / LOG


def _row(file: Path) -> dict[str, Any] | None:
    """A run's row; None if its files are not what kseg wrote, since another run's result matters more than the log."""
    try:
        return _read_row(file)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_row(file: Path) -> dict[str, Any]:
    result = json.loads(file.read_text(encoding="utf-8"))
    environment = json.loads((file.parent / "environment.json").read_text(encoding="utf-8"))
    return {
        "run": file.parent.name,
        **{key: result[key] for key in FIRST[1:]},
        **{key: round(value, 5) for key, value in result["scores"].items() if value is not None},
        **{key: environment[key] for key in LAST[:3]},
        "changed": " ".join(f"{key}={json.dumps(value)}" for key, value in result["changed"].items()),
    }
