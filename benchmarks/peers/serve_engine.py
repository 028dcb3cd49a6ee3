"""One contender of serving.py: loads a model in its own engine, and answers and times it as it is told on stdin.

    python serve_engine.py ENGINE MODEL [--precision P] [--signature NAME] [--photos bytes | client]

NumPy and the engine only, and OpenCV for photos: this runs in the environment of every contender. A line of stdin is a
JSON object; "inputs" names a file of pictures (``pictures``, float32 (N, H, W, 3)) or photos (``photo-0``, ...: uint8,
the bytes of image files). With "outputs", all are answered, in batches of "batch", into that file; without, the first
"batch" of them are answered again and again for "seconds", and a line says how long one call took, and on how many
processors.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
Call = Callable[[Any], Any]


def session(options: argparse.Namespace) -> Call:
    """A SavedModel in TensorFlow's Session, as TensorFlow Serving runs it."""
    import tensorflow as tf

    v1 = tf.compat.v1
    threads = {f"{kind}_op_parallelism_threads": options.threads for kind in ("intra", "inter")}
    run = v1.Session(graph=tf.Graph(), config=v1.ConfigProto(**threads))
    with run.graph.as_default():
        signature = v1.saved_model.loader.load(run, ["serve"], options.model).signature_def[options.signature]
    (source,) = signature.inputs.values()
    wanted = [signature.outputs[options.output]] if options.output else list(signature.outputs.values())
    call = run.make_callable([output.name for output in wanted], [source.name])
    return lambda inputs: call(inputs)[0]


def openvino(options: argparse.Namespace) -> Call:
    """OpenVINO reads SavedModels; the batch is fixed before each first call, which is what it does best with."""
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": options.precision, "INFERENCE_NUM_THREADS": options.threads}
    settings["PERFORMANCE_HINT"] = "LATENCY"
    requests: dict[tuple[int, ...], Any] = {}

    def call(inputs):
        if inputs.shape not in requests:
            model = core.read_model(options.model)
            model.reshape(list(inputs.shape))
            requests[inputs.shape] = core.compile_model(model, "CPU", settings).create_infer_request()
        return next(iter(requests[inputs.shape].infer({0: inputs}, share_inputs=True, share_outputs=True).values()))

    return call


def onnx(options: argparse.Namespace) -> Call:
    """An ONNX file in ONNX Runtime."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    run = onnxruntime.InferenceSession(options.model, settings, providers=["CPUExecutionProvider"])
    name = run.get_inputs()[0].name
    return lambda inputs: run.run(None, {name: inputs})[0]


def client_side(call: Call, size: int, threads: int) -> Call:
    """Photos to masks around a model that takes pixels: all that a client has to do, by OpenCV."""
    import cv2

    cv2.setNumThreads(threads)

    def answer(photos):
        masks = []
        for content in photos:
            photo = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
            picture = cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)
            logits = call(picture[None].astype(np.float32))[0, ..., 0]
            whole = cv2.resize(logits, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            masks.append(cv2.imencode(".png", np.where(whole > 0, 255, 0).astype(np.uint8))[1].tobytes())
        return masks

    return answer


def load(path: str) -> Any:
    """The pictures of a file, or its photos as bytes."""
    with np.load(path) as stored:
        if "pictures" in stored:
            return stored["pictures"]
        return [stored[f"photo-{index}"].tobytes() for index in range(len(stored.files))]


def answer_all(call: Call, inputs: Any, batch: int, path: str) -> None:
    """Writes ``answers``, an array, or ``photo-0``, ...: the bytes of PNGs."""
    batches = [inputs[start : start + batch] for start in range(0, len(inputs), batch)]
    if isinstance(inputs, list):
        masks = [np.frombuffer(mask, np.uint8) for some in batches for mask in call(some)]
        np.savez(path, **{f"photo-{index}": mask for index, mask in enumerate(masks)})
    else:  # copied, as an engine may write its next answer over the last
        np.savez(path, answers=np.concatenate([np.array(call(some)) for some in batches]))


def timed(call: Call, inputs: Any, seconds: float) -> dict[str, float]:
    """The median time of a call, after one that is not counted, and the processors in use."""
    call(inputs)
    times = []
    started, used = time.perf_counter(), time.process_time()
    while len(times) < 3 or time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        call(inputs)
        times.append(time.perf_counter() - begun)
    wall, cpu = time.perf_counter() - started, time.process_time() - used
    return {"seconds": float(np.median(times)), "processors": cpu / wall}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=("session", "openvino", "onnx"))
    parser.add_argument("model")
    parser.add_argument("--precision", default="f32", help="OpenVINO's: f32 or bf16")
    parser.add_argument("--signature", default="serving_default")
    parser.add_argument("--output", help="the only one to fetch, or first the rest; default: all, in their order")
    parser.add_argument("--photos", choices=("bytes", "client"), help="the model takes photos, or the client must")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an engine prints must not be taken for an answer
    call = {"session": session, "openvino": openvino, "onnx": onnx}[options.engine](options)
    if options.photos == "client":
        call = client_side(call, options.size, options.threads)
    answers.write("{}\n")
    for line in sys.stdin:
        task = json.loads(line)
        inputs, batch = load(task["inputs"]), task["batch"]
        if "outputs" in task:
            answer_all(call, inputs, batch, task["outputs"])
            answers.write("{}\n")
        else:
            inputs = (inputs * -(-batch // len(inputs)) if isinstance(inputs, list) else inputs)[:batch]
            answers.write(json.dumps(timed(call, inputs, task["seconds"])) + "\n")


if __name__ == "__main__":
    main()
