"""Train a network of segmentation_models_pytorch on the pictures that accuracy.py hands over.

With the brief's recipe and the loss asked for, in the form that is fastest on a processor: bfloat16 by autocast,
channels last, a fused optimizer.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import random
from pathlib import Path

import numpy as np
import scoring
import torch
import torch_losses
from torch import nn

DECLARED: list[torch.library.Library] = []


def import_smp():
    """segmentation_models_pytorch, also where torchvision came without operators that load.

    Its import needs torchvision's, which needs the operators' names, though nothing here calls them.
    """
    found = importlib.util.find_spec("torchvision")
    for file in Path(found.origin).parent.glob("_C*") if found and found.origin else ():
        with contextlib.suppress(OSError):  # made for another PyTorch, as torchvision itself will find
            torch.ops.load_library(file)
    if not hasattr(torch.ops.torchvision, "nms"):
        DECLARED.append(torch.library.Library("torchvision", "DEF"))  # the names go when this does
        for name in ("nms", "qnms"):
            DECLARED[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import segmentation_models_pytorch

    return segmentation_models_pytorch


def predict(model: nn.Module, pictures: np.ndarray) -> torch.Tensor:
    """Logits float32 (B, C, H, W) of pictures (B, H, W, 3), which seen as (B, 3, H, W) are channels last already."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    return logits.float()


def decide(logits: torch.Tensor) -> np.ndarray:
    """Class ids (B, H, W) of logits (B, C, H, W)."""
    return (logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(1)).numpy()


@torch.inference_mode()
def validate(model: nn.Module, samples: scoring.Samples, batch: int) -> list[np.ndarray]:
    model.eval()
    counts = [
        scoring.count(decide(predict(model, pictures)), masks, len(samples.classes))
        for pictures, masks in samples.validation_batches(batch)
    ]
    model.train()
    return counts


def train(model: nn.Module, samples: scoring.Samples, options: argparse.Namespace, record: scoring.Record) -> int:
    """Train and validate every epoch; return the number of pictures seen."""
    steps_per_epoch = samples.steps_per_epoch(options)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate, fused=True)
    batches = samples.training_batches(options.seed, options.batch, options.flip)
    loss_of = torch_losses.parse_loss(options.loss)
    seen = 0
    for _ in range(options.epochs):
        record.begin()
        total = 0.0
        for _ in range(steps_per_epoch):
            pictures, masks = next(batches)
            loss = loss_of(predict(model, pictures), torch.from_numpy(masks).long())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            seen += len(pictures)
            total += loss.item()
        record.end(validate(model, samples, options.batch), total / steps_per_epoch)
    return seen


def main() -> None:
    options = scoring.argument_parser(__doc__).parse_args()
    smp = import_smp()
    random.seed(options.seed)
    np.random.seed(options.seed)
    torch.manual_seed(options.seed)
    samples = scoring.Samples(options.samples)
    network = {"unet": smp.Unet, "linknet": smp.Linknet}[options.network]
    model = network("resnet34", encoder_weights=None, classes=len(samples.classes), activation=None)
    model = model.to(memory_format=torch.channels_last).train()
    packages = ("segmentation_models_pytorch", "torch", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    record = scoring.Record(options, samples, sum(p.numel() for p in model.parameters()), versions)
    record.write(train(model, samples, options, record))


if __name__ == "__main__":
    main()
