"""One contender of train_step.py: trains a network, as many steps at a time as it is told on stdin.

    python step_engine.py kseg combined|unet|linknet --precision auto|float32|bfloat16 --size N --batch N
    python step_engine.py smp unet|linknet --precision float32|bfloat16 --size N --batch N
    python step_engine.py sm unet|linknet --size N --batch N

``kseg`` trains as kseg-train does, all its metrics included; ``smp`` is segmentation_models_pytorch, channels last and
with a fused optimizer; ``sm`` is segmentation_models 1.0 as its authors show it. Each lives in an environment of its
own. The batch is the same drawn one at every step: what is timed does not depend on it. The first line on stdout,
after two steps, says what the network is; a line of stdin is a number of steps, and a line says how long they took.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import time
from typing import Any, Protocol

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("SM_FRAMEWORK", "tf.keras")  # without it, the import of segmentation_models fails
WARM_UP = 2


class Contender(Protocol):
    """A network and its optimizer."""

    def describe(self) -> dict[str, object]:
        """Parameters that are trained, operations of one picture's inference, versions."""

    def train(self, steps: int) -> float:
        """Take so many steps; the last loss."""


class KerasNetwork:
    """What a Keras network is and does, whoever compiled it."""

    model: Any
    batches: Any
    packages: tuple[str, ...]

    def describe(self) -> dict[str, object]:
        """See Contender."""
        learnt = sum(int(np.prod(variable.shape)) for variable in self.model.trainable_variables)
        return {"parameters": learnt, **versions(*self.packages)}

    def train(self, steps: int) -> float:
        """See Contender."""
        history = self.model.fit(self.batches, steps_per_epoch=steps, verbose=0)
        return float(history.history["loss"][-1])


class Kseg(KerasNetwork):
    """kseg's network, compiled and fitted as the command does it."""

    packages = ("tensorflow", "keras")

    def __init__(self, options: argparse.Namespace) -> None:
        from kseg.models.segmenter import build_segmenter
        from kseg.settings import Settings
        from kseg.training.loop import build_loss, compile_network
        from kseg.training.precision import prepare_keras

        classes = tuple(f"c{number}" for number in range(options.classes))
        loss = "bce" if options.classes == 1 else "ce"
        settings = Settings.model_validate(
            {"data": {"classes": classes}, "training": {"precision": options.precision, "loss": loss}}
        )
        self.policy = prepare_keras(settings)
        self.size = options.size
        self.model = build_segmenter(num_classes=options.classes, join=options.network)
        compile_network(self.model, build_loss(settings, None), settings, steps_per_epoch=100)
        pictures, masks = drawn_batch(options)
        self.batches = repeated(pictures, masks)

    def describe(self) -> dict[str, object]:
        """See Contender."""
        from kseg.models.summary import total_flops

        return {**super().describe(), "flops": total_flops(self.model, self.size, self.size)}


class KerasPeer(KerasNetwork):
    """segmentation_models 1.0: float32, ``fit``, its own way."""

    packages = ("segmentation-models", "tensorflow", "keras")

    def __init__(self, options: argparse.Namespace) -> None:
        import keras
        import segmentation_models as sm

        network = {"unet": sm.Unet, "linknet": sm.Linknet}[options.network]
        shape = (options.size, options.size, 3)
        self.model = network("resnet34", input_shape=shape, classes=1, activation="linear", encoder_weights=None)
        self.model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
        pictures, masks = drawn_batch(options)
        self.batches = repeated(np.float32(pictures), np.float32(masks[..., None]))


class TorchPeer:
    """segmentation_models_pytorch in its best form on a processor."""

    def __init__(self, options: argparse.Namespace) -> None:
        import smp_train
        import torch

        smp = smp_train.import_smp()
        network = {"unet": smp.Unet, "linknet": smp.Linknet}[options.network]
        model = network("resnet34", encoder_weights=None, classes=1, activation=None)
        self.model = model.to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        self.precision = options.precision
        pictures, masks = drawn_batch(options)
        self.pictures = torch.from_numpy(np.float32(pictures) / 255).permute(0, 3, 1, 2)  # so it is channels last
        self.masks = torch.from_numpy(np.float32(masks))[:, None]

    def describe(self) -> dict[str, object]:
        """See Contender."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        self.model.eval()
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.model(self.pictures[:1])
        self.model.train()
        learnt = sum(parameter.numel() for parameter in self.model.parameters())
        counted = {"parameters": learnt, "flops": counter.get_total_flops()}
        return {**counted, **versions("segmentation_models_pytorch", "torch")}

    def train(self, steps: int) -> float:
        """See Contender."""
        import torch

        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
                logits = self.model(self.pictures)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), self.masks)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        return loss.item()


CONTENDERS = {"kseg": Kseg, "smp": TorchPeer, "sm": KerasPeer}


def drawn_batch(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 (B, H, W, 3), and masks, uint8 (B, H, W)."""
    random = np.random.default_rng(0)
    shape = options.batch, options.size, options.size
    return random.integers(0, 256, (*shape, 3), np.uint8), random.integers(0, max(2, options.classes), shape, np.uint8)


def repeated(pictures: np.ndarray, masks: np.ndarray) -> Any:
    """A data set of the same batch without end."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False  # its thread sleeps for seconds, and is waited for when the set is closed
    return tf.data.Dataset.from_tensors((pictures, masks)).repeat().with_options(options)


def versions(*packages: str) -> dict[str, object]:
    return {"versions": {name: importlib.metadata.version(name) for name in packages}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("network", choices=("combined", "unet", "linknet"))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--classes", type=int, default=1, help="of kseg")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    contender: Contender = CONTENDERS[options.contender](options)
    contender.train(WARM_UP)
    answers.write(json.dumps(contender.describe()) + "\n")
    for line in sys.stdin:
        began = time.perf_counter()
        loss = contender.train(int(line))
        answers.write(json.dumps({"seconds": time.perf_counter() - began, "loss": loss}) + "\n")


if __name__ == "__main__":
    main()
