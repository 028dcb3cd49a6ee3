"""The scores of all contenders' runs as a Markdown table, and how far kseg is ahead."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Runs = Mapping[str, Sequence[dict[str, Any]]]
"""What scores.json holds, of each contender's runs, one a seed."""

MEASURES = {"iou": "over the data set", "iou_per_image": "per image"}
COLUMNS = (
    "contender",
    "seeds",
    "IoU per image, best epoch",
    "IoU over the data set, best epoch",
    "IoU per image, last epoch",
    "IoU over the data set, last epoch",
    "wall min",
    "CPU min",
    "pictures seen",
    "parameters",
)


def measure_of(scores: dict[str, Any]) -> str:
    """What chooses the best epoch: of several classes the data set's IoU, since a picture may show few of them."""
    return "iou" if len(scores["classes"]) > 1 else "iou_per_image"


def best_of(scores: dict[str, Any]) -> dict[str, Any]:
    """The epoch of the highest IoU, by `measure_of`; the earliest of several."""
    return max(scores["epochs"], key=lambda epoch: epoch[measure_of(scores)])


def print_table(runs: Runs) -> None:
    """Print a row for each contender that has runs."""
    some = [run for group in runs.values() for run in group]
    if not some:
        print("no run has ended yet")
        return
    processors = " / ".join(str(number) for number in sorted({run["processors"] for run in some}))
    print(
        f"\nFrom random weights (no ImageNet weights), {some[0]['size']} x {some[0]['size']}, {len(some[0]['epochs'])} "
        f"epochs, {processors} processors a run. IoU of the validation pictures: mean over the seeds (least - most); "
        f"the best epoch is that of the highest IoU {MEASURES[measure_of(some[0])]}. Time of a run: median; wall "
        "without, CPU with start-up.\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    print("\n".join(_row(name, group) for name, group in runs.items() if group))


def print_classes(runs: Runs) -> None:
    """Print each class's IoU over the data set at the best epoch, if there are several classes."""
    shown = {name: group for name, group in runs.items() if group and len(group[0]["classes"]) > 1}
    for name, group in shown.items():
        if name == next(iter(shown)):
            columns = "contender", *group[0]["classes"], "mean"
            print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        best = [best_of(run) for run in group]
        scores = zip(*([*epoch["per_class"], epoch["iou"]] for epoch in best), strict=True)
        print(f"| {name} | {' | '.join(f'{statistics.mean(score):.3f}' for score in scores)} |")


def print_lead(runs: Runs, rivals: Sequence[str], ingredients: str) -> None:
    """Print how far kseg's mean is ahead of the best rival's, and what of that is the recipe's, as far as known."""
    means = {
        name: statistics.mean(best_of(run)[measure_of(run)] for run in group) for name, group in runs.items() if group
    }
    known = [name for name in rivals if name in means]
    if not known or "kseg" not in means:
        return
    best = max(known, key=means.__getitem__)
    print(f"\nkseg - {best}: {means['kseg'] - means[best]:+.4f} IoU {MEASURES[measure_of(runs['kseg'][0])]}")
    if ingredients:
        gain = f"{means['kseg'] - means['kseg-brief']:+.4f} of it: " if "kseg-brief" in means else ""
        print(f"What made the difference, {gain}{ingredients}. What each is worth: docs/experiments.md")


def _row(name: str, runs: Sequence[dict[str, Any]]) -> str:
    best = [best_of(run) for run in runs]
    cells = [
        name,
        " ".join(str(run["seed"]) for run in runs),
        _spread([epoch["iou_per_image"] for epoch in best]),
        _spread([epoch["iou"] for epoch in best]),
        _spread([run["epochs"][-1]["iou_per_image"] for run in runs]),
        _spread([run["epochs"][-1]["iou"] for run in runs]),
        _median_minutes([run["wall_seconds"] for run in runs]),
        _median_minutes([run["cpu_seconds"] for run in runs]),
        " / ".join(f"{seen:,}" for seen in sorted({run["pictures_seen"] for run in runs})),
        f"{runs[0]['parameters']:,}",
    ]
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.4f} ({min(values):.4f} - {max(values):.4f})"


def _median_minutes(seconds: Sequence[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    return f"{statistics.median(known) / 60:.1f}" if known else "-"
