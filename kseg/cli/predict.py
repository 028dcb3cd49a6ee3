"""``kseg-predict``: masks, overlays and cut-outs of photos and films, by a run, an exported model or a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from kseg.cli.beam import beam_options
from kseg.cli.common import batch_size_option, errors_as_messages

EXAMPLES = """\b
Examples:
  kseg-predict runs/people-001 photo.jpg --out masks
  kseg-predict runs/people-001 photos/ "more/**/*.jpg" --out masks --output mask --output overlay
  kseg-predict runs/people-001 photos/ --out cut --output cutout --largest --fill-holes 0.01
  kseg-predict runs/people-001 meeting.mp4 --out blurred --background blur --steady 0.5
  kseg-predict runs/people-001 panorama.jpg --out masks --resolution full
  kseg-predict models/people photos/ --out white --background "#ffffff" --format jpg
  kseg-predict runs/people-001 - --out - <photo.jpg >mask.png
  kseg-predict grpc://localhost:8500/people@stable photos/ --out masks
  kseg-predict runs/people-001 photos/ --out masks --beam-runner FlinkRunner --beam-option flink_master=host:8081

MODEL is a run of kseg-train, a model of kseg-export, or a server's address, which ends in the model's name, and
@LABEL or @VERSION if it is not to be the newest version. Results are of the photo's own size and called
NAME_mask.png and so on; those that are there already are left as they are, so that an interrupted call goes on.
Exit status: 0 if every photo has its results, 3 if some have none (they are listed at the end), 1 if nothing can be
done at all.

With --beam-runner, photos, the model and the results are on storage that all workers see under the same names, and
kseg is installed there."""

KINDS = ("mask", "probabilities", "overlay", "cutout", "background")


def background_of(_: click.Context, __: click.Parameter, value: str | None) -> str | tuple[int, ...] | None:
    """``blur``, the name of a picture file, or the channels of a colour, given as ``#rrggbb`` or ``r,g,b``."""
    if value is None or value == "blur" or Path(value).is_file():
        return value
    try:
        colour = tuple(map(int, value.split(","))) if "," in value else tuple(bytes.fromhex(value.removeprefix("#")))
    except ValueError:
        colour = ()
    if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
        raise click.BadParameter(f'{value}: no picture, and no colour; use blur, a file, "#ffffff" or 255,255,255')
    return colour


def resolution_of(_: click.Context, __: click.Parameter, value: str) -> str | int:
    """``trained``, ``full``, or a number of pixels."""
    if value in {"trained", "full"}:
        return value
    if not value.isdecimal() or int(value) < 32:
        raise click.BadParameter(f"{value}: use trained, full, or the longer side in pixels, 32 at least")
    return int(value)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the options say, under their names."""

    kinds: tuple[str, ...]
    file_format: str
    background: str | tuple[int, int, int] | None
    legend: bool
    resolution: str | int
    flip: bool
    threshold: float | None
    precision: str
    largest: bool
    min_region: float
    fill_holes: float
    smooth: float
    steady: float
    batch_size: int
    workers: int | None
    overwrite: bool
    timeout: float
    certificates: Path | None
    beam_runner: str | None
    beam_options: tuple[str, ...]


def all_kinds(context: click.Context, _: click.Parameter, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """What to write, each once: a background is asked for by naming it, and a mask if nothing else is."""
    named = ("background",) if context.params.get("background") else ()
    return tuple(dict.fromkeys((*kinds, *named))) or ("mask",)


@click.command(epilog=EXAMPLES)
@click.argument("model", metavar="MODEL")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="DIR", help="Folder for the results; - for standard output.")
@click.option(
    "--output",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    callback=all_kinds,
    help="What to write; several times for several.  [default: mask]",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["png", "webp", "tif", "jpg"]),
    default="png",
    show_default=True,
    help="Of the files; jpg for overlays and backgrounds only.",
)
@click.option(
    "--background",
    callback=background_of,
    is_eager=True,  # so that what is written knows of it
    metavar="WHAT",
    help="Write the photo before another background: blur, a colour such as #ffffff, or a picture.",
)
@click.option("--legend", is_flag=True, help="Name the classes on overlays.")
@click.option(
    "--resolution",
    callback=resolution_of,
    default="trained",
    show_default=True,
    metavar="SIZE",
    help="What the network sees: as trained; full, pixel by pixel and in tiles; or the longer side in pixels.",
)
@click.option("--flip", is_flag=True, help="Judge every photo mirrored, too: half as fast, slightly better.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="P",
    help="Of one class: the probability above which a pixel belongs to it.  [default: the run's]",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="That a run's network computes in; auto takes the faster.",
)
@click.option("--largest", is_flag=True, help="Keep only the largest region of every class.")
@click.option(
    "--min-region",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Drop regions below this share of the photo.",
)
@click.option(
    "--fill-holes",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Fill holes below this share of the photo.",
)
@click.option(
    "--smooth",
    type=click.FloatRange(0),
    default=0.0,
    metavar="PIXELS",
    help="Smooth edges, by a majority within this radius.",
)
@click.option(
    "--steady",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    metavar="SHARE",
    help="Films: keep this share of the frame before, against flicker; 0.5 is a good start.",
)
@batch_size_option("Photos judged, or sent, together.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads that read, and that write.  [default: one per processor]",
)
@click.option("--overwrite", is_flag=True, help="Make results anew that are there already.")
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True, max=86400),
    metavar="SECONDS",
    help="Servers: how long to wait for an answer, retries included.",
)
@click.option(
    "--certificates",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Servers: trust these (PEM) for grpcs and https.",
)
@beam_options
def main(model: str, inputs: tuple[str, ...], out: str, **options: Any) -> None:
    """Segment every INPUT with MODEL: photos, films, folders of them, patterns, camera:0, or - for standard input."""
    wish = Wish(**options)
    with errors_as_messages("use --batch-size 1, or a smaller --resolution"):
        # Here and not at the top: TensorFlow, NumPy and gRPC take a while to load, and --help should answer at once.
        from kseg.cli.predicting import predict, predict_stream

        if "-" not in (out, *inputs):
            predict(model, inputs, Path(out), wish)
        elif wish.beam_runner:
            raise click.UsageError("--beam-runner: is for files; standard input is answered here")
        elif (out, inputs) == ("-", ("-",)) and len(wish.kinds) == 1:
            predict_stream(model, wish)
        else:
            raise click.UsageError("Standard input, alone, goes to standard output: kseg-predict MODEL - --out -")
