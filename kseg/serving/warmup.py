"""Requests that TensorFlow Serving answers to itself before it serves a version, so that no user waits for the first.

A TFRecord of ``PredictionLog`` messages in ``assets.extra``, as its ``saved_model_warmup`` wants it: every signature,
with every number of photos that is to be fast. Loading the version fails if one of them does.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from kseg.data.fitting import shrunk
from kseg.serving.client.tensors import to_tensor
from kseg.serving.client.wire import PredictionLog
from kseg.serving.graph import Contract
from kseg.serving.verify import Sample

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

MOST_PIXELS = 60_000
"""Of the photo in the requests: the network sees it at its own size anyhow, and large ones would be a gigabyte."""


def write_warmup(folder: Path, sample: Sample, contract: Contract, batch_sizes: Sequence[int]) -> None:
    """Write the warm-up requests of a version: ``sample``, made small, in batches of every one of ``batch_sizes``."""
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, name, values in _inputs(sample, contract, batch_sizes):
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            request.inputs[name].CopyFrom(to_tensor(values))
            writer.write(log.SerializeToString())


def _inputs(
    sample: Sample, contract: Contract, batch_sizes: Sequence[int]
) -> Iterator[tuple[str, str, np.ndarray | Sequence[bytes]]]:
    """Signature, name of the input, and its values."""
    photo = cv2.imencode(".jpg", cv2.cvtColor(shrunk(sample.picture, MOST_PIXELS), cv2.COLOR_RGB2BGR))[1].tobytes()
    pixels = np.zeros((1, *contract.image_size, 3), np.uint8)
    for count in batch_sizes:
        yield "serving_default", "image_bytes", [photo] * count
        if contract.binary:
            yield "cutout", "image_bytes", [photo] * count
    yield "probabilities", "pixels", pixels.astype(np.float32)
    yield "probabilities_uint8", "pixels", pixels
