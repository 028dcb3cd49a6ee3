"""The steps of ``kseg-data check``."""

import json
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import click

from kseg.cli.common import import_tensorflow, progress
from kseg.config import load_settings
from kseg.data.check import Check, Finding, check_data, fix_data
from kseg.data.check.statistics import ClassRow
from kseg.files import write_text
from kseg.report.data_page import write_data_page
from kseg.settings import Settings

SHOWN = 3
"""Findings of a kind that are printed."""

Item = TypeVar("Item")


def settings_for(place: Path, overrides: Sequence[str], roots: Sequence[Path]) -> Settings:
    """Those of a settings file; or the defaults, with a folder as the data. Raises ConfigError if they cannot be."""
    if place.is_dir():
        return load_settings(Path(os.devnull), overrides, (place, *roots))  # an empty file: all is as by default
    return load_settings(place, overrides, roots)


def examine(settings: Settings) -> Check:
    """Look at all of the data, with a progress bar."""
    if any(source.source == "tfds" for source in settings.data.sources):
        import_tensorflow()

    return check_data(settings.data, settings.synthetic, lambda samples, count: _shown(samples, count, "Checking"))


def mend(check: Check, out: Path) -> None:
    """Write a cleaned copy, and say how to train on it."""
    fixed = fix_data(check, out, lambda samples, count: _shown(samples, count, "Copying"))
    click.echo(f"{out}: {fixed.kept} samples, {fixed.left_out} left out; every change is in {out / 'changes.csv'}")
    options = [part for root in fixed.roots for part in ("--data", str(root))]
    if fixed.mask_values or any(source.mask_values for source in check.data.sources):
        table = ", ".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in fixed.mask_values.items())
        options += ["--set", f"data.mask_values={{{table}}}"]
    if check.data.also:
        options += ["--set", "data.also=[]"]
    click.echo("train on it with: " + shlex.join(options))


def write_results(folder: Path, check: Check, title: str) -> Path:
    """Write ``check.json`` and the page into ``folder``; return the page's file."""
    page = folder / "report.html"
    write_text(folder / "check.json", json.dumps(check.to_json(), indent=2) + "\n")
    write_data_page(page, check, title)
    return page


def say(check: Check) -> None:
    """Print what was found by its kind, with a few examples, and what the masks hold."""
    for kind, found in groupby(check.findings, lambda finding: finding.kind):
        _say_kind(str(kind), list(found))
    for line in _class_table(check.classes):
        click.echo(line)
    content = check.to_json()
    counts = ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in content["counts"].items()
    )
    click.echo(
        f"{content['samples']} samples, {content['usable']} usable: {content['training']} for training, "
        f"{content['validation']} for validation; {counts}"
    )


def _say_kind(kind: str, found: Sequence[Finding]) -> None:
    severities = Counter(str(finding.severity) for finding in found)
    click.echo(f"{kind}: " + ", ".join(f"{count} {severity}" for severity, count in severities.items()))
    for finding in found[:SHOWN]:
        click.echo(f"  {finding.message}")
    if len(found) > SHOWN:
        click.echo(f"  ... and {len(found) - SHOWN} more")


def _class_table(rows: Sequence[ClassRow]) -> list[str]:
    width = max(len(row.name) for row in rows)
    lines = [f"{'class':{width}}  share of pixels  in pictures  balanced weight  median weight"]
    for row in rows:
        weights = [f"{weight:.3f}" if weight is not None else "-" for weight in (row.balanced, row.median)]
        lines.append(f"{row.name:{width}}  {row.share:15.1%}  {row.pictures:11}  {weights[0]:>15}  {weights[1]:>13}")
    return lines


def _shown(samples: Iterable[Item], count: int, label: str) -> Iterator[Item]:
    with progress(count, label) as bar:
        for sample in samples:
            yield sample
            bar.update(1)
