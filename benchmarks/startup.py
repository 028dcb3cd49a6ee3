"""How long does kseg-train take from the command to the end of its first step, and what for?

    python benchmarks/startup.py [--config configs/people.toml] [--repeats 5]

Against ``python -c "import tensorflow, keras"``, in turn, each a process of its own, after one round that fills the
system's cache of files. The photos are drawn and written before: a folder of 200, at 640 x 480. The parts are measured
within the process, at kseg's own functions; a first step is mostly the tracing and optimizing of its graph.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers.photos import make_photos
from peers.rounds import spread

GOAL = 2.5
"""Times the bare import."""

BARE = [sys.executable, "-c", "import tensorflow, keras"]

WATCHED = """
import json, sys, time
began = float(sys.argv.pop(1))
marks = [["python itself", time.time() - began]]

def watch(module, name, label):
    function = getattr(module, name)
    def watched(*given, **options):
        before = time.time()
        marks.append(["other imports and steps", before - began - sum(seconds for _, seconds in marks)])
        result = function(*given, **options)
        marks.append([label, time.time() - before])
        return result
    setattr(module, name, watched)

import kseg.cli.train as command
import_tensorflow = command.import_tensorflow

def imported():
    import_tensorflow()
    import keras, kseg.cli.samples, kseg.models.segmenter, kseg.training.loop
    watch(kseg.models.segmenter, "build_segmenter", "building the network")
    watch(kseg.cli.samples, "open_samples", "looking at every photo")
    watch(kseg.training.loop, "compile_network", "compiling")
    class Ends(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            marks.append(["the first step", time.time() - began - sum(seconds for _, seconds in marks)])
            print(json.dumps(marks), file=sys.__stdout__, flush=True)
            import os
            os._exit(0)
    fit = keras.Model.fit
    def fit_once(self, *given, callbacks, **options):
        return fit(self, *given, callbacks=[*callbacks, Ends()], **options)
    keras.Model.fit = fit_once

command.import_tensorflow = imported
watch(command, "import_tensorflow", "importing TensorFlow, Keras and kseg's modules")
sys.stdout = sys.stderr
command.main(prog_name="kseg-train")
"""
"""kseg-train that ends after its first step and says what took how long."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/people.toml"))
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def seconds_of(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


def parts_of(arguments: list[str], run: Path) -> dict[str, float]:
    """Where the seconds of one start went; those of the same name together."""
    command = [sys.executable, "-c", WATCHED, str(time.time()), *arguments, "--run", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    parts: dict[str, float] = {}
    for name, seconds in json.loads(done.stdout.splitlines()[-1]):
        parts[name] = parts.get(name, 0.0) + seconds
    return parts


def main() -> None:
    options = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    bare: list[float] = []
    starts: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder, "photos"), options.photos)
        settings = ["model.encoder_weights=none"]
        arguments = [str(options.config), "--data", str(Path(folder, "photos"))]
        arguments += [part for setting in settings for part in ("--set", setting)]
        for number in range(-1, options.repeats):
            seconds, parts = seconds_of(BARE), parts_of(arguments, Path(folder, f"run{number}"))
            if number >= 0:
                bare.append(seconds)
                starts.append(parts)
    totals = [sum(parts.values()) for parts in starts]
    ratios = [total / seconds for total, seconds in zip(totals, bare, strict=True)]
    print("| from the command to the end of the first step | seconds |\n|---|---|")
    for name in sorted(starts[0], key=lambda name: -statistics.median(parts[name] for parts in starts)):
        print(f"| {name} | {spread([parts[name] for parts in starts])} |")
    print(f"| all | {spread(totals)} |\n| `import tensorflow, keras` alone | {spread(bare)} |")
    verdict = "met" if statistics.median(ratios) <= GOAL else "missed"
    print(f"\nGoal, <= {GOAL} times the bare import: {verdict}, {spread(ratios)}")


if __name__ == "__main__":
    main()
