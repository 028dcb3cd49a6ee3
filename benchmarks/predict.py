"""Does reading and writing large photos hide behind the network? kseg-predict over a folder of 12-megapixel JPEGs.

    python benchmarks/predict.py [--run RUN] [--data DIR] [--torch-python PATH]

Contenders are processes that stay, with their networks loaded: kseg as kseg-predict does it, the same network alone on
pictures that are ready, and a plain script around segmentation_models_pytorch's U-Net in float32, which reads and
writes with OpenCV, one photo after the other. They are asked in turn, round after round; rows are medians of the
rounds (least - most), and a ratio is the median of the rounds' own. What it takes to start is printed apart.

Photos are pictures of --data enlarged, with mild noise, or drawn scenes. Without --run, the network is drawn; its masks
are busier than real ones, and so take longer to write.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from peers import serve_models
from peers.contender import Contender
from peers.rounds import ratios, spread, verdict

from kseg.config import dump_settings
from kseg.data.synthetic import draw_scene
from kseg.models.trained import SETTINGS_OF_A_RUN, settings_of
from kseg.models.weights_files import BEST_OF_A_RUN
from kseg.settings import Settings

ENGINE = Path(__file__).resolve().parent / "peers" / "predict_engine.py"
KSEG_PREDICT = "from kseg.cli.predict import main; main(prog_name='kseg-predict')"
PHOTO = (4000, 3000)  # width, height
NOISE = 3.0  # standard deviation, in levels
PLAIN = "plain script float32"
OF_NETWORK, OF_PLAIN = 0.8, 1.5  # the goals
Rounds = dict[str, list[float]]
"""Row -> photos per second, round by round."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run of kseg-train, whose best network is taken; default: drawn")
    parser.add_argument("--data", type=Path, help="folder with images/; default: drawn scenes")
    parser.add_argument("--torch-python", help="Python with segmentation_models_pytorch and OpenCV")
    parser.add_argument("--size", type=int, default=256, help="height and width that the networks see")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"], help="of kseg's network")
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--workers", type=int, help="default: one per core, as kseg-predict's")
    parser.add_argument("--batch-size", type=int, default=4)
    return parser.parse_args()


def write_photos(folder: Path, data: Path | None, count: int) -> None:
    """JPEGs of 4000 x 3000 pixels and quality 90."""
    folder.mkdir()
    files = sorted((data / "images").iterdir()) if data else []
    rng = np.random.default_rng(0)
    for index in range(count):
        file = files[index * len(files) // count] if files else None
        picture = cv2.imread(str(file)) if file else draw_scene(0, index, 240, 320)[0]
        large = cv2.resize(picture, PHOTO, interpolation=cv2.INTER_CUBIC)
        noisy = large + NOISE * rng.standard_normal(large.shape, np.float32)
        content = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"photo-{index:03}.jpg"), content, [cv2.IMWRITE_JPEG_QUALITY, 90])


def write_run(folder: Path, run: Path | None, size: int) -> None:
    """The best network of ``run``, or a drawn one, as a run of this size."""
    settings = settings_of(run) if run else Settings()
    data = settings.data.model_copy(update={"image_size": (size, size)})
    folder.mkdir()
    content = dump_settings(settings.model_copy(update={"data": data}))
    (folder / SETTINGS_OF_A_RUN).write_text(content, encoding="utf-8")
    serve_models.network(run, settings.model.join).save(folder / BEST_OF_A_RUN)


class Timed(Contender):
    """A process of predict_engine.py.

    Attributes:
        started: Seconds until its first mask was there.
    """

    def __init__(self, stack: ExitStack, python: str, *arguments: Any) -> None:
        began = time.perf_counter()
        super().__init__(stack, python, ENGINE, *arguments)
        self.answer()
        self.started = time.perf_counter() - began


def start_all(stack: ExitStack, folder: Path, options: argparse.Namespace) -> dict[str, Timed]:
    """One after the other, so that none is slowed while it starts."""
    started = {}
    for precision in options.precision:
        arguments = "--precision", precision, "--workers", options.workers, "--batch-size", options.batch_size
        where = "kseg", folder / "photos", folder / precision, "--run", folder / "run"
        started[precision] = Timed(stack, sys.executable, *where, *arguments)
    if options.torch_python:
        where = "plain", folder / "photos", folder / "plain"
        started[PLAIN] = Timed(stack, options.torch_python, *where, "--size", options.size)
    return started


def race(contenders: dict[str, Timed], rounds: int) -> Rounds:
    """All rates; the round that warms up is left out."""
    rates: Rounds = {}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            rows = {name: "folder"} if name == PLAIN else {row(name): "folder", row(name, alone=True): "network"}
            for title, task in rows.items():
                seconds = contender.ask(task)["seconds"]
                if turn > 0:
                    rates.setdefault(title, []).append(1 / seconds)
    return rates


def row(precision: str, *, alone: bool = False) -> str:
    return f"network alone {precision}" if alone else f"kseg-predict {precision}"


def time_command(folder: Path, precision: str, options: argparse.Namespace) -> float:
    """Seconds of the whole command, start-up included."""
    out = folder / f"command-{precision}"
    command = [sys.executable, "-c", KSEG_PREDICT, folder / "run", folder / "photos", "--out", out]
    command += ["--precision", precision, "--workers", options.workers, "--batch-size", options.batch_size]
    began = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return time.perf_counter() - began


def print_rates(rates: Rounds) -> None:
    print("\n| photos of 4000 x 3000 to masks | photos/s | x network alone | x plain script |\n|---|---|---|---|")
    for name, values in rates.items():
        alone = name.replace("kseg-predict", "network alone")
        of_network = spread(ratios(rates, name, alone), 2) if name.startswith("kseg") else "-"
        of_plain = spread(ratios(rates, name, PLAIN), 2) if PLAIN in rates and name.startswith("kseg") else "-"
        print(f"| {name} | {spread(values, 1)} | {of_network} | {of_plain} |")


def print_parts(parts: dict[str, dict[str, float]]) -> None:
    """What a photo costs, wherever it is spent: the cores together have 1000 ms in a second for each of them."""
    names = list(next(iter(parts.values())))
    print(f"\n| processor ms for a photo | {' | '.join(names)} | all |\n|---|{'---|' * (len(names) + 1)}")
    for precision, spent in parts.items():
        cells = [f"{1000 * value:.0f}" for value in (*spent.values(), sum(spent.values()))]
        print(f"| {row(precision)} | {' | '.join(cells)} |")


def print_goals(rates: Rounds, options: argparse.Namespace) -> None:
    """Whether each goal is met, by the median of the rounds' ratios."""
    print("\nGoals:")
    for precision in options.precision:
        for rival, goal in ((row(precision, alone=True), OF_NETWORK), (PLAIN, OF_PLAIN)):
            said = "not measured"
            if rival in rates:
                said = verdict(ratios(rates, row(precision), rival), goal)
            print(f"- {row(precision)} >= {goal} x {rival}: {said}")


def compare(folder: Path, options: argparse.Namespace) -> None:
    write_photos(folder / "photos", options.data, options.photos)
    write_run(folder / "run", options.run, options.size)
    weights = f"the best network of {options.run.name}" if options.run else "drawn weights"
    print(f"{weights}, {options.size} x {options.size}, {options.photos} photos, {options.cores} cores,")
    print(f"{options.workers} workers, batches of {options.batch_size}, {options.rounds} rounds")
    if not options.torch_python:
        print("left out - plain script: no --torch-python")
    with ExitStack() as stack:
        contenders = start_all(stack, folder, options)
        rates = race(contenders, options.rounds)
        parts = {name: contenders[name].ask("parts") for name in options.precision}
    print_rates(rates)
    print_parts(parts)
    print("\nStart-up, to the first photo's mask:")
    for name, contender in contenders.items():
        print(f"- {name if name == PLAIN else row(name)}: {contender.started:.1f} s")
    for precision in options.precision:
        seconds = time_command(folder, precision, options)
        print(f"- the whole command, {precision}, {options.photos} photos: {seconds:.1f} s")
    print_goals(rates, options)


def main() -> None:
    options = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # tables as they come, into files, too
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])  # the contenders inherit it
    options.workers = options.workers or options.cores
    with tempfile.TemporaryDirectory(prefix="kseg-predict-") as folder:
        compare(Path(folder), options)


if __name__ == "__main__":
    main()
