"""The trained network in one file for other runtimes: LiteRT for phones and small devices, ONNX for other servers.

Pixels in, probabilities out, at the network's own size: what decodes and resizes photos there is the application's.
Both are compared with the Keras network on photos, as a SavedModel is, before the file gets its name.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kseg.errors import ExportError
from kseg.files import replacing
from kseg.logits import decide
from kseg.models.constants import as_constants
from kseg.serving.graph import Contract
from kseg.serving.verify import Sample, Verification, largest_difference, network_pixels

Runner = Callable[[np.ndarray], np.ndarray]
"""float32 pixels (1, H, W, 3) in [0, 255] to float32 probabilities (1, H, W, C)."""


OPSET = 18
"""Of ONNX's operators: what runtimes of the last years know."""


class Format(NamedTuple):
    """A kind of file: how its name ends, the extra that brings its runtime, how it is made and how it is run."""

    ending: str
    extra: str
    packages: tuple[str, ...]
    convert: Callable[[Any], bytes]
    load: Callable[[bytes], Runner]


def export_file(
    path: Path, kind: str, model: keras.Model, contract: Contract, samples: Sequence[Sample]
) -> Verification:
    """Write a network of ``build_segmenter`` to a file, in float32, and compare it with the network.

    Args:
        path: Ends as the format's files do.
        kind: A key of ``FORMATS``.
        model: In float32.
        contract: Its ``image_size`` becomes the fixed size of the input.
        samples: Photos to compare with, at least one.

    Raises:
        ExportError: the ending is another, the runtime is not installed, or the file drifts from the network.
    """
    chosen = FORMATS[kind]
    if path.suffix != chosen.ending:
        raise ExportError(f"{path}: a {kind} file ends in {chosen.ending}; name it {path.with_suffix(chosen.ending)}")
    for package in chosen.packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ExportError(f"{kind} needs {package} ({error}); pip install 'kseg[{chosen.extra}]'") from None
    content = chosen.convert(_probabilities(model, contract))
    verification = _compare(chosen.load(content), model, contract, samples)
    verification.require_close()
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return verification


def _probabilities(model: keras.Model, contract: Contract) -> Any:
    """The concrete function that is converted: one picture of the network's size."""
    network = as_constants(model)
    pixels = tf.TensorSpec([1, *contract.image_size, 3], tf.float32, name="pixels")
    answer = tf.function(lambda pixels: {"probabilities": contract.probabilities(network(pixels))}, autograph=False)
    return answer.get_concrete_function(pixels)


def _compare(run: Runner, model: keras.Model, contract: Contract, samples: Sequence[Sample]) -> Verification:
    """At the network's size, since the file knows no other."""
    threshold = contract.threshold if contract.binary else 0.0
    largest, changed = [], []
    for sample in samples:
        pixels = network_pixels(contract, sample.picture)
        expected = contract.probabilities(model.predict_on_batch(pixels)).numpy()
        found = run(pixels)
        if found.shape != expected.shape:
            raise ExportError(f"the converted network gives {found.shape}, not {expected.shape}; nothing was written")
        largest.append(largest_difference(found, expected))
        changed.append((decide(found - threshold) != decide(expected - threshold)).mean())
    # NumPy's maximum: Python's would lose a NaN
    return Verification("float32", len(samples), float(np.max(largest)), float(np.mean(changed)))


def _to_litert(function: Any) -> bytes:
    return tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert()


def _load_litert(content: bytes) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pixels: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], pixels)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return run


def _to_onnx(function: Any) -> bytes:
    from tf2onnx.convert import from_graph_def

    (source,), (result,) = function.inputs, function.outputs
    graph = function.graph.as_graph_def()
    model, _ = from_graph_def(graph, input_names=[source.name], output_names=[result.name], opset=OPSET)
    return model.SerializeToString()


def _load_onnx(content: bytes) -> Runner:
    from onnxruntime import InferenceSession

    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return lambda pixels: session.run(None, {source.name: pixels})[0]


FORMATS: Mapping[str, Format] = {
    "litert": Format(".tflite", "litert", ("ai_edge_litert.interpreter",), _to_litert, _load_litert),
    "onnx": Format(".onnx", "onnx", ("tf2onnx", "onnxruntime"), _to_onnx, _load_onnx),
}
"""Other runtimes that kseg exports to."""
