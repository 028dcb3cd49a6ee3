"""``kseg-export``: from a run to a version that TensorFlow Serving serves."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kseg.cli.common import errors_as_messages, import_tensorflow

if TYPE_CHECKING:
    from kseg.serving.verify import Sample, Verification
    from kseg.settings import Settings
    from kseg.training.run import Run

EXAMPLES = """\b
Examples:
  kseg-export runs/people-001 --to models/people
  kseg-export runs/people-001 --to models/people --set export.precision=bfloat16
  kseg-export runs/people-001 --to models/people --label stable --keep 3
  kseg-export --rollback --to models/people
  cd models && docker compose up

The version is written to a hidden folder, compared with the trained network in a process of its own, and only then
given its number, so that a server never sees half of one. Server files are written beside the model's folder."""


@click.command(epilog=EXAMPLES)
@click.argument("run_path", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "model_dir",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The model's folder, such as models/people; its versions are 1, 2, ...",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the export, such as export.precision=bfloat16; may be given several times.",
)
@click.option(
    "--data",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the run's pictures are now, if they were moved: some of them are compared.",
)
@click.option(
    "--label", metavar="NAME", help="Let a label, such as stable, point at the new version; canary always does."
)
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Remove all but the newest N versions.")
@click.option("--rollback", is_flag=True, help="Publish an earlier version anew, instead of a run.")
@click.option(
    "--version", type=click.IntRange(min=0), metavar="N", help="Which, for --rollback.  [default: the last but one]"
)
def main(
    run_path: Path | None,
    model_dir: Path,
    overrides: tuple[str, ...],
    roots: tuple[Path, ...],
    label: str | None,
    keep: int | None,
    rollback: bool,
    version: int | None,
) -> None:
    """Publish the best network of RUN as the next version in a folder that TensorFlow Serving watches."""
    if rollback == (run_path is not None):
        raise click.UsageError("Give either a RUN to export, or --rollback.")
    with errors_as_messages():
        if rollback:
            from kseg.serving.publish import roll_back

            click.echo(roll_back(model_dir, version))
            return
        export_run(run_path, model_dir, overrides, roots, label, keep)


def export_run(
    run_path: Path,
    model_dir: Path,
    overrides: tuple[str, ...],
    roots: tuple[Path, ...],
    label: str | None,
    keep: int | None,
) -> None:
    """The whole program: run -> network in float32 -> sample photos -> version -> server files."""
    import_tensorflow()
    from kseg.config import load_settings
    from kseg.serving.export import export
    from kseg.serving.graph import Contract
    from kseg.training.run import Run

    run = Run(run_path)
    require_finished(run)
    settings = load_settings(run.settings_file, overrides, roots)
    data, chosen = settings.data, settings.export
    contract = Contract(data.class_ids, data.image_size, data.resize, chosen.threshold, chosen.max_pixels)
    model = best_network(run, settings)
    samples = sample_photos(run, settings)
    click.echo(f"{run.path}: {model.name} in {chosen.precision}, compared on {len(samples)} photos")
