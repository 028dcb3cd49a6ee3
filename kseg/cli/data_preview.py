"""``kseg-data preview``: samples, their masks, and what training makes of them, on a sheet."""

from pathlib import Path

import click

from kseg.cli.common import data_option, errors_as_messages, import_tensorflow, set_option

EXAMPLES = """\b
Examples:
  kseg-data preview configs/people.toml --data photos
  kseg-data preview configs/fashion.toml --data fashion --samples 24 --variants 5
  kseg-data preview configs/people.toml --data photos --set augmentation.rotation=20
  kseg-data preview configs/people.toml --data photos --name photos/beach-017 --out beach.png

A column per sample: the photo as the network sees it, its mask over it, then random variants as training sees them.
Nothing is trained, and no other sample is looked at."""

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


@click.command(epilog=EXAMPLES)
@click.argument("config", type=click.Path(path_type=Path))
@data_option("Folder with images/ and masks/; may be given several times.")
@set_option("Change a setting, such as augmentation.scale=0.25; may be given several times.")
@click.option(
    "--samples", type=click.IntRange(min=1), default=8, show_default=True, metavar="N", help="How many; 8 to a sheet."
)
@click.option(
    "--variants", type=click.IntRange(min=0), default=3, show_default=True, metavar="N", help="Of each sample."
)
@click.option("--name", "names", multiple=True, metavar="NAME", help="Draw this sample; may be given several times.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("preview.png"), show_default=True, help="File of the sheet."
)
def preview(
    config: Path,
    roots: tuple[Path, ...],
    overrides: tuple[str, ...],
    samples: int,
    variants: int,
    names: tuple[str, ...],
    out: Path,
) -> None:
    """Draw samples, masks and augmentations as training with the settings of CONFIG would see them."""
    with errors_as_messages():
        from kseg.config import load_settings
        from kseg.errors import ConfigError

        if out.suffix.lower() not in ENDINGS:
            raise ConfigError(f"--out {out}: ends in none of {', '.join(ENDINGS)}, the pictures that can be written")
        settings = load_settings(config, overrides, roots)
        import_tensorflow()
        from kseg.cli.previewing import draw

        for file in draw(settings, out, samples, variants, names):
            click.echo(f"drawn: {file}")
