"""A trained network as a SavedModel that TensorFlow Serving serves: written, compared with Keras, and described."""

import platform
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kseg.errors import ExportError
from kseg.models.constants import Network, as_constants
from kseg.models.int8 import as_int8, ranges_of
from kseg.serving.graph import Contract, ServedNetwork
from kseg.serving.verify import Sample, Verification, verify
from kseg.serving.warmup import write_warmup

X86_64 = {"x86_64", "AMD64"}


def export(
    folder: Path,
    model: keras.Model,
    contract: Contract,
    samples: Sequence[Sample],
    *,
    precision: str = "float32",
    measured: Sequence[np.ndarray] = (),
    batch_sizes: Sequence[int] = (1, 4, 16),
) -> Verification:
    """Write a SavedModel with its warm-up requests, and compare what it answers with what the network says.

    Args:
        folder: An empty one, or none yet.
        model: A network of ``build_segmenter``, in float32.
        contract: What the graph has to know besides the weights.
        samples: Photos to compare with, at least one; the first of them is the one in the warm-up requests.
        precision: "float32", "bfloat16" or "int8", for any server, without flags.
        measured: Of int8: photos as the network sees them, uint8 (H, W, 3), that its ranges are measured on; others
            than the samples.
        batch_sizes: Photos in the warm-up requests.

    Raises:
        ExportError: the version drifts from the network, or cannot be run; or nothing was there to be measured.
    """
    served = ServedNetwork(_network(model, precision, measured), contract)
    tf.saved_model.save(tf.Module(), str(folder), signatures=served.signatures())
    verification = verify(folder, model, contract, precision, samples)
    verification.require_close()
    write_warmup(folder, samples[0], contract, batch_sizes)
    return verification


def _network(model: keras.Model, precision: str, measured: Sequence[np.ndarray]) -> Network:
    """What the network computes, in a precision."""
    if precision != "int8":
        return as_constants(model, precision)
    if (processor := platform.machine()) not in X86_64:
        raise ExportError(f"int8 needs an x86-64 processor, this is {processor}; export with precision float32")
    if not measured:
        raise ExportError("int8 is measured on photos, and there are none; export with precision bfloat16")
    return as_int8(model, ranges_of(model, (picture[None] for picture in measured)))
