"""``kseg-data check``: what is wrong with photos and masks, all of it at once, and a copy with most of it mended."""

from pathlib import Path

import click

from kseg.cli.common import data_option, errors_as_messages, interrupted, set_option

EXAMPLES = """\b
Examples:
  kseg-data check photos
  kseg-data check configs/people.toml --data photos
  kseg-data check fashion --set 'data.classes=["background", "skin"]'
  kseg-data check photos --fix photos-clean

A data folder holds images/ and masks/. What was found is printed, kind by kind, and written with pictures to
report.html and in full to check.json. The exit status is 1 where training would stop, or its scores would lie."""


@click.command(epilog=EXAMPLES)
@click.argument("place", metavar="DIR_OR_CONFIG", type=click.Path(path_type=Path))
@data_option("Folder with images/ and masks/; may be given several times.")
@set_option("Change a setting, such as data.validation_every=5; may be given several times.")
@click.option("--fix", type=click.Path(path_type=Path), metavar="OUT", help="Write a cleaned copy into a new folder.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the results.  [default: check/NAME]"
)
@click.pass_context
def check(
    context: click.Context,
    place: Path,
    roots: tuple[Path, ...],
    overrides: tuple[str, ...],
    fix: Path | None,
    out: Path | None,
) -> None:
    """Find all that is wrong with a folder of photos and masks, or with the data that a settings file names."""
    with errors_as_messages():
        # Here and not at the top: NumPy, pydantic and OpenCV take a while to load, and --help should answer at once.
        from kseg.cli.checking import examine, mend, say, settings_for, write_results

        settings = settings_for(place, overrides, roots)
        try:
            found = examine(settings)
            say(found)
            page = write_results(out or Path("check") / (place.absolute().stem or "data"), found, str(place))
            click.echo(f"report: {page}")
            if fix:
                mend(found, fix)
        except KeyboardInterrupt:
            interrupted("interrupted; the data is untouched" + (f", and {fix} was not written" if fix else ""))
    if found.failed:
        context.exit(1)
