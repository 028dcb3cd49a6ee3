"""A trained network as a SavedModel that TensorFlow Serving serves: written, compared with Keras, and described."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from kseg.models.constants import as_constants
from kseg.serving.graph import Contract, ServedNetwork
from kseg.serving.verify import Sample, Verification, verify
from kseg.serving.warmup import write_warmup


def export(
    folder: Path,
    model: keras.Model,
    contract: Contract,
    samples: Sequence[Sample],
    *,
    precision: str = "float32",
    batch_sizes: Sequence[int] = (1, 4, 16),
) -> Verification:
    """Write a SavedModel with its warm-up requests, and compare what it answers with what the network says.

    Args:
        folder: An empty one, or none yet.
        model: A network of ``build_segmenter``, in float32.
        contract: What the graph has to know besides the weights.
        samples: Photos to compare with, at least one; the first of them is the one in the warm-up requests.
        precision: "float32" or "bfloat16", for any server, without flags.
        batch_sizes: Photos in the warm-up requests.

    Raises:
        ExportError: the version drifts from the network, or cannot be run.
    """
    served = ServedNetwork(as_constants(model, precision), contract)
    tf.saved_model.save(tf.Module(), str(folder), signatures=served.signatures())
    verification = verify(folder, model, contract, precision, samples)
    verification.require_close()
    write_warmup(folder, samples[0], contract, batch_sizes)
    return verification
