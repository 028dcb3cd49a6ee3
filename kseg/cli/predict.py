"""``kseg-predict``: masks of photos, made by a model that is served."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kseg.cli.common import errors_as_messages, interrupted

if TYPE_CHECKING:
    import numpy as np

    from kseg.serving.client import Client, CutOut, Segmented

EXAMPLES = """\b
Examples:
  kseg-predict photo.jpg --server grpc://localhost:8500/people --out masks
  kseg-predict photos/ more/*.jpg --server grpc://localhost:8500/people@stable --out masks
  kseg-predict photos/ --server http://localhost:8501/people@7 --out masks --cutout
  kseg-predict photos/ --server grpcs://models.example.org/people --out masks --timeout 300

A server's address ends in the model's name, and @LABEL or @VERSION if it is not to be the newest version. Exit status:
0 if every photo has its mask, 3 if some have none (they are listed at the end), 1 if the server cannot be used."""

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
"""What an exported model reads."""

OUR_ENDINGS = ("_mask.png", "_cutout.png")

SOME_FAILED = 3
"""The exit status where some photos have no mask."""


@click.command(epilog=EXAMPLES)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="INPUT...")
@click.option("--server", required=True, metavar="URL", help="The served model: grpc://HOST:8500/MODEL@LABEL, or http.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Folder for masks."
)
@click.option("--cutout", is_flag=True, help="Also write NAME_cutout.png: the photo without its background.")
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True, max=86400),
    metavar="SECONDS",
    help="How long to wait for a request's answer, retries included.",
)
@click.option(
    "--batch-size",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Photos sent in one request.",
)
def main(inputs: tuple[Path, ...], server: str, out: Path, cutout: bool, timeout: float, batch_size: int) -> None:
    """Write NAME_mask.png into DIR for every INPUT, a photo or a folder of photos."""
    with errors_as_messages():
        # Here and not at the top: NumPy, OpenCV and gRPC take a while to load, and --help should answer at once.
        from kseg.serving.client import Client

        photos = list(_photos(inputs, out))
        targets = dict(zip(photos, _names(photos, out), strict=True))
        failed: dict[Path, str] = {}
        done = 0
        with (
            Client.open(server, timeout=timeout, batch_size=batch_size) as client,
            click.progressbar(length=len(photos), label="photos", file=sys.stderr) as bar,
        ):
            try:
                for start in range(0, len(photos), batch_size):
                    batch = photos[start : start + batch_size]
                    failed |= _predict(client, {photo: targets[photo] for photo in batch}, out, cutout)
                    done += len(batch)
                    bar.update(len(batch))
            except KeyboardInterrupt:
                interrupted(f"interrupted after {done} of {len(photos)} photos; their masks are in {out}")
        _conclude(targets, failed, out)


def _photos(inputs: Sequence[Path], out: Path) -> Iterator[Path]:
    """The files named, and the pictures in the folders named, each once; not what an earlier run left in ``out``."""
    from kseg.errors import DataError

    seen = set()
    for path in inputs:
        found = [path]
        if path.is_dir():
            ours = OUR_ENDINGS if path.resolve() == out.resolve() else ()
            found = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in PICTURE_ENDINGS
                and not file.name.startswith(".")
                and not file.name.endswith(ours)
            )
            if not found:
                raise DataError(f"{path}: no pictures in this folder; {' '.join(PICTURE_ENDINGS)} are read")
        for file in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _names(photos: Sequence[Path], out: Path) -> Iterator[str]:
    """A name for each photo's files: its stem, with a number where that would overwrite another's or a photo."""
    taken: set[Path] = {photo.resolve() for photo in photos}
    for photo in photos:
        name, number = photo.stem, 1
        while taken & (files := {path.resolve() for path in _files_of(name, out)}):
            number += 1
            name = f"{photo.stem}-{number}"
        taken |= files
        yield name


def _files_of(name: str, out: Path) -> list[Path]:
    return [out / f"{name}{ending}" for ending in OUR_ENDINGS]


def _predict(client: "Client", targets: dict[Path, str], out: Path, cutout: bool) -> dict[Path, str]:
    """Write the files of some photos; return those that have none, and why."""
    contents: dict[Path, bytes] = {}
    failed: dict[Path, str] = {}
    for photo in targets:
        try:
            contents[photo] = photo.read_bytes()
        except OSError as error:
            failed[photo] = error.strerror or str(error)
    for photo, mask in zip(contents, client.segment(list(contents.values())), strict=True):
        if mask.mask is None:
            failed[photo] = _reason(mask)
        else:
            _write_png(_files_of(targets[photo], out)[0], mask.mask)
    if cutout:
        whole = [photo for photo in contents if photo not in failed]
        for photo, cut in zip(whole, client.cutout([contents[photo] for photo in whole]), strict=True):
            if cut.picture is None:
                failed[photo] = f"cut-out: {_reason(cut)}"
            else:
                _write_png(_files_of(targets[photo], out)[1], cut.picture)
    return failed


def _reason(result: "Segmented | CutOut") -> str:
    return " ".join(result.message.split()) or f"the server gave it status {result.status}, without a reason"


def _write_png(path: Path, picture: "np.ndarray") -> None:
    """Write uint8 (H, W), or (H, W, 4), RGBA, whole or not at all."""
    import cv2

    from kseg.files import replacing

    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGBA2BGRA)
    _, content = cv2.imencode(".png", stored)
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())


def _conclude(targets: dict[Path, str], failed: dict[Path, str], out: Path) -> None:
    """Say what was written, under which other names, and what was not; end with the status that says so."""
    click.echo(f"{len(targets) - len(failed)} of {len(targets)} photos segmented; masks are in {out}")
    for photo, name in targets.items():
        if name != photo.stem and photo not in failed:
            click.echo(f"{photo}: in {name}_mask.png, since {photo.stem}_mask.png is another's")
    if failed:
        click.echo(f"{len(failed)} failed:", err=True)
        for photo, reason in failed.items():
            click.echo(f"  {photo}: {reason}", err=True)
        raise SystemExit(SOME_FAILED)
