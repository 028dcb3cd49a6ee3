"""``kseg-data prepare``: pictures and masks, decoded once, as a set of TensorFlow Datasets."""

import shlex
from pathlib import Path

import click

from kseg.cli.beam import beam_options, chosen_beam
from kseg.cli.common import data_option, errors_as_messages, import_tensorflow, interrupted, progress, set_option

EXAMPLES = """\b
Examples:
  kseg-data prepare configs/people.toml --data photos --to sets/people
  kseg-data prepare configs/people.toml --data photos --to sets/people512 --set "data.image_size=[512, 512]"
  kseg-data prepare configs/people.toml --data photos --to set --beam-runner FlinkRunner --beam-option parallelism=64
  kseg-train configs/people.toml --data sets/people --set data.source=tfds

Every picture and its mask are decoded once and stored at the training's size, three bytes a pixel, so that epochs read
fast from disk. Interrupted or killed, the same command goes on where it stopped.

With --beam-runner, pictures, masks and the folder that OUT is in are on storage that all workers see under the same
names, and kseg is installed there. The set's own files are then written of their work by this process."""


@click.command(epilog=EXAMPLES)
@click.argument("config", type=click.Path(path_type=Path))
@data_option("Where the pictures are; may be given several times.")
@set_option("Change a setting, such as data.resize=pad; may be given several times.")
@click.option("--to", "out", required=True, type=click.Path(path_type=Path), metavar="OUT", help="Folder of the set.")
@click.option(
    "--licence", default="unknown", show_default=True, metavar="TEXT", help="Of the pictures, kept with them."
)
@beam_options
def prepare(
    config: Path,
    roots: tuple[Path, ...],
    overrides: tuple[str, ...],
    out: Path,
    licence: str,
    beam_runner: str | None,
    beam_options: tuple[str, ...],
) -> None:
    """Store the pictures and masks that the settings file CONFIG names, at its size, as a set to train on."""
    with errors_as_messages():
        # Here and not at the top: TensorFlow takes seconds to load, and --help should answer at once.
        from kseg.config import load_settings

        settings = load_settings(config, overrides, roots)
        beam = chosen_beam(beam_runner, beam_options)
        import_tensorflow()
        from kseg.data.sources import open_source
        from kseg.data.tfds.prepare import prepare as write

        source = open_source(settings.data, settings.synthetic)
        try:
            result = write(source, settings, out, licence=licence, progress=progress, beam=beam)
        except KeyboardInterrupt:
            interrupted("interrupted; the same command goes on")
        if result is None:
            click.echo(f"{out}: was finished before")
        else:
            split, skipped = result
            for name, reason in skipped.items():
                click.echo(f"skipped {name}: {reason}", err=True)
            click.echo(
                f"{out}: {len(split.training)} samples train, {len(split.validation)} validate, "
                f"{len(skipped)} were skipped"
            )
        changes = ["data.source=tfds", *(["data.also=[]"] if settings.data.also else [])]
        options = [part for change in changes for part in ("--set", change)]
        click.echo("train on it with: " + shlex.join(["kseg-train", str(config), "--data", str(out), *options]))
