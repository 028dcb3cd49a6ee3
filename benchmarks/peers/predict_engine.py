"""One contender of predict.py: loads a network, and masks a folder of photos as often as it is told on stdin.

    python predict_engine.py kseg PHOTOS OUT --run RUN --precision P --workers N --batch-size N
    python predict_engine.py plain PHOTOS OUT --size N

``kseg`` goes the way of kseg-predict; ``plain`` is the script that a user of segmentation_models_pytorch would write,
and runs in its environment. The first line on stdout comes when the network is loaded and the first photo has its
mask. A line of stdin is the name of a task, one of the contender's; a line says how long it took for a photo.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
Task = Callable[[Sequence[Path]], Any]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of RGB in [0, 1], as SMP's encoders are given it."""

FEW = 8
"""Photos that the parts of the work are timed on."""


def kseg(options: argparse.Namespace) -> dict[str, Task]:
    """``folder``: as kseg-predict; ``network``: the same network alone; ``parts``: the processor time of each."""
    from kseg.inference.folder import Job, segment_all
    from kseg.inference.local import LocalAnswerer
    from kseg.inference.outputs import Outputs
    from kseg.opening import load

    outputs = Outputs(kinds=("mask",))
    predictor = load(options.run, options.precision)
    answerer = LocalAnswerer(predictor, soft=outputs.soft, need_photo=outputs.need_photo, batch_size=options.batch_size)
    ready: list[np.ndarray] = []

    def files_of(photo: Path) -> dict[str, Path]:
        return outputs.files(options.out, Path(photo.stem), predictor.classes)

    def folder(photos: Sequence[Path]) -> None:
        reasons: list[str] = []
        jobs = [Job(photo, files_of(photo)) for photo in photos]
        segment_all(
            answerer, jobs, outputs.write, lambda _, reason: reasons.extend([reason] if reason else []), options.workers
        )
        if reasons:
            sys.exit("; ".join(reasons))

    def network(photos: Sequence[Path]) -> None:
        for start in range(0, len(photos), options.batch_size):
            predictor.judge(ready[start : start + options.batch_size])

    def parts(photos: Sequence[Path]) -> dict[str, float]:
        return parts_of(predictor, outputs, photos[:FEW], files_of, options.batch_size)

    folder(options.photos[:1])
    ready += [answerer.read(photo).picture for photo in options.photos]
    return {"folder": folder, "network": network, "parts": parts}


def parts_of(predictor: Any, outputs: Any, photos: Sequence[Path], files_of: Any, batch: int) -> dict[str, float]:
    """Processor seconds for a photo, OpenCV in one thread, nothing at the same time."""
    cv2.setNumThreads(1)
    spent: dict[str, float] = {}

    def timed(part: str, work: Callable[..., Any], *arguments: Any) -> Any:
        began = time.process_time()
        made = work(*arguments)
        spent[part] = spent.get(part, 0.0) + (time.process_time() - began) / len(photos)
        return made

    for start in range(0, len(photos), batch):
        some = photos[start : start + batch]
        fitted = [timed("decode, reduce", lambda photo: predictor.fit_file(photo, whole=False), one) for one in some]
        judged = timed("network", predictor.judge, [one.picture for one in fitted])
        for photo, one, logits in zip(some, fitted, judged, strict=True):
            found = timed("enlarge, decide", predictor.finish, one, logits, False)
            timed("encode, write", outputs.write, found, files_of(photo))
    return spent


def plain(options: argparse.Namespace) -> dict[str, Task]:
    """``folder``: read, judge and write one photo after the other."""
    import torch
    from smp_train import import_smp

    smp = import_smp()
    model = smp.Unet("resnet34", encoder_weights=None, classes=1).eval()
    mean, std = (np.array(values, np.float32) for values in IMAGENET)

    @torch.inference_mode()
    def folder(photos: Sequence[Path]) -> None:
        for path in photos:
            photo = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            picture = cv2.resize(photo, (options.size, options.size)).astype(np.float32)
            pixels = torch.from_numpy((picture / 255 - mean) / std).permute(2, 0, 1)[None]
            probabilities = model(pixels).sigmoid()[0, 0].numpy()
            whole = cv2.resize(probabilities, photo.shape[1::-1])
            cv2.imwrite(str(options.out / f"{path.stem}.png"), (whole > 0.5).astype(np.uint8) * 255)

    folder(options.photos[:1])
    return {"folder": folder}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=("kseg", "plain"))
    parser.add_argument("photos", type=lambda folder: sorted(Path(folder).iterdir()))
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--precision")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--size", type=int)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an engine prints must not be taken for an answer
    options.out.mkdir(parents=True, exist_ok=True)
    tasks = {"kseg": kseg, "plain": plain}[options.contender](options)
    answers.write("{}\n")
    for line in sys.stdin:
        began = time.perf_counter()
        found = tasks[line.strip()](options.photos)
        seconds = (time.perf_counter() - began) / len(options.photos)
        answers.write(json.dumps(found or {"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
