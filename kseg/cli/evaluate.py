"""``kseg-evaluate``: numbers one can trust, and the photos they come from."""

from pathlib import Path

import click

from kseg.cli.common import batch_size_option, data_option, errors_as_messages, import_tensorflow, interrupted

EXAMPLES = """\b
Examples:
  kseg-evaluate runs/people-001
  kseg-evaluate runs/people-001 --flip
  kseg-evaluate runs/people-001 --data holidays --out holidays-scores
  kseg-evaluate runs/people-002 --baseline runs/people-001
  kseg-evaluate runs/people-001 --store-threshold

Photos are judged as in prediction and by an exported model, and scored at their own size. The folder of the results
holds report.html, evaluation.json, per_photo.csv and per_class.csv."""

WORDS = "kseg.words"


class Repeatable(click.Command):
    """A command that keeps the words it was called with, under ``WORDS`` of its context's ``meta``."""

    def parse_args(self, context: click.Context, words: list[str]) -> list[str]:
        """Keep them before they are taken apart."""
        context.meta[WORDS] = [context.info_name, *words]
        return super().parse_args(context, words)


@click.command(cls=Repeatable, epilog=EXAMPLES)
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@data_option("Other photos, or where the run's are now; may be given several times.")
@click.option(
    "--split",
    metavar="NAME",
    help="validation, training, all, or a text file with one sample a line.  "
    "[default: the run's validation photos, or all, where --data has none of the run's]",
)
@click.option("--baseline", type=click.Path(path_type=Path), metavar="RUN", help="Compare with another run's network.")
@click.option("--flip", is_flag=True, help="Judge every photo mirrored, too, and take the mean of both.")
@batch_size_option("Photos judged together.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="That the network computes in.",
)
@click.option("--store-threshold", is_flag=True, help="Keep the best threshold in the run, for prediction and export.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the results.  [default: RUN/evaluation]"
)
@click.pass_context
def main(
    context: click.Context,
    run_path: Path,
    roots: tuple[Path, ...],
    split: str | None,
    baseline: Path | None,
    flip: bool,
    batch_size: int,
    precision: str,
    store_threshold: bool,
    out: Path | None,
) -> None:
    """Score the best network of RUN on photos with masks, over the data set and per image, and write a report."""
    with errors_as_messages("use --batch-size 1"):
        import_tensorflow()
        from kseg.cli.evaluating import Examined, Judging, examine, require_threshold, say, store
        from kseg.cli.reporting import results_of

        judging = Judging(flip, batch_size, precision)
        try:
            examined = Examined.open(run_path, roots, split)
            compared = examined.by(baseline) if baseline else None
            if store_threshold:
                require_threshold(examined.settings)
            judged = examine(examined, judging)
            other = examine(compared, judging) if compared else None
            results = results_of(judged, context.meta[WORDS], other)
        except KeyboardInterrupt:
            interrupted("interrupted; nothing was written")
        page = results.write(out or examined.run.evaluation)
        say(judged.evaluation)
        if store_threshold:
            store(examined.run, results.evaluation["thresholds"]["best"]["threshold"])
        click.echo(f"report: {page}")
