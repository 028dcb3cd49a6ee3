"""``kseg-export``: from a run to a version that TensorFlow Serving serves."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kseg.cli.common import data_option, errors_as_messages, import_tensorflow, set_option

if TYPE_CHECKING:
    from kseg.cli.trained import Trained
    from kseg.serving.verify import Verification

EXAMPLES = """\b
Examples:
  kseg-export runs/people-001 --to models/people
  kseg-export runs/people-001 --to models/people --set export.precision=bfloat16
  kseg-export runs/people-001 --to models/people --set export.precision=int8
  kseg-export runs/people-001 --to models/people --label stable --keep 3
  kseg-export --rollback --to models/people
  kseg-export runs/people-001 --to people.tflite --format litert
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
    help="The model's folder, such as models/people, whose versions are 1, 2, ...; or a file, with --format.",
)
@set_option("Change a setting of the export, such as export.precision=bfloat16; may be given several times.")
@data_option("Where the run's pictures are now, if they were moved: some of them are compared.")
@click.option(
    "--label", metavar="NAME", help="Let a label, such as stable, point at the new version; canary always does."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["savedmodel", "litert", "onnx"]),
    default="savedmodel",
    show_default=True,
    help="litert (.tflite) or onnx: one file, pixels in and probabilities out, for phones or other servers.",
)
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Remove all but the newest N versions.")
@click.option("--rollback", is_flag=True, help="Publish the last version but one anew, instead of a run.")
@click.option("--rollback-to", "earlier", type=click.IntRange(min=0), metavar="N", help="The same, with version N.")
def main(
    run_path: Path | None,
    model_dir: Path,
    overrides: tuple[str, ...],
    roots: tuple[Path, ...],
    label: str | None,
    keep: int | None,
    rollback: bool,
    earlier: int | None,
    kind: str,
) -> None:
    """Publish the best network of RUN as the next version in a folder that TensorFlow Serving watches."""
    rollback = rollback or earlier is not None
    require_sensible(run_path, rollback, kind, label, keep, overrides, roots)
    with errors_as_messages("end other programs, or use a machine that has more"):
        if run_path is None:
            from kseg.serving.versions import rollback as publish_again

            finish(publish_again(model_dir, earlier), keep)
        elif kind == "savedmodel":
            finish(export_run(run_path, model_dir, overrides, roots, label), keep)
        else:
            convert_run(run_path, model_dir, kind, overrides, roots)


def require_sensible(
    run_path: Path | None,
    rollback: bool,
    kind: str,
    label: str | None,
    keep: int | None,
    overrides: tuple[str, ...],
    roots: tuple[Path, ...],
) -> None:
    """Raise UsageError for options that would contradict each other, or be ignored."""
    if (run_path is None) != rollback:
        raise click.UsageError("Give either a RUN to export, or --rollback.")
    if rollback and label:
        raise click.UsageError("--label goes with a RUN; --rollback moves stable and canary, and no other label.")
    if kind != "savedmodel" and (rollback or label or keep):
        raise click.UsageError(f"--format {kind} writes one file: it has no versions to label, keep or roll back.")
    if rollback and (overrides or roots):
        raise click.UsageError("--set and --data go with a RUN; --rollback publishes an earlier version as it is.")
    if kind != "savedmodel" and overrides:
        raise click.UsageError(f"--set goes with a SavedModel; --format {kind} always writes probabilities in float32.")


def export_run(
    run_path: Path, model_dir: Path, overrides: tuple[str, ...], roots: tuple[Path, ...], label: str | None
) -> Path:
    """From the run to its published version: network, sample photos, SavedModel, comparison, card, number, labels."""
    import_tensorflow()
    from kseg.cli.card import card_of
    from kseg.cli.trained import open_trained
    from kseg.serving.export import export
    from kseg.serving.labels import label_export, require_labels
    from kseg.serving.versions import publish

    labels = (label,) if label else ()
    require_labels(labels)
    trained = open_trained(run_path, overrides, roots)
    chosen = trained.settings.export
    announce(trained, chosen.precision)

    def write(folder: Path) -> None:
        verification = export(
            folder,
            trained.model,
            trained.contract,
            trained.samples,
            precision=chosen.precision,
            measured=trained.measured,
            batch_sizes=chosen.batch_sizes,
        )
        card_of(trained.run, trained.settings, verification, model_dir.resolve().name).write(folder)
        report(verification)

    published = publish(model_dir, write)
    label_export(model_dir, int(published.name), labels)
    return published


def convert_run(run_path: Path, path: Path, kind: str, overrides: tuple[str, ...], roots: tuple[Path, ...]) -> None:
    """From the run to one file of another runtime."""
    import_tensorflow()
    from kseg.cli.trained import open_trained
    from kseg.serving.formats import export_file

    trained = open_trained(run_path, overrides, roots)
    announce(trained, "float32")
    report(export_file(path, kind, trained.model, trained.contract, trained.samples))
    height, width = trained.contract.image_size
    click.echo(f"wrote {path}: pixels in [0, 255], float32 (1, {height}, {width}, 3), to probabilities")


def announce(trained: "Trained", precision: str) -> None:
    """Say what is going to happen."""
    click.echo(
        f"{trained.run.path}: {trained.model.name} in {precision}; writing it and comparing it on "
        f"{len(trained.samples)} photos"
    )


def report(verification: "Verification") -> None:
    """Say how near the export is to the trained network."""
    click.echo(
        f"the same as the trained network but for {verification.changed_share:.3%} of the masks' pixels; "
        f"probabilities differ by up to {verification.largest_difference:.2g}"
    )


def finish(published: Path, keep: int | None) -> None:
    """Say what is published, remove old versions, and bring the server files up to date."""
    from kseg.serving.labels import read_labels
    from kseg.serving.server_files import write_server_files
    from kseg.serving.versions import prune

    model_dir = published.parent
    labels = [label for label, version in read_labels(model_dir).items() if version == int(published.name)]
    click.echo(f"published {published}" + (f", labelled {' and '.join(labels)}" if labels else ""))
    if keep and (removed := prune(model_dir, keep)):
        click.echo(f"removed {', '.join(map(str, removed))}")
    for reason in write_server_files(model_dir).left_out:
        click.echo(f"warning: left out of models.config: {reason}", err=True)
    click.echo(f"server files are in {model_dir.resolve().parent}")
