"""How a training ended: its best epoch's scores, kept in the run, in the experiment log, and said in two lines."""

import time
from dataclasses import asdict

from kseg.config import difference
from kseg.errors import KsegError
from kseg.models.weights import RANDOM, describe
from kseg.settings import Settings
from kseg.training.experiments import write_experiments
from kseg.training.history import Row, best_row
from kseg.training.run import Run

PLACES = {"data.roots"}
"""Settings that say where the data is, not how the network is trained."""


def conclude(run: Run, settings: Settings, history: list[Row]) -> str:
    """Write ``result.json`` and the experiment log beside the run; return what to tell the user."""
    best = best_row(history, settings.training.monitor)
    if best is None:
        return f"no epoch gave a score; see {run.path}"
    origin = run.read_weights()
    scores = {name: value for name, value in best.items() if name.startswith("val_")}
    run.write_result(
        {
            "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "epochs": len(history),
            "best_epoch": int(best["epoch"]),
            "seconds": round(sum(row["seconds"] for row in history)),
            "scores": scores,
            "encoder_weights": asdict(origin) if origin else RANDOM,
            "changed": {key: value for key, value in difference(settings).items() if key not in PLACES},
        }
    )
    try:
        log = f"all runs: {write_experiments(run.path.parent)}"
    except KsegError as error:  # the log is beside the run, where nothing may be written
        log = f"no log of all runs: {error}"
    return (
        f"best epoch {int(best['epoch'])} of {len(history)}, on the validation pictures at the network's size: "
        f"jaccard {best['val_jaccard']:.4f}, dice {best['val_dice']:.4f} over the data set; "
        f"jaccard {best['val_jaccard_per_image']:.4f}, dice {best['val_dice_per_image']:.4f} per image "
        f"(from {describe(origin)})\n"
        f"network: {run.best_model}   curves: {run.curves}   {log}"
    )
