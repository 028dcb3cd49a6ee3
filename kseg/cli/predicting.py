"""What ``kseg-predict`` does: open the network or server, find the inputs, answer each, and list what failed."""

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kseg.cli.answering import Way, answering, outputs_of
from kseg.cli.beam import chosen_beam
from kseg.cli.common import interrupted, progress
from kseg.cli.predict import Wish
from kseg.cli.spread_photos import spread_photos
from kseg.errors import DataError, KsegError
from kseg.inference.film import open_camera, open_film
from kseg.inference.folder import Job, segment_all
from kseg.inference.footage import film_files, segment_film
from kseg.inference.inputs import Input, find_inputs, with_own_places
from kseg.inference.outputs import KINDS, Outputs

if TYPE_CHECKING:
    from kseg.beam import Beam

SOME_FAILED = 3
"""The exit status where some inputs have no results."""

CAMERA = "camera:"

Failures = dict[str, str]
"""Input -> why it has no results."""


def predict(model: str, inputs: Sequence[str], out: Path, wish: Wish) -> None:
    """Write the results of every input into ``out``; list at the end what has none, and leave with its status."""
    outputs = outputs_of(wish)
    beam = chosen_beam(wish.beam_runner, wish.beam_options)
    cameras = [name for name in inputs if name.startswith(CAMERA)]
    named = [name for name in inputs if not name.startswith(CAMERA)]
    found = find_inputs(named, out, [f"_{kind}" for kind in KINDS])
    with answering(model, wish, outputs) as way:

        def files(item: Input) -> dict[str, Path]:
            made = outputs.files(out, item.place, way.several)
            return film_files(made, item.path.suffix) if item.is_film else made

        placed = list(with_own_places(found, lambda item: files(item).values()))
        jobs = {item: Job(item.path, files(item)) for item in placed}
        todo = {item: job for item, job in jobs.items() if wish.overwrite or not job.done}
        photos = [job for item, job in todo.items() if not item.is_film]
        failed = spread(beam, model, photos, wish, out) if beam else segment_photos(way, photos, outputs, wish, out)
        for job in [job for item, job in todo.items() if item.is_film]:
            failed |= segment_one_film(way, str(job.photo), job.files, outputs, wish)
        for name in cameras:
            made = outputs.files(out, Path(name.replace(":", "-")), way.several)
            failed |= segment_one_film(way, name, film_files(made), outputs, wish)
    conclude(jobs, len(jobs) - len(todo), len(cameras), failed, out)


def predict_stream(model: str, wish: Wish) -> None:
    """Answer the photo on standard input on standard output."""
    outputs = outputs_of(wish)
    with answering(model, wish, outputs) as way, contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kseg-")))
        photo = folder / "standard-input"
        photo.write_bytes(sys.stdin.buffer.read())
        (kind,) = outputs.kinds
        try:
            read = way.answerer.read(photo)
            (judged,) = way.answerer.judge([read])
            content = outputs.encode(kind, way.answerer.finish(read, judged))
        except DataError as error:
            raise DataError(str(error).replace(str(photo), "standard input")) from None
        sys.stdout.buffer.write(content)


def segment_photos(way: Way, jobs: Sequence[Job], outputs: Outputs, wish: Wish, out: Path) -> Failures:
    """Answer photos, with a progress bar; return those that failed, and why."""
    failed: Failures = {}
    if not jobs:
        return failed
    with progress(len(jobs), "photos") as bar:

        def done(job: Job, reason: str | None) -> None:
            if reason is not None:
                failed[str(job.photo)] = reason
            bar.update(1)

        try:
            segment_all(way.answerer, jobs, outputs.write, done, wish.workers or os.cpu_count() or 1)
        except KeyboardInterrupt:
            interrupted(
                f"interrupted after {bar.pos} of {len(jobs)} photos; what is done is in {out}; call again to go on"
            )
    return failed


def spread(beam: "Beam", model: str, jobs: Sequence[Job], wish: Wish, out: Path) -> Failures:
    """Have photos answered by Beam's workers; return those that failed, and why."""
    try:
        return spread_photos(beam, model, jobs, wish, out)
    except KeyboardInterrupt:
        interrupted(f"interrupted; what is done is in {out}; call again to go on")


def segment_one_film(way: Way, name: str, files: dict[str, Path], outputs: Outputs, wish: Wish) -> Failures:
    """Answer a film, or a camera until Ctrl-C; return why it failed, if it did."""
    if wish.beam_runner:
        return {name: "Beam takes photos only; call again without --beam-runner for films"}
    if way.predictor is None:
        return {name: "a server takes photos only; name a run or an export for films"}
    is_camera = name.startswith(CAMERA)
    try:
        for path in (name, *map(str, files.values())):
            path.encode()  # on a name that is no UTF-8, OpenCV crashes the process
        film = open_camera(camera_number(name)) if is_camera else open_film(Path(name))
        with (
            film,
            progress(film.count or 0, name) as bar,
            until_ctrl_c(is_camera) as goes_on,
        ):

            def seen() -> bool:
                bar.update(1)
                return goes_on()

            segment_film(
                way.predictor,
                film,
                files,
                outputs,
                resolution=wish.resolution,
                flip=wish.flip,
                steady=wish.steady,
                cleaning=way.cleaning,
                batch_size=1 if is_camera else wish.batch_size,
                seen=seen,
            )
        if film.shortfall:
            click.echo(film.shortfall, err=True)
    except KsegError as error:
        return {name: str(error)}
    except UnicodeEncodeError:
        return {name: "its name, or that of a folder, is not UTF-8, and OpenCV opens no such films; rename it"}
    except KeyboardInterrupt:
        interrupted(f"interrupted in {name}; nothing of this film was kept")
    return {}


def camera_number(name: str) -> int:
    """Of ``camera:0``."""
    number = name.removeprefix(CAMERA)
    if not number.isdecimal():
        raise DataError(f"{name}: cameras are called by their number, such as {CAMERA}0")
    return int(number)


@contextlib.contextmanager
def until_ctrl_c(wanted: bool) -> Iterator[Callable[[], bool]]:
    """If wanted, Ctrl-C only makes what is yielded say False, so that a recording ends whole."""
    pressed: list[int] = []
    if not wanted:
        yield lambda: True
        return
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield lambda: not pressed
    finally:
        signal.signal(signal.SIGINT, before)


def conclude(jobs: dict[Input, Job], kept: int, cameras: int, failed: Failures, out: Path) -> None:
    """Say what was written, under which other names, and what was not; end with the status that says so."""
    count = len(jobs) + cameras
    before = f" ({kept} were there already; --overwrite makes them anew)" if kept else ""
    click.echo(f"{count - len(failed)} of {count} segmented{before}; results are in {out}")
    for item in jobs:
        if item.place.name != item.path.stem and str(item.path) not in failed:
            click.echo(f"{item.path}: as {item.place}, since {item.path.stem} is another's")
    if failed:
        click.echo(f"{len(failed)} failed:", err=True)
        for name, reason in failed.items():
            click.echo(f"  {name}: {reason.removeprefix(f'{name}: ')}", err=True)
        raise SystemExit(SOME_FAILED)
