"""Who answers faster on the same weights: kseg's export, Keras's own, OpenVINO, ONNX Runtime?

    python benchmarks/serving.py [--run RUN] [--data DIR] [--openvino-python PATH] [--onnx-python PATH]
        [--onnx-packages DIR] [--keras-sm-python PATH]

Every contender is a process of its own that stays, with its model loaded; they are asked in turn, round after round, so
that what slows the machine slows all. Rows are medians of the rounds (least - most); a ratio is the median of the
rounds' own ratios. Contenders whose environment is not given are left out, and named. Without --run, the network is
drawn (build_segmenter, ResNet34) and says nothing sensible, but takes the same time.

kseg answers with probabilities, after padding what is no multiple of 32, the others with logits, without. The
networks of segmentation_models are others, with weights of their own: only their time is compared.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from peers import serve_models, serve_table
from peers.contender import Contender

ENGINE = Path(__file__).resolve().parent / "peers" / "serve_engine.py"
Contenders = dict[str, Contender]
PIXELS = ("--signature", "probabilities")
PHOTOS = ("--photos", "bytes", "--output", "mask_bytes")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run of kseg-train of one class: its best network, not a drawn one")
    parser.add_argument("--join", default="combined", help="of the drawn network: combined, unet or linknet")
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/; default: drawn scenes")
    parser.add_argument("--pictures", type=int, default=16, help="to compare the answers on")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a contender's turn; it makes 3 calls at least")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--openvino-python", help="Python with openvino")
    parser.add_argument("--onnx-python", help="Python with onnxruntime")
    parser.add_argument("--onnx-packages", type=Path, help="folder with tf2onnx and onnx, as pip's --target makes it")
    parser.add_argument("--keras-sm-python", help="Python with TensorFlow and segmentation_models 1.0")
    return parser.parse_args()


def ask(contender: Contender, **task: Any) -> dict[str, float]:
    """What a process of serve_engine.py answers to a task."""
    return contender.ask(json.dumps(task, default=str))


def export_all(
    folder: Path, model: Any, others: Sequence[serve_models.Scene], options: argparse.Namespace
) -> Iterator[str]:
    """Everything that is served, below ``folder``; yields what could not be made, and why.

    ``others`` are scenes that nothing is compared on: int8's ranges are measured on them.
    """
    calibration = serve_models.network_pixels(others, options.size)
    serve_models.export_keras(folder / "keras", model)
    for precision in serve_models.PRECISIONS:
        serve_models.export_kseg(folder / precision, model, precision, calibration)
    if not options.openvino_python:
        yield "OpenVINO: no --openvino-python"
    if not options.onnx_python or not options.onnx_packages:
        yield "ONNX Runtime: no --onnx-python and --onnx-packages"
    elif problem := serve_models.export_onnx(folder / "model.onnx", model, options.onnx_packages, options.size):
        yield f"ONNX Runtime: the conversion failed: {problem}"
    if not options.keras_sm_python:
        yield "segmentation_models: no --keras-sm-python"
    elif problem := serve_models.export_peers(folder / "peers", options.keras_sm_python, options.size):
        yield f"segmentation_models: the export failed: {problem}"


def start_pixels(stack: ExitStack, folder: Path, options: argparse.Namespace) -> Contenders:
    """All that can take part, on pictures."""
    threads = "--threads", options.cores
    here = sys.executable
    commands: dict[str, tuple[Any, ...]] = {"Keras export": (here, "session", folder / "keras")}
    for precision in serve_models.PRECISIONS:
        commands[f"kseg {precision}"] = here, "session", folder / precision, *PIXELS
    if options.openvino_python:
        for name, hint in (("float32", "f32"), ("bfloat16", "bf16")):
            command = options.openvino_python, "openvino", folder / "keras", "--precision", hint
            commands[f"OpenVINO {name}"] = command
    if (folder / "model.onnx").exists():
        commands["ONNX Runtime float32"] = options.onnx_python, "onnx", folder / "model.onnx"
    for network in ("unet", "linknet"):
        if (folder / "peers" / network).exists():
            commands[f"segmentation_models {network}"] = here, "session", folder / "peers" / network
    started = {name: Contender(stack, python, ENGINE, *rest, *threads) for name, (python, *rest) in commands.items()}
    for contender in started.values():
        contender.answer()
    return started


def start_photos(stack: ExitStack, folder: Path, options: argparse.Namespace) -> Contenders:
    """kseg on photos, and the way around Keras's export that a client goes."""
    rest = "--threads", options.cores, "--size", options.size
    plain = Contender(stack, sys.executable, ENGINE, "session", folder / "keras", "--photos", "client", *rest)
    started = {"Keras export, client's OpenCV": plain}
    for precision in serve_models.PRECISIONS:
        served = Contender(stack, sys.executable, ENGINE, "session", folder / precision, *PHOTOS, *rest)
        started[f"kseg {precision}, photo to mask"] = served
    for contender in started.values():
        contender.answer()
    return started


def race(contenders: Contenders, inputs: Path, batch: int, options: argparse.Namespace) -> serve_table.Times:
    """All contenders' seconds per call, round by round; the round that warms up is left out."""
    times: serve_table.Times = {name: [] for name in contenders}
    for turn in range(options.rounds + 1):
        for name, contender in contenders.items():
            answer = ask(contender, inputs=inputs, batch=batch, seconds=options.seconds)
            if turn > 0:
                times[name].append(serve_table.Turn(**answer))
    return times


def agreement(
    contenders: Contenders, inputs: Path, model: Any, truth: np.ndarray | None
) -> dict[str, serve_table.Agreement]:
    """How far each contender's probabilities are from Keras's in float32, where the weights are the same."""
    with np.load(inputs) as stored:
        expected = serve_models.sigmoid(model.predict(stored["pictures"], batch_size=4, verbose=0))
    found = {"Keras in float32": expected}
    for name, contender in contenders.items():
        if not name.startswith("segmentation_models"):
            outputs = inputs.with_name("answers.npz")
            ask(contender, inputs=inputs, batch=4, outputs=outputs)
            with np.load(outputs) as stored:
                answers = stored["answers"]
            found[name] = answers if name.startswith("kseg") else serve_models.sigmoid(answers)
    return {name: serve_table.Agreement.of(answers, expected, truth) for name, answers in found.items()}


def changed_masks(contenders: Contenders, inputs: Path) -> dict[str, float]:
    """The share of the photos' pixels that are otherwise than on the way around Keras's export."""
    masks: dict[str, np.ndarray] = {}
    for name, contender in contenders.items():
        outputs = inputs.with_name("answers.npz")
        ask(contender, inputs=inputs, batch=1, outputs=outputs)
        with np.load(outputs) as stored:
            masks[name] = np.stack([cv2.imdecode(stored[file], cv2.IMREAD_UNCHANGED) for file in stored.files])
    first = next(iter(masks.values()))
    return {name: float((mask != first).mean()) for name, mask in masks.items()}


def compare(folder: Path, options: argparse.Namespace) -> None:
    model = serve_models.network(options.run, options.join)
    some = serve_models.scenes(options.data, 2 * options.pictures)
    pictures, photos, truth = serve_models.write_inputs(folder, some[::2], options.size)
    left_out = list(export_all(folder, model, some[1::2], options))
    serve_table.print_head(model.name, options, left_out)
    with ExitStack() as stack:
        contenders = start_pixels(stack, folder, options)
        serve_table.print_agreement(agreement(contenders, pictures, model, truth if options.run else None))
        races = {batch: race(contenders, pictures, batch, options) for batch in options.batches}
    serve_table.print_times(races)
    with ExitStack() as stack:
        ways = start_photos(stack, folder, options)
        changed = changed_masks(ways, photos)
        whole = race(ways, photos, 1, options)
    serve_table.print_whole_path(whole, changed)
    serve_table.print_goals(races.get(1, {}), whole)


def main() -> None:
    options = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # tables as they come, into files, too
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])  # the contenders inherit it
    with tempfile.TemporaryDirectory(prefix="kseg-serving-") as folder:
        compare(Path(folder), options)


if __name__ == "__main__":
    main()
