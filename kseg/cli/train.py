"""``kseg-train``: from a folder of photos and masks to a trained model."""

import contextlib
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kseg.cli.common import data_option, errors_as_messages, import_tensorflow, interrupted, set_option

if TYPE_CHECKING:
    import tensorflow as tf

    from kseg.cli.samples import Samples
    from kseg.settings import Settings
    from kseg.training.run import Run
    from kseg.training.workers import Workers

EXAMPLES = """\b
Examples:
  kseg-train configs/quickstart.toml
  kseg-train configs/people.toml --data photos
  kseg-train configs/people.toml --data photos --data more --set training.epochs=50
  kseg-train configs/people.toml --data photos --dry-run
  kseg-train configs/people.toml --data photos --resume
  kseg-train configs/people.toml --data /shared/photos --run /shared/runs/people --resume --strategy multiworker

A data folder holds images/ and masks/ (the names are settings), matched by file name. The run's folder holds the
results: report, curves, predictions after every epoch, best.keras. All runs are listed in experiments.csv beside it.

Several machines train together under TF_CONFIG, as Kubernetes' TFJob sets it, with the same command on each; photos and
run are on storage that all of them see. If one is lost, all end; started again with --resume, they go on."""

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
@click.option(
    "--strategy",
    type=click.Choice(["auto", "one", "mirrored", "multiworker"]),
    default="auto",
    show_default=True,
    help="Train on one device, on all GPUs, or with the workers of TF_CONFIG; auto: with as many as there are.",
)
@click.option("--dry-run", is_flag=True, help="Show the network, the data and an augmented batch; train nothing.")
def main(
    config: Path,
    roots: tuple[Path, ...],
    overrides: tuple[str, ...],
    run_path: Path | None,
    resume: bool,
    strategy: str,
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
        from kseg.training.workers import find_workers, lost_workers_as_messages

        workers = find_workers(strategy)
        with lost_workers_as_messages(workers), open_run(run_path, config.stem, settings, resume, workers) as run:
            settings = load_settings(run.settings_file)  # a resumed run keeps what was stored for its export
            try:
                with workers.scope():
                    samples = train_in(run, settings, workers)
                if workers.first:
                    report_on(run, settings, samples)
                workers.hear()  # who left earlier would count as lost
            except KeyboardInterrupt:
                again = shlex.join(["kseg-train", str(config), "--run", str(run.path), "--resume"])
                interrupted(
                    f"interrupted after {len(run.history)} whole epochs; go on with: {again}, "
                    "with the same --data and --set"
                )


@contextlib.contextmanager
def open_run(path: Path | None, name: str, settings: "Settings", resume: bool, workers: "Workers") -> "Iterator[Run]":
    """Begin a run, or go on with it; of several workers, the first does, and the others follow its run.

    On a cluster the same command is started again and again: there is not always something to go on with.
    """
    from kseg.training.run import Run

    workers.check(settings)
    if not workers.first:
        yield Run.follow(Path(workers.hear()))
        return
    begun = workers.count == 1 or path is None or (path / "settings.toml").exists()
    start = Run.resume if resume and begun else Run.create
    with start(path, name, settings, RUNS) as run:
        workers.hear(str(run.path.absolute()))
        yield run


def train_in(run: "Run", settings: "Settings", workers: "Workers") -> "Samples":
    """The whole program: settings -> network and loss -> samples -> pipelines -> training -> result."""
    from kseg.cli.samples import examples_of, open_samples
    from kseg.data.pipeline import data_errors, evaluation_pipeline
    from kseg.models.segmenter import build_segmenter
    from kseg.models.weights import describe, load_encoder_weights
    from kseg.training.loop import build_loss, count_steps, train
    from kseg.training.precision import prepare_keras
    from kseg.training.result import conclude

    data, batch_size = settings.data, settings.training.batch_size
    policy = prepare_keras(settings)
    model = build_segmenter(num_classes=data.num_classes, **settings.model.network)
    if not run.history:  # else the checkpoint has them, further trained
        origin = load_encoder_weights(model, settings.model.encoder, settings.model.encoder_weights)
        if workers.first:
            run.write_weights(origin)
    build_loss(settings, None)  # one that cannot be should be known before every picture is looked at
    samples = workers.in_turn(lambda: open_samples(settings, run))
    loader, split, order, class_weights = samples
    loss = build_loss(settings, class_weights)
    steps = count_steps(settings, order.length)
    training = training_batches(
        settings, samples, range(len(run.history) * steps, settings.training.epochs * steps), workers
    )
    own = workers.share(split.validation)
    validation = evaluation_pipeline(loader, own, batch_size=workers.evaluation_batch(len(own), batch_size))
    click.echo(
        f"{model.name}: {model.count_params():,} parameters, {describe(run.read_weights())}, {policy}; "
        f"{len(split.training)} samples train, {len(split.validation)} validate, {steps} steps an epoch; "
        f"results in {run.path}{workers.describe(batch_size)}"
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
            workers=workers,
        )
    if workers.first:
        click.echo(conclude(run, settings, history))
    return samples


def training_batches(settings: "Settings", samples: "Samples", steps: range, workers: "Workers") -> "tf.data.Dataset":
    """The batches of some steps, or this worker's shares of them; made here, or by the machines of an input service."""
    from kseg.data.pipeline import training_pipeline

    data, (loader, _, order, _) = settings.data, samples
    pipeline = partial(training_pipeline, share=(workers.rank, workers.count))
    if data.input_service:
        from kseg.data.served import served_pipeline
        from kseg.data.service import describe_samples

        pipeline = partial(served_pipeline, data.input_service, describe_samples(settings, loader.source.names, order))
    return pipeline(
        loader,
        order,
        settings.augmentation,
        ignore_class=data.ignore_class,
        batch_size=settings.training.batch_size,
        first_step=steps.start,
        steps=steps.stop,
    )


def report_on(run: "Run", settings: "Settings", samples: "Samples") -> None:
    """Score the best network on the validation photos at their own size, and write the page of it all."""
    from kseg.cli.evaluating import Examined, examine
    from kseg.cli.reporting import results_of

    if run.best_model.exists():
        source, validation = samples.loader.source, samples.split.validation
        judged = examine(Examined(run, settings, settings.data, source, "validation", validation))
        page = results_of(judged, ["kseg-evaluate", str(run.path)]).write(run.evaluation)
        click.echo(f"report, with scores at the photos' own size: {page}")
