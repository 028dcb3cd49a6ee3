"""Who trains faster: kseg, or its peers in their best form?

    python benchmarks/train_step.py --torch-python PATH [--keras-sm-python PATH] [--sizes 256 512] [--batches 4 16]

Each contender is a process of its own that stays, with its network, ResNet34 in front of a decoder, from random
weights. They train in turn, a few steps each, round after round, so that what slows the machine slows all; what is
compared has the same decoder, and those of another decoder are gone meanwhile. Rows are medians of the rounds (least -
most), and a ratio is the median of the rounds' own. Then comes how near a step is to what the machine can do at all:
see peers/roofline.py.

kseg trains as kseg-train does, with its metrics; the peers with nothing but the loss.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from peers.contender import Contender
from peers.rounds import ratios, spread, verdict

PEERS = Path(__file__).resolve().parent / "peers"
GOAL = 1.15
"""How many times as many pictures a second as the fastest peer."""

LIKE = {"unet": ("unet",), "linknet": ("linknet",), "combined": ("unet", "linknet")}
"""kseg's joins, and the peers' decoders that they are compared with."""

Rates = dict[str, list[float]]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", help="Python with PyTorch and segmentation_models_pytorch")
    parser.add_argument("--keras-sm-python", help="Python with TensorFlow and segmentation_models 1.0")
    parser.add_argument("--joins", nargs="+", default=list(LIKE), choices=list(LIKE))
    parser.add_argument("--sizes", type=int, nargs="+", default=[256])
    parser.add_argument("--batches", type=int, nargs="+", default=[4])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--cores", type=int, default=2)
    return parser.parse_args()


def commands(join: str, options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """The contenders of one table: name, Python, and what step_engine.py is to train."""
    found = {
        f"kseg {join}": (sys.executable, "kseg", join),
        f"kseg {join}, float32": (sys.executable, "kseg", join, "--precision", "float32"),
    }
    for decoder in LIKE[join]:
        if options.torch_python:
            for precision in ("bfloat16", "float32"):
                name = f"segmentation_models_pytorch {decoder}, {precision}"
                found[name] = (options.torch_python, "smp", decoder, "--precision", precision)
        if options.keras_sm_python:
            found[f"segmentation_models {decoder}"] = (options.keras_sm_python, "sm", decoder)
    return found


def race(join: str, size: int, batch: int, options: argparse.Namespace) -> tuple[dict[str, Any], Rates]:
    """What each contender is, and its pictures a second, round by round."""
    rates: Rates = {}
    with ExitStack() as stack:
        contenders, descriptions = {}, {}
        for name, (python, *what) in commands(join, options).items():
            arguments = *what, "--size", size, "--batch", batch
            contenders[name] = Contender(stack, python, PEERS / "step_engine.py", *arguments)
            descriptions[name] = contenders[name].answer()  # one at a time: building takes both processors
            rates[name] = []
        for _ in range(options.rounds):
            for name, contender in contenders.items():
                rates[name].append(options.steps * batch / contender.ask(str(options.steps))["seconds"])
    return descriptions, rates


def print_rates(join: str, descriptions: dict[str, Any], rates: Rates) -> None:
    first = f"kseg {join}"
    print("| trains | parameters | GFLOPs, inference | images/s | kseg's, over its |\n|---|---|---|---|---|")
    for name, about in descriptions.items():
        flops = f"{about['flops'] / 1e9:.1f}" if "flops" in about else "-"
        ahead = spread(ratios(rates, first, name))
        print(f"| {name} | {about['parameters'] / 1e6:.1f} M | {flops} | {spread(rates[name])} | {ahead} |")
    for decoder in LIKE[join]:
        rivals = [name for name in rates if not name.startswith("kseg") and f" {decoder}" in name]
        if rivals:
            best = max(rivals, key=lambda name: statistics.median(rates[name]))
            print(f"\nGoal, {first} >= {GOAL} x {best}: {verdict(ratios(rates, first, best), GOAL)}")


def print_limit(join: str, size: int, batch: int, rate: float) -> None:
    """The share of what the machine allows that a step reaches, and what takes the rest of the time allowed."""
    command = [sys.executable, PEERS / "roofline.py", join, "--size", size, "--batch", batch]
    said = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    limit = json.loads(said.splitlines()[-1])
    step = batch / rate
    parts = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in limit["parts"].items())
    print(
        f"\nRoofline, {limit['precision']}: matrix product {limit['matrix'] / 1e9:.0f} GFLOP/s, copying "
        f"{limit['memory'] / 1e9:.1f} GB/s; a step of kseg {join} takes {1000 * step:.0f} ms, at least "
        f"{1000 * limit['seconds']:.0f} ms ({parts}): {limit['seconds'] / step:.0%} of the limit\n"
    )


def main() -> None:
    options = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # tables as they come, into files, too
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])  # the contenders inherit it
    known: dict[str, str] = {}
    for size, batch, join in itertools.product(options.sizes, options.batches, options.joins):
        print(f"{join}, {size} x {size}, batch {batch}, {options.cores} cores, {options.rounds} rounds\n")
        descriptions, rates = race(join, size, batch, options)
        print_rates(join, descriptions, rates)
        print_limit(join, size, batch, statistics.median(rates[f"kseg {join}"]))
        for about in descriptions.values():
            known |= about["versions"]
    print(", ".join(f"{name} {version}" for name, version in sorted(known.items())))


if __name__ == "__main__":
    main()
