"""Runs a SavedModel as TensorFlow Serving does: its Session loader, in a process that knows neither Keras nor kseg.

    python session_run.py FOLDER INPUTS.npz OUTPUTS.npz

It is started by its path, so that not even kseg's ``__init__`` is imported. INPUTS holds the files of some photos,
uint8, named ``photo-...``, and batches of pixels, uint8 (N, H, W, 3), named ``pixels-...``. Every signature is run:
one that takes photos, on all of them as one batch, one that takes pixels on each batch. OUTPUTS holds the results as
``SIGNATURE/OUTPUT`` or ``SIGNATURE/OUTPUT/PIXELS``; what is a string becomes uint8, with ``/0``, ``/1``, ... behind.
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

if __name__ == "__main__":
    # TensorFlow itself imports Keras where there is one; here it is not to be found, and kseg neither.
    sys.modules |= dict.fromkeys(("keras", "tf_keras", "kseg"))  # type: ignore[arg-type]

import tensorflow as tf


def run(folder: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The results of every signature."""
    photos = [value.tobytes() for name, value in inputs.items() if name.startswith("photo-")]
    batches = {name: value for name, value in inputs.items() if name.startswith("pixels-")}
    results: dict[str, Any] = {}
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        model = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
        for name, signature in model.signature_def.items():
            if not signature.inputs:
                continue
            (source,) = signature.inputs.values()
            outputs = {key: output.name for key, output in signature.outputs.items()}
            if source.dtype == tf.string.as_datatype_enum:
                for key, value in session.run(outputs, {source.name: photos}).items():
                    results.update(_named(f"{name}/{key}", value))
                continue
            for label, batch in batches.items():
                fed = batch.astype(tf.as_dtype(source.dtype).as_numpy_dtype)
                for key, value in session.run(outputs, {source.name: fed}).items():
                    results.update(_named(f"{name}/{key}/{label}", value))
    return results


def _named(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The array under its name, or, of strings, each under its number."""
    if value.dtype != object:
        yield name, value
        return
    for index, content in enumerate(value):
        yield f"{name}/{index}", np.frombuffer(content, np.uint8)


if __name__ == "__main__":
    _, folder, inputs_file, outputs_file = sys.argv
    with np.load(inputs_file) as loaded:
        given = {name: loaded[name] for name in loaded.files}
    np.savez(outputs_file, **run(folder, given))
