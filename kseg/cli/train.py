"""``kseg-train``: from a folder of photos and masks to a trained model."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kseg.cli.common import data_option, errors_as_messages, import_tensorflow, interrupted, set_option

if TYPE_CHECKING:
    from kseg.cli.samples import Samples
    from kseg.settings import Settings
    from kseg.training.run import Run

EXAMPLES = """\b
Examples:
  kseg-train configs/quickstart.toml
  kseg-train configs/people.toml --data photos
  kseg-train configs/people.toml --data photos --data more --set training.epochs=50
  kseg-train configs/people.toml --data photos --dry-run
  kseg-train configs/people.toml --data photos --resume

A data folder holds images/ and masks/ (the names are settings), matched by file name. The run's folder holds the
results: report, curves, predictions after every epoch, best.keras. All runs are listed in experiments.csv beside it."""

RUNS = Path("runs")


@click.command(epilog=EXAMPLES)
@click.argument("config", type=click.Path(path_type=Path))
@data_option("Folder with images/ and masks/; may be given several times.")
@set_option("Change a setting, such as training.epochs=5; may be given several times.")
@click.option(
    "--run",
    "run_path",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the results.  [default: runs/CONFIG-001, or the next free number]",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run: --run, or the newest of CONFIG.")
@click.option("--dry-run", is_flag=True, help="Show the network, the data and an augmented batch; train nothing.")
def main(
    config: Path,
    roots: tuple[Path, ...],
    overrides: tuple[str, ...],
    run_path: Path | None,
    resume: bool,
    dry_run: bool,
) -> None:
    """Train a segmentation network as the settings file CONFIG says."""
    with errors_as_messages():
        # Here and not at the top: pydantic and TensorFlow take seconds to load, and --help should answer at once.
        from kseg.config import load_settings

        settings = load_settings(config, overrides, roots)
        import_tensorflow()
        if dry_run:
            from kseg.cli.dry_run import show

            show(settings, run_path or RUNS / f"{config.stem}-dry-run")
            return
        from kseg.training.run import Run

        start = Run.resume if resume else Run.create
        with start(run_path, config.stem, settings, RUNS) as run:
            try:
                report_on(run, settings, train_in(run, settings))
            except KeyboardInterrupt:
                again = shlex.join(["kseg-train", str(config), "--run", str(run.path), "--resume"])
                interrupted(
                    f"interrupted after {len(run.history)} whole epochs; go on with: {again}, "
                    "with the same --data and --set"
                )


def train_in(run: "Run", settings: "Settings") -> "Samples":
    """The whole program: settings -> network and loss -> samples -> pipelines -> training -> result."""
    from kseg.cli.samples import examples_of, open_samples
    from kseg.data.pipeline import data_errors, evaluation_pipeline, training_pipeline
    from kseg.models.segmenter import build_segmenter
    from kseg.models.weights import describe, load_encoder_weights
    from kseg.training.loop import build_loss, count_steps, train
    from kseg.training.precision import prepare_keras
    from kseg.training.result import conclude

    data, batch_size = settings.data, settings.training.batch_size
    policy = prepare_keras(settings)
    model = build_segmenter(num_classes=data.num_classes, **settings.model.network)
    if not run.history:  # else the checkpoint has them, further trained
        run.write_weights(load_encoder_weights(model, settings.model.encoder, settings.model.encoder_weights))
    build_loss(settings, None)  # one that cannot be should be known before every picture is looked at
    samples = open_samples(settings, run)
    loader, split, order, class_weights = samples
    loss = build_loss(settings, class_weights)
    steps = count_steps(settings, order.length)
    training = training_pipeline(
        loader,
        order,
        settings.augmentation,
        ignore_class=data.ignore_class,
        batch_size=batch_size,
        first_step=len(run.history) * steps,
        steps=settings.training.epochs * steps,
    )
    validation = evaluation_pipeline(loader, split.validation, batch_size=batch_size)
    click.echo(
        f"{model.name}: {model.count_params():,} parameters, {describe(run.read_weights())}, {policy}; "
        f"{len(split.training)} samples train, {len(split.validation)} validate, {steps} steps an epoch; "
        f"results in {run.path}"
    )
    with data_errors(loader):
        history = train(
            model,
            training,
            validation,
            examples_of(loader, split),
            loss=loss,
            settings=settings,
            run=run,
            steps_per_epoch=steps,
            batch_names=lambda step: [loader.source.names[index] for index in order.batch(step, batch_size)],
        )
    click.echo(conclude(run, settings, history))
    return samples


def report_on(run: "Run", settings: "Settings", samples: "Samples") -> None:
    """Score the best network on the validation photos at their own size, and write the page of it all."""
    from kseg.cli.evaluating import Examined, examine
    from kseg.cli.reporting import write_results

    if run.best_model.exists():
        examined = Examined(run, settings, samples.loader.source, "validation", samples.split.validation)
        page = write_results(run.evaluation, examine(examined))
        click.echo(f"report, with scores at the photos' own size: {page}")
