"""How fast are exports of the same network, and how near? kseg's beside Keras's own, OpenVINO's and ONNX Runtime's.

    python benchmarks/serving.py [--run RUN] [--data DIR] [--openvino-python PATH] [--onnx-python PATH]
        [--keras-sm-python PATH]

Every contender is a process of its own that has its model loaded and warm; rounds go from one to the next, so that a
slower minute of the machine is everybody's. Times are medians of the rounds, ratios medians of each round's. Without a
run, the network is kseg's default with drawn weights and statistics (with biases of zero TensorFlow would leave them
out); without --data, pictures are drawn scenes. The old segmentation_models has other weights and another decoder.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).resolve().parent
SIZE = 256
BATCHES = (1, 4, 16)
ANSWERS = 8  # of a batch, in a round; fewer of larger ones
PHOTO = 480, 640

GOALS = (
    ("kseg bfloat16", "Keras export", 2.5),
    ("kseg bfloat16", "OpenVINO bfloat16", 0.8),
    ("kseg float32", "Keras export", 1.3),
    ("kseg float32", "OpenVINO float32", 0.9),
)
WHOLE_GOAL = ("kseg bfloat16, photo to mask", "Keras export, OpenCV around it", 2.0)

KERAS_SM = """
import os, sys
os.environ["SM_FRAMEWORK"] = "tf.keras"
import keras, segmentation_models as sm
model = sm.Linknet("resnet34", input_shape=(None, None, 3), encoder_weights=None, classes=1, activation="linear")
model.export(sys.argv[1], verbose=False)
"""


class Contender(NamedTuple):
    """The Python it runs in, and the arguments of serve.py."""

    python: str
    arguments: tuple[str, ...]


class Server:
    """A contender's process."""

    def __init__(self, contender: Contender, inputs: Path, outputs: Path) -> None:
        engine, model, *signature = contender.arguments
        command = [contender.python, str(HERE / "peers" / "serve.py"), engine, model, str(inputs), str(outputs)]
        self.process = subprocess.Popen(
            [*command, *signature], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(self.process.stderr.read().strip().splitlines()[-1])
        with np.load(outputs) as stored:
            self.answers = {name: stored[name] for name in stored.files}

    def time(self, name: str, count: int) -> float:
        """The median seconds of ``count`` answers to a batch."""
        self.process.stdin.write(f"{name} {count}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run of kseg-train, for its best network")
    parser.add_argument("--data", type=Path, help="a folder with images/ and masks/, for photos and their truth")
    parser.add_argument("--openvino-python", help="Python with openvino")
    parser.add_argument("--onnx-python", help="Python with onnxruntime; here tf2onnx is needed as well")
    parser.add_argument("--keras-sm-python", help="Python with TensorFlow and segmentation_models 1.0")
    parser.add_argument("--rounds", type=int, default=9)
    return parser.parse_args()


def network_of(run: Path | None):
    """The network, in float32."""
    import keras

    from kseg.models.segmenter import build_segmenter

    if run is not None:
        from kseg.cli.trained import open_trained

        return open_trained(run, (), ()).model
    keras.utils.set_random_seed(0)
    model, dice = build_segmenter(), np.random.default_rng(0)
    for variable in model.variables:
        name = variable.path.rpartition("/")[2]
        if name in {"gamma", "moving_variance"}:
            variable.assign(dice.uniform(0.5, 1.0, variable.shape))
        elif name in {"beta", "moving_mean", "bias"}:
            variable.assign(dice.normal(0, 0.2, variable.shape))
    return model


def pictures_of(data: Path | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, SIZE, SIZE, 3) pictures and their uint8 masks of 0 and 1."""
    from kseg.data.loading import Loader
    from kseg.data.sources import open_source
    from kseg.settings import DataSettings, SyntheticSettings

    where = {"roots": (data,)} if data else {"source": "synthetic"}
    settings = DataSettings(image_size=(SIZE, SIZE), **where)
    source = open_source(settings, SyntheticSettings(scenes=10 * count))
    loader = Loader(source, settings.image_size, cache=False)
    samples = [loader.load(index) for index in range(9, len(source.names), 10)[:count]]  # of the validation pictures
    return np.stack([sample.picture for sample in samples]), np.stack([sample.mask for sample in samples])


def export_all(model, folder: Path, options: argparse.Namespace) -> dict[str, Contender]:
    """Write every export; the contenders that can run here."""
    import tensorflow as tf

    from kseg.serving.graph import Contract, ServedNetwork
    from kseg.serving.network import as_constants

    keras_export = str(folder / "keras")
    model.export(keras_export, verbose=False)
    found = {"Keras export": Contender(sys.executable, ("session", keras_export))}
    contract = Contract(("background", "person"), (SIZE, SIZE))
    for precision in ("float32", "bfloat16"):
        served = ServedNetwork(as_constants(model, precision), contract)
        path = str(folder / precision)
        tf.saved_model.save(tf.Module(), path, signatures=served.signatures())
        found[f"kseg {precision}"] = Contender(sys.executable, ("session", path, "probabilities"))
    if options.openvino_python:
        for precision, hint in (("float32", "f32"), ("bfloat16", "bf16")):
            found[f"OpenVINO {precision}"] = Contender(options.openvino_python, (f"openvino-{hint}", keras_export))
    if options.onnx_python:
        model.export(str(folder / "network.onnx"), format="onnx", verbose=False)
        found["ONNX Runtime float32"] = Contender(options.onnx_python, ("onnx", str(folder / "network.onnx")))
    if options.keras_sm_python:
        old = str(folder / "keras-sm")
        subprocess.run([options.keras_sm_python, "-c", KERAS_SM, old], check=True, capture_output=True)
        found["segmentation_models (LinkNet)"] = Contender(options.keras_sm_python, ("session", old))
    return found


def whole_paths(folder: Path) -> dict[str, Contender]:
    """From a photo's bytes to its mask's."""
    ours = {
        f"kseg {precision}, photo to mask": Contender(sys.executable, ("session", str(folder / precision)))
        for precision in ("float32", "bfloat16")
    }
    around = Contender(sys.executable, ("around-session", str(folder / "keras")))
    return {**ours, "Keras export, OpenCV around it": around}


def measure(servers: dict[str, Server], batches: dict[str, int], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of every contender and batch, one for each round."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for batch, size in batches.items():
            for name, server in servers.items():
                seconds.setdefault((name, batch), []).append(server.time(batch, max(2, ANSWERS // size)))
    return seconds


def start(contenders: dict[str, Contender], inputs: Path, scratch: Path) -> dict[str, Server]:
    servers = {}
    for name, contender in contenders.items():
        try:
            servers[name] = Server(contender, inputs, scratch / "outputs.npz")
        except RuntimeError as error:
            print(f"{name}: cannot run: {error}")
    return servers


def agreement(name: str, answer: np.ndarray, expected: np.ndarray, truth: np.ndarray) -> str:
    """How near probabilities are to Keras's, and the IoU of both with the truth."""
    probabilities = answer if name.startswith("kseg") else 1 / (1 + np.exp(-answer.astype(np.float64)))
    found, wanted, there = probabilities[..., 0] > 0.5, expected[..., 0] > 0.5, truth == 1
    iou = (found & there).sum() / max(1, (found | there).sum())
    return f"{np.abs(probabilities - expected).max():.1e} | {(found != wanted).mean():.4%} | {iou:.4f}"


def ratios(seconds: dict[tuple[str, str], list[float]], goal: tuple[str, str, float], batch: str) -> None:
    """Print how many times as fast one contender is as another, and whether that is enough."""
    ours, other, least = goal
    if (ours, batch) not in seconds or (other, batch) not in seconds:
        print(f"{ours} / {other}: not measured")
        return
    each = sorted(b / a for a, b in zip(seconds[ours, batch], seconds[other, batch], strict=True))
    middle = statistics.median(each)
    said = "met" if middle >= least else "missed"
    print(f"{ours} / {other}: {middle:.2f} ({each[0]:.2f} - {each[-1]:.2f}), wanted {least}: {said}")


def photo(picture: np.ndarray) -> np.ndarray:
    """A JPEG of 640 x 480, as bytes: uint8 (n,)."""
    large = cv2.resize(picture, PHOTO[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", cv2.cvtColor(large, cv2.COLOR_RGB2BGR))[1].ravel()


def main() -> None:
    options = parse_arguments()
    model = network_of(options.run)
    pictures, truth = pictures_of(options.data, max(BATCHES))
    pixels = pictures.astype(np.float32)
    expected = 1 / (1 + np.exp(-model.predict(pixels, verbose=0).astype(np.float64)))
    with tempfile.TemporaryDirectory(prefix="kseg-serving-") as folder:
        scratch = Path(folder)
        contenders = export_all(model, scratch, options)
        batches = {f"batch-{size}": size for size in BATCHES}
        np.savez(scratch / "batches.npz", **{name: pixels[:size] for name, size in batches.items()})
        servers = start(contenders, scratch / "batches.npz", scratch)
        seconds = measure(servers, batches, options.rounds)
        largest = f"batch-{max(BATCHES)}"
        print(f"\n{model.name}, {SIZE} x {SIZE}, {os.cpu_count()} processors; images/s, median\n")
        print(f"| export | {' | '.join(batches)} | largest difference | changed pixels | IoU |")
        print(f"|---|{'---|' * (len(batches) + 3)}")
        for name, server in servers.items():
            speeds = [f"{size / statistics.median(seconds[name, batch]):.1f}" for batch, size in batches.items()]
            near = agreement(name, server.answers[largest], expected, truth)
            print(f"| {name} | {' | '.join(speeds)} | {near if 'LinkNet' not in name else '- | - | -'} |")
        print("\nBatch 1:")
        for goal in GOALS:
            ratios(seconds, goal, "batch-1")
        for server in servers.values():
            server.process.kill()
        np.savez(scratch / "photo.npz", photo=photo(pictures[0]))
        servers = start(whole_paths(scratch), scratch / "photo.npz", scratch)
        seconds = measure(servers, {"photo": 1}, options.rounds)
        print(f"\nA JPEG of {PHOTO[1]} x {PHOTO[0]} to a PNG of the same size, one at a time:")
        for name in servers:
            print(f"{name}: {1 / statistics.median(seconds[name, 'photo']):.1f} photos/s")
        ratios(seconds, WHOLE_GOAL, "photo")
        for server in servers.values():
            server.process.kill()


if __name__ == "__main__":
    main()
