"""Answers batches with an exported network, as fast as it can, for serving.py: a process of its own for each engine.

    python serve.py ENGINE MODEL INPUTS.npz OUTPUTS.npz [SIGNATURE]

ENGINE is session (a SavedModel, by TensorFlow's Session), openvino-f32, openvino-bf16 (MODEL is a SavedModel), onnx, or
around-session: a SavedModel of pixels to logits, and all around it that a photo needs. INPUTS holds batches of pixels
by name, or the bytes of a photo; the answer to each is written to OUTPUTS first. Then, for every line NAME COUNT on
standard input, the batch of that name is answered COUNT times, and the median time, in seconds, printed.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

SIZE = 256
THREADS = os.cpu_count() or 1


def by_session(model: str, signature: str) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], model)
    chosen = loaded.signature_def[signature]
    (source,), outputs = chosen.inputs.values(), chosen.outputs
    result = outputs["mask_bytes"] if "mask_bytes" in outputs else next(iter(outputs.values()))
    call = session.make_callable(result.name, [source.name])
    if source.dtype == tf.string.as_datatype_enum:
        return lambda photo: np.frombuffer(call([photo.tobytes()])[0], np.uint8)
    return call


def around_session(model: str) -> Callable[[np.ndarray], np.ndarray]:
    """A photo's bytes to its mask's, with OpenCV around the network: what an export of pixels alone leaves to do."""
    import cv2

    network = by_session(model, "serving_default")

    def run(photo: np.ndarray) -> np.ndarray:
        picture = cv2.cvtColor(cv2.imdecode(photo, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        pixels = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        logits = network(pixels[None].astype(np.float32))[0, ..., 0]
        mask = cv2.resize(logits, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0
        return cv2.imencode(".png", mask.astype(np.uint8) * 255)[1]

    return run


def by_openvino(model: str, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": THREADS}
    requests = {}

    def run(pixels: np.ndarray) -> np.ndarray:
        if pixels.shape not in requests:  # compiled for each shape, which is when it is fastest
            network = core.read_model(model)
            network.reshape(list(pixels.shape))
            requests[pixels.shape] = core.compile_model(network, "CPU", settings).create_infer_request()
        return next(iter(requests[pixels.shape].infer({0: pixels}).values()))

    return run


def by_onnx(model: str) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return lambda pixels: session.run(None, {source.name: pixels})[0]


def main() -> None:
    engine, model, inputs, outputs, *signature = sys.argv[1:]
    if engine == "session":
        run = by_session(model, *(signature or ["serving_default"]))
    elif engine == "around-session":
        run = around_session(model)
    elif engine == "onnx":
        run = by_onnx(model)
    else:
        run = by_openvino(model, engine.removeprefix("openvino-"))
    with np.load(inputs) as stored:
        batches = {name: stored[name] for name in stored.files}
    np.savez(outputs, **{name: run(batch) for name, batch in batches.items()})
    for batch in batches.values():
        for _ in range(3):
            run(batch)
    print("ready", flush=True)
    for line in sys.stdin:
        name, count = line.split()
        times = []
        for _ in range(int(count)):
            start = time.perf_counter()
            run(batches[name])
            times.append(time.perf_counter() - start)
        print(statistics.median(times), flush=True)


if __name__ == "__main__":
    main()
