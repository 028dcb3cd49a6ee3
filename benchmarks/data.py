"""Does reading keep up? Photos, and what kseg-data prepare made of them, read as training reads them.

    python benchmarks/data.py [--data DIR] [--torch-python PATH]

Contenders are processes that stay: kseg's training pipeline without a network and without the cache, and PyTorch's
DataLoader with OpenCV doing the same (reading, reducing, horizontal flips, batches of 4), which is also given what a
set is prepared to: files of the training's size, and all pixels in one array mapped into memory. They are asked in
turn, round after round; rows are medians of the rounds (least - most), and a ratio is the median of the rounds' own.
Then a process each reads 1,000 and 50,000 samples, for the memory that takes.

Photos are those of --data, whose masks are 0 and 255, or drawn scenes, JPEG of 640 x 480; --samples of them are links
to the same files, so that all are opened, decoded and reduced, and come from the system's cache of files.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from peers.contender import Contender
from peers.photos import link_photos, make_photos
from peers.rounds import ratios, spread, verdict

from kseg.data.loading import Loader
from kseg.data.sources import open_source
from kseg.settings import DataSettings, Settings

HERE = Path(__file__).resolve().parent
ENGINE = HERE / "peers" / "data_engine.py"
PEOPLE = HERE.parent / "configs" / "people.toml"
KSEG_DATA = "from kseg.cli.data import main; main(prog_name='kseg-data')"
SMALL = 64
"""Height and width at which memory is read: what grows with the number of samples does not depend on it."""

PHOTOS, PREPARED = "kseg, photos", "kseg, prepared"
TORCH_PHOTOS, TORCH_FILES = "DataLoader, photos", "DataLoader, files of the training's size"
TORCH_MAPPED = "DataLoader, mapped array"
GOALS = (
    (PREPARED, PHOTOS, 3.0),
    (PHOTOS, TORCH_PHOTOS, 1.5),
    (PREPARED, TORCH_FILES, 1.5),
    (PREPARED, TORCH_MAPPED, 1.5),
    (PREPARED, TORCH_PHOTOS, 1.5),
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/; default: drawn scenes")
    parser.add_argument("--torch-python", help="Python with PyTorch and OpenCV")
    parser.add_argument("--size", type=int, default=256, help="height and width of the training")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--batches", type=int, default=200, help="of 4, a turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--workers", type=int, help="of the DataLoader; default: one per core")
    parser.add_argument("--many", type=int, nargs="*", default=[1000, 50_000], help="samples to watch memory at")
    return parser.parse_args()


def write_photos(folder: Path, data: Path | None, count: int) -> Path:
    return link_photos(folder, data, count) if data else make_photos(folder, count)


def prepare(photos: Path, size: int) -> tuple[Path, float]:
    """The set that kseg-data makes of photos, and how many of them it took a second."""
    out = photos.with_name(f"{photos.name}-set")
    began = time.perf_counter()
    command = [sys.executable, "-c", KSEG_DATA, "prepare", PEOPLE, "--data", photos, "--to", out]
    command += ["--set", f"data.image_size=[{size}, {size}]"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return out, len(list((photos / "images").iterdir())) / (time.perf_counter() - began)


def write_peers(photos: Path, size: int) -> tuple[Path, Path]:
    """The same samples for the DataLoader: as files of the training's size, uncompressed as in kseg's sets; mapped."""
    data = DataSettings(roots=(photos,), image_size=(size, size))
    loader = Loader(open_source(data, Settings().synthetic), data.image_size, cache=False)
    count = len(loader.source.names)
    files, mapped = (photos.with_name(f"{photos.name}-{form}") for form in ("files", "mapped"))
    mapped.mkdir()
    arrays = {}
    for name, shape in (("images", (count, size, size, 3)), ("masks", (count, size, size))):
        (files / name).mkdir(parents=True)
        arrays[name] = np.lib.format.open_memmap(mapped / f"{name}.npy", "w+", np.uint8, shape)
    plain = [cv2.IMWRITE_PNG_COMPRESSION, 0, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    for index in range(count):
        arrays["images"][index], arrays["masks"][index] = picture, mask = loader.load(index)
        cv2.imwrite(str(files / "images" / f"{index:06}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), plain)
        cv2.imwrite(str(files / "masks" / f"{index:06}.png"), mask * 255)
    return files, mapped


def start_all(stack: ExitStack, folder: Path, options: argparse.Namespace) -> dict[str, Contender]:
    photos = write_photos(folder / "photos", options.data, options.samples)
    prepared, rate = prepare(photos, options.size)
    print(f"kseg-data prepare: {options.samples} photos, {rate:.0f} a second")
    size = "--size", options.size
    kseg = {PHOTOS: ("folder", photos), PREPARED: ("tfds", prepared)}
    started = {name: Contender(stack, sys.executable, ENGINE, "kseg", *what, *size) for name, what in kseg.items()}
    if options.torch_python:
        files, mapped = write_peers(photos, options.size)
        peers = {TORCH_PHOTOS: ("files", photos), TORCH_FILES: ("files", files), TORCH_MAPPED: ("mapped", mapped)}
        how = *size, "--workers", options.workers
        for name, what in peers.items():
            started[name] = Contender(stack, options.torch_python, ENGINE, "torch", *what, *how)
    for contender in started.values():
        contender.answer()
    return started


def race(contenders: dict[str, Contender], options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """What each answered, round by round; the round that warms up is left out."""
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for turn in range(options.rounds + 1):
        for name, contender in contenders.items():
            answer = contender.ask(str(options.batches))
            if turn > 0:
                answers[name].append(answer)
    return answers


def print_rates(answers: dict[str, list[dict[str, float]]]) -> None:
    rates = {name: [answer["rate"] for answer in rounds] for name, rounds in answers.items()}
    print("\n| read | samples/s | x kseg, photos | processor ms a sample |\n|---|---|---|---|")
    for name, values in rates.items():
        processor = spread([1000 * answer["processor"] for answer in answers[name]])
        print(f"| {name} | {spread(values, 0)} | {spread(ratios(rates, name, PHOTOS))} | {processor} |")
    print("\nGoals:")
    for name, rival, goal in GOALS:
        if rival in rates:
            print(f"- {name} >= {goal} x {rival}: {verdict(ratios(rates, name, rival), goal)}")


def print_memory(folder: Path, options: argparse.Namespace) -> None:
    """What the reading processes take, at few samples and at many."""
    print(
        f"\n| MiB in memory after {options.batches} batches of {SMALL} x {SMALL} | photos | prepared |\n|---|---|---|"
    )
    for count in options.many:
        photos = write_photos(folder / f"photos-{count}", options.data, count)
        sources = {"folder": photos, "tfds": prepare(photos, SMALL)[0]}
        taken = []
        for source, path in sources.items():
            with ExitStack() as stack:
                contender = Contender(stack, sys.executable, ENGINE, "kseg", source, path, "--size", SMALL)
                contender.answer()
                taken.append(contender.ask(str(options.batches))["memory"])
        print(f"| {count:,} samples | {' | '.join(f'{value:.0f}' for value in taken)} |")


def main() -> None:
    options = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # tables as they come, into files, too
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])  # the contenders inherit it
    options.workers = options.workers or options.cores
    what = f"photos of {options.data.name}" if options.data else "drawn scenes of 640 x 480"
    print(f"{what} at {options.size} x {options.size}, {options.cores} cores, {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="kseg-data-") as name:
        folder = Path(name)
        with ExitStack() as stack:
            print_rates(race(start_all(stack, folder, options), options))
        print_memory(folder, options)


if __name__ == "__main__":
    main()
