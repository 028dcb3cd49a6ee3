"""``kseg-export``: from a run to a version that TensorFlow Serving serves."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kseg.cli.common import errors_as_messages, import_tensorflow

if TYPE_CHECKING:
    import keras

    from kseg.serving.verify import Sample
    from kseg.settings import Settings
    from kseg.training.run import Run

COMPARED = 8
"""Photos that the exported network is compared on; each costs about a second."""

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
    if (run_path is None) != rollback:
        raise click.UsageError("Give either a RUN to export, or --rollback.")
    if version is not None and not rollback:
        raise click.UsageError("--version belongs to --rollback; a run gets the next number.")
    with errors_as_messages():
        if run_path is None:
            from kseg.serving.versions import rollback as publish_again

            published = publish_again(model_dir, version)
        else:
            published = export_run(run_path, model_dir, overrides, roots, label)
        finish(published, keep)


def export_run(
    run_path: Path, model_dir: Path, overrides: tuple[str, ...], roots: tuple[Path, ...], label: str | None
) -> Path:
    """From the run to its published version: network, sample photos, SavedModel, comparison, card, number, labels."""
    import_tensorflow()
    from kseg.cli.card import card_of
    from kseg.serving.export import export
    from kseg.serving.graph import Contract
    from kseg.serving.labels import label_export, require_labels
    from kseg.serving.versions import publish
    from kseg.training.run import Run

    labels = (label,) if label else ()
    require_labels(labels)
    run = Run(run_path)
    settings = settings_of(run, overrides, roots)
    data, chosen = settings.data, settings.export
    contract = Contract(data.class_ids, data.image_size, data.resize, chosen.threshold, chosen.max_pixels)
    model = best_network(run, settings)
    samples = sample_photos(run, settings)
    click.echo(f"{run.path}: {model.name} in {chosen.precision}; writing it and comparing it on {len(samples)} photos")

    def write(folder: Path) -> None:
        verification = export(
            folder, model, contract, samples, precision=chosen.precision, batch_sizes=chosen.batch_sizes
        )
        card_of(run, settings, verification, model_dir.resolve().name).write(folder)
        click.echo(
            f"the same as the trained network but for {verification.changed_share:.3%} of the masks' pixels; "
            f"probabilities differ by up to {verification.largest_difference:.2g}"
        )

    published = publish(model_dir, write)
    label_export(model_dir, int(published.name), labels)
    return published


def finish(published: Path, keep: int | None) -> None:
    """Remove old versions, bring the server files up to date, and say what is there now."""
    from kseg.serving.labels import read_labels
    from kseg.serving.server_files import write_server_files
    from kseg.serving.versions import prune

    model_dir = published.parent
    removed = prune(model_dir, keep) if keep else []
    write_server_files(model_dir)
    labels = [label for label, version in read_labels(model_dir).items() if version == int(published.name)]
    click.echo(
        f"published {published}"
        + (f", labelled {' and '.join(labels)}" if labels else "")
        + (f"; removed {', '.join(map(str, removed))}" if removed else "")
        + f"; server files are in {model_dir.resolve().parent}"
    )


def settings_of(run: "Run", overrides: tuple[str, ...], roots: tuple[Path, ...]) -> "Settings":
    """The settings of a run that has a network, with the export's own changed as asked."""
    from kseg.config import load_settings
    from kseg.errors import ConfigError, ExportError

    if not run.settings_file.exists():
        raise ExportError(
            f"{run.path}: holds no run; name a folder that kseg-train has written, such as runs/people-001"
        )
    if not run.best_model.exists():
        raise ExportError(f"{run.path}: has no {run.best_model.name} yet; let kseg-train finish an epoch first")
    for text in overrides:
        if not text.startswith("export."):
            raise ConfigError(f"--set {text}: the network is trained already; only export.* can be chosen now")
    return load_settings(run.settings_file, overrides, roots)


def best_network(run: "Run", settings: "Settings") -> "keras.Model":
    """The run's best network, in float32 whatever it was trained in."""
    import warnings

    import keras

    from kseg.errors import ExportError
    from kseg.models.segmenter import build_segmenter

    keras.config.set_dtype_policy("float32")
    model = build_segmenter(num_classes=settings.data.num_classes, **settings.model.network)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a layer that is not in the file would keep its random weights
            model.load_weights(run.best_model)
    except Exception as error:  # Keras, h5py, zipfile and zlib have each their own for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(
            f"{run.best_model}: cannot be read as the network of {run.settings_file}: {reason}; train it again"
        ) from None
    return model


def sample_photos(run: "Run", settings: "Settings") -> "list[Sample]":
    """Some of the run's validation pictures, or, if they are not there any more, drawn scenes."""
    import cv2
    import numpy as np

    from kseg.data.sources import open_source
    from kseg.data.synthetic import draw_scene
    from kseg.errors import KsegError
    from kseg.serving.verify import Sample

    try:
        source = open_source(settings.data, settings.synthetic)
        kept = run.read_data() or {"validation": source.names}
        names = [name for name in kept["validation"] if name in source.names]
        chosen = names[:: max(1, -(-len(names) // COMPARED))]
        pictures = [source.load(source.names.index(name)).picture for name in chosen]
        if not pictures:
            raise KsegError("none of the run's validation pictures is there")
    except KsegError as error:
        click.echo(f"compared on drawn scenes, since the run's pictures cannot be read: {error}", err=True)
        pictures = [draw_scene(0, index, 480, 640)[0] for index in range(COMPARED)]
    # PNG, so that both see the very same pixels
    contents = [cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes() for picture in pictures]
    return [Sample(content, np.ascontiguousarray(picture)) for content, picture in zip(contents, pictures, strict=True)]
