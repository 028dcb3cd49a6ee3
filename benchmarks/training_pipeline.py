"""Does the data keep up? The training pipeline against the training step, its memory, and the command's start.

    python benchmarks/training_pipeline.py [--size 256] [--repeats 5]

Photos are drawn scenes saved as JPEG of 640 x 480 with PNG masks, 200 files; 20,000 samples are links to them, so that
every sample is opened, decoded and resized like a file of its own. Step and pipeline are timed in turn.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers.photos import FILES, make_photos
from peers.rounds import ratios, spread
from peers.step_engine import WARM_UP, Kseg

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BATCH = 4
BATCHES = 50
STEPS = 5


def pipeline_over(root: Path, size: int, cache: bool, steps: int):
    from kseg.data.folder import FolderSource
    from kseg.data.loading import Loader
    from kseg.data.pipeline import TrainingOrder, training_pipeline
    from kseg.settings import AugmentationSettings, DataSettings

    loader = Loader(FolderSource(DataSettings(roots=(root,))), (size, size), cache=cache)
    order = TrainingOrder(range(len(loader.source.names)), seed=0)
    if cache:
        loader.verify(range(len(loader.source.names)))
    return training_pipeline(
        loader, order, AugmentationSettings(), ignore_class=255, batch_size=BATCH, first_step=0, steps=steps
    )


def rate_of(batches) -> float:
    """Images per second, without the time to the first batch."""
    iterator = iter(batches)
    next(iterator)
    started, count = time.perf_counter(), 0
    for _ in iterator:
        count += BATCH
    return count / (time.perf_counter() - started)


def compare_rates(root: Path, size: int, repeats: int) -> None:
    how = {"network": "combined", "precision": "auto", "size": size, "classes": 1, "batch": BATCH}
    network = Kseg(argparse.Namespace(**how))
    network.train(WARM_UP)
    rates: dict[str, list[float]] = {"decoded from files": [], "from the cache": [], "training step": []}
    for _ in range(repeats):
        rates["decoded from files"].append(rate_of(pipeline_over(root, size, False, BATCHES)))
        rates["from the cache"].append(rate_of(pipeline_over(root, size, True, 4 * BATCHES)))
        started = time.perf_counter()
        network.train(STEPS)
        rates["training step"].append(STEPS * BATCH / (time.perf_counter() - started))
    print(f"{size} x {size}, batch {BATCH}, {network.policy}, {os.cpu_count()} processors;")
    print("images/s, median (least - most)")
    for name, values in rates.items():
        times = spread(ratios(rates, name, "training step"), 1)
        print(f"  {name:20} {spread(values, 1):>24}   {times:>21} times the step")


def peak_memory(count: int, size: int) -> float:
    """Largest resident memory, in MiB, of a process that reads 400 batches of ``count`` samples, uncached."""
    script = (
        "import sys, resource, pathlib; sys.path.insert(0, sys.argv[3]); import training_pipeline as t\n"
        "for _ in t.pipeline_over(pathlib.Path(sys.argv[1]), int(sys.argv[2]), False, 400): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = make_photos(Path(folder) / "photos", count)
        arguments = [sys.executable, "-c", script, root, str(size), Path(__file__).parent]
        return float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()[-1])


def help_seconds(repeats: int) -> list[float]:
    command = Path(sys.executable).with_name("kseg-train")
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([command, "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - started)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    times = help_seconds(2 * options.repeats)
    print(f"kseg-train --help: {spread(times, 3)} s")
    few, many = peak_memory(FILES, options.size), peak_memory(100 * FILES, options.size)
    print(f"resident memory without the cache: {few:.0f} MiB at {FILES} samples, {many:.0f} MiB at {100 * FILES}")
    with tempfile.TemporaryDirectory() as folder:
        compare_rates(make_photos(Path(folder) / "photos", FILES), options.size, options.repeats)


if __name__ == "__main__":
    main()
