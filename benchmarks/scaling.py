"""How cost grows: with pixels, classes and pictures, measured; with workers and storage, modelled.

    python benchmarks/scaling.py pixels | classes | pictures | service | sample      measured here
    python benchmarks/scaling.py workers --step-seconds S [--gigabits 10 25 100]     simulated
    python benchmarks/scaling.py storage [--pictures 1e8] [--sample-bytes B]         reckoned

Every table of docs/scaling.md comes from one of these commands. What is measured is measured in a process of its own,
so that its memory is its own; medians (least - most). Run nothing else meanwhile.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from peers.photos import make_photos
from peers.rounds import spread

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).resolve().parent
WORKERS = [2**power for power in range(9)]
STEPS = 2000
"""Steps of a simulation: a mean over them is known within a few thousandths."""

BACKWARD = 2 / 3
"""The part of a step in which gradients become known: a backward pass has about twice a forward pass's products."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    pixels = parts.add_parser("pixels", help="the training step by the network's size")
    pixels.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 384, 512])
    classes = parts.add_parser("classes", help="the training step by the number of classes")
    classes.add_argument("--classes", type=int, nargs="+", default=[1, 2, 20, 150])
    classes.add_argument("--size", type=int, default=256)
    for part in (pixels, classes):
        part.add_argument("--batch", type=int, default=4)
        part.add_argument("--steps", type=int, default=5, help="timed ones of a round, two at a time")
        part.add_argument("--rounds", type=int, default=3, help="in turn, so that what slows the machine slows all")
    pictures = parts.add_parser("pictures", help="what every sample costs before it is read")
    pictures.add_argument("--counts", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7])
    service = parts.add_parser("service", help="what a sample costs the training with an input service, and without")
    service.add_argument("--batches", type=int, default=200, help="of 4 photos of 640 x 480 at 256 x 256")
    service.add_argument("--rounds", type=int, default=3)
    sample = parts.add_parser("sample", help="bytes of a sample that kseg-data prepare wrote")
    sample.add_argument("--data", type=Path, help="folder with images/ and masks/; default: drawn scenes")
    workers = parts.add_parser("workers", help="a step of many workers")
    workers.add_argument("--step-seconds", type=float, required=True, help="median, of one worker alone")
    workers.add_argument("--batch", type=int, default=4, help="of one worker")
    workers.add_argument("--parameters", type=int, help="that are trained; default: kseg's default network's")
    workers.add_argument("--gigabits", type=float, nargs="+", default=[1, 10, 25, 100], help="of a worker's link")
    workers.add_argument("--latency", type=float, default=50e-6, help="seconds of one message")
    workers.add_argument("--spread", type=float, default=0.05, help="of step times: deviation of their logarithm")
    workers.add_argument("--stalls", type=float, default=0.0, help="share of a worker's steps that stall")
    workers.add_argument("--stall-seconds", type=float, default=1.0)
    storage = parts.add_parser("storage", help="space and read rates")
    storage.add_argument("--pictures", type=float, default=1e8)
    storage.add_argument("--sample-bytes", type=float, required=True, help="see: sample")
    storage.add_argument("--shard-bytes", type=float, default=1e9)
    storage.add_argument("--samples-per-second", type=float, nargs="+", default=[50, 200, 1000], help="of one GPU")
    storage.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64, 256])
    storage.add_argument("--decoded-per-core", type=float, default=90, help="photos that one core loads a second")
    return parser.parse_args()


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def measured(what: str, *values: object) -> dict:
    """What a process of its own says of one part."""
    command = [sys.executable, str(HERE / "peers" / "scaling_part.py"), what, *map(str, values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def steps_in_turn(cases: dict[str, tuple], rounds: int) -> dict[str, dict]:
    """Each case's measurement, round after round; the seconds of all rounds together."""
    found: dict[str, dict] = {}
    for _ in range(rounds):
        for name, values in cases.items():
            case = measured("step", *values)
            found[name] = {**case, "seconds": found.get(name, {"seconds": []})["seconds"] + case["seconds"]}
    return found


def print_steps(head: str, cases: dict[str, dict], batch: int) -> None:
    """Step times of some cases, beside those of the first."""
    first = statistics.median(next(iter(cases.values()))["seconds"])
    rows = [
        (
            name,
            f"{case['flops']:.1f}",
            spread(case["seconds"], 3),
            f"{statistics.median(case['seconds']) / first:.2f}",
            f"{batch / statistics.median(case['seconds']):.1f}",
            f"{case['memory']:.0f}",
        )
        for name, case in cases.items()
    ]
    some = next(iter(cases.values()))
    print(f"batch {batch}, {some['policy']}, {os.cpu_count()} processors, {some['parameters']:,} trained parameters\n")
    print_table((head, "GFLOPs of a picture", "s a step", "x the first", "pictures/s", "MiB more"), rows)


def print_pictures(counts: Sequence[float]) -> None:
    rows = []
    for count in counts:
        found = measured("order", count)
        rows.append((f"{count:,.0f}", f"{found['seconds']:.2f}", f"{found['name']:.0f}", f"{found['memory']:.0f}"))
    print_table(("samples", "s to shuffle a pass", "bytes of a name", "MiB of the process, at most"), rows)


def print_service(batches: int, rounds: int) -> None:
    sys.path.insert(0, str(HERE.parent / "tests"))
    from input_machines import two_machines

    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        make_photos(home / "photos", 200)
        (home / "c.toml").write_text("data.cache = false\ndata.verify = false\n")
        found: dict[str, list[dict]] = {"loaded by the training itself": [], "by two machines of a service": []}
        with two_machines(home, "c.toml", "--data", "photos") as address:
            for _ in range(rounds):
                for kind, rest in zip(found, (("plain",), ("served", address)), strict=True):
                    found[kind].append(measured(rest[0], home, batches, *rest[1:]))
    rows = [
        (kind, spread([1000 * one["processor"] for one in some], 2), spread([one["rate"] for one in some], 0))
        for kind, some in found.items()
    ]
    print_table(("samples of 256 x 256", "the training's processor ms a sample", "samples/s"), rows)


def print_sample(data: Path | None) -> None:
    """What kseg-data prepare makes of photos, in bytes."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        photos = data or make_photos(Path(name, "photos"), 200)
        files = [file for folder in ("images", "masks") for file in (photos / folder).iterdir()]
        own = sum(file.stat().st_size for file in files) / len(files) * 2
        for size in (128, 256, 512):
            out = Path(name, f"set{size}")
            Path(name, "c.toml").write_text(f"data.image_size = [{size}, {size}]\n")
            run = "from kseg.cli.data import main; main(prog_name='kseg-data')"
            command = [sys.executable, "-c", run, "prepare", Path(name, "c.toml"), "--data", photos, "--to", out]
            subprocess.run(list(map(str, command)), check=True, capture_output=True)
            taken = sum(file.stat().st_size for file in out.rglob("*.tfrecord*")) / (len(files) / 2)
            rows.append((f"{size} x {size}", f"{taken:,.0f}", f"{taken / size**2:.2f}", f"{own:,.0f}"))
    print_table(("prepared at", "bytes a sample", "bytes a pixel", "of the photo and its mask as files"), rows)


def all_reduce_seconds(workers: int, size: float, gigabits: float, latency: float) -> float:
    """A ring all-reduce of ``size`` bytes: 2 (n - 1) messages one after the other, of size / n each.

    Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations": no algorithm sends
    less than its 2 (n - 1) / n of the size from each worker.
    """
    return 2 * (workers - 1) * (latency + 8 * size / workers / (gigabits * 1e9))


def step_seconds(workers: int, options: argparse.Namespace) -> float:
    """The mean time until the slowest of so many workers has its gradients: each step's time is drawn.

    Log-normal about the measured median, and, if there are stalls, longer by one now and then.
    """
    rng = np.random.default_rng(int(hashlib.sha256(str(workers).encode()).hexdigest()[:8], 16))
    times = options.step_seconds * np.exp(options.spread * rng.standard_normal((STEPS, workers)))
    times += options.stall_seconds * (rng.random((STEPS, workers)) < options.stalls)
    return float(times.max(axis=1).mean())


def print_workers(options: argparse.Namespace) -> None:
    parameters = options.parameters or default_parameters()
    size = 4 * parameters
    print(
        f"{parameters:,} gradients of float32 = {size / 2**20:.0f} MiB; {options.step_seconds} s a step of "
        f"{options.batch} pictures, spread {options.spread}, stalls {options.stalls}; {STEPS} simulated steps"
    )
    for gigabits in options.gigabits:
        print(f"\n{gigabits:g} Gbit/s a worker, {1e6 * options.latency:g} us a message:\n")
        rows = []
        for workers in WORKERS:
            reduced = all_reduce_seconds(workers, size, gigabits, options.latency)
            slowest = step_seconds(workers, options)
            hidden = max(0.0, reduced - BACKWARD * options.step_seconds)
            whole = [slowest + reduced, slowest + hidden]
            alone = step_seconds(1, options)
            rates = [f"{workers * options.batch / seconds:,.1f}" for seconds in whole]
            shares = [f"{alone / seconds:.0%}" for seconds in whole]
            rows.append((f"{workers}", f"{slowest:.3f}", f"{reduced:.3f}", rates[0], shares[0], rates[1], shares[1]))
        head = ("workers", "slowest, s", "all-reduce, s", "pictures/s", "of ideal", "overlapped", "of ideal")
        print_table(head, rows)


def default_parameters() -> int:
    from kseg.models.segmenter import build_segmenter

    return sum(int(np.prod(variable.shape)) for variable in build_segmenter().trainable_variables)


def print_storage(options: argparse.Namespace) -> None:
    whole = options.pictures * options.sample_bytes
    shards = -(-whole // options.shard_bytes)
    print(
        f"{options.pictures:,.0f} pictures of {options.sample_bytes:,.0f} bytes: {whole / 1e12:.1f} TB, "
        f"{shards:,.0f} shards of {options.shard_bytes / 1e9:g} GB\n"
    )
    rows = []
    for rate in options.samples_per_second:
        for gpus in options.gpus:
            needed = rate * gpus
            rows.append(
                (
                    f"{rate:g}",
                    f"{gpus}",
                    f"{needed * options.sample_bytes / 1e9:.2f}",
                    f"{8 * needed * options.sample_bytes / 1e9:.1f}",
                    f"{options.pictures / needed / 3600:,.1f}",
                    f"{needed / options.decoded_per_core:,.0f}",
                )
            )
    head = ("samples/s a GPU", "GPUs", "GB/s read", "Gbit/s", "hours a pass", "cores, from photos")
    print_table(head, rows)


def main() -> None:
    options = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)
    if options.part == "pixels":
        rest = options.batch, options.steps
        cases = {f"{size} x {size}": (size, 1, *rest) for size in options.sizes}
        print_steps("network's size", steps_in_turn(cases, options.rounds), options.batch)
    elif options.part == "classes":
        rest = options.batch, options.steps
        cases = {f"{count}": (options.size, count, *rest) for count in options.classes}
        print_steps("classes", steps_in_turn(cases, options.rounds), options.batch)
    elif options.part == "pictures":
        print_pictures(options.counts)
    elif options.part == "service":
        print_service(options.batches, options.rounds)
    elif options.part == "sample":
        print_sample(options.data)
    elif options.part == "workers":
        print_workers(options)
    else:
        print_storage(options)


if __name__ == "__main__":
    main()
