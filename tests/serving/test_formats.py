import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from onnxruntime import InferenceSession
from served import SMALL, trained

from kseg.data.synthetic import draw_scene
from kseg.errors import ExportError
from kseg.serving import formats
from kseg.serving.graph import Contract
from kseg.serving.verify import Sample

BINARY, PARTS = Contract(("background", "person"), (64, 96)), Contract(tuple("abcd"), (64, 64), "pad", several=True)


def photos(count=3):
    return [Sample(b"", draw_scene(0, index, 90, 70)[0]) for index in range(count)]


def run_litert(path, pixels):
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["shape"].tolist() == list(pixels.shape)
    interpreter.set_tensor(source["index"], pixels)
    interpreter.invoke()
    return interpreter.get_tensor(result["index"])


def run_onnx(path, pixels):
    session = InferenceSession(path)
    (source,) = session.get_inputs()
    assert source.shape == list(pixels.shape)
    return session.run(None, {source.name: pixels})[0]


@pytest.mark.parametrize(("kind", "ending", "run"), [("litert", ".tflite", run_litert), ("onnx", ".onnx", run_onnx)])
@pytest.mark.parametrize(("contract", "classes"), [(BINARY, 1), (PARTS, 4)])
def test_the_same_probabilities_as_keras(tmp_path, kind, ending, run, contract, classes):
    model = trained(num_classes=classes, **SMALL)
    path = tmp_path / f"people{ending}"
    verification = formats.export_file(path, kind, model, contract, photos())
    assert verification.photos == 3
    assert verification.largest_difference < 1e-4
    assert verification.changed_share <= 0.001
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *contract.image_size, 3)).astype(np.float32)
    logits = model.predict(pixels, verbose=0).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    expected = 1 / (1 + np.exp(-logits)) if classes == 1 else powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(run(path, pixels), expected, atol=1e-4)


def test_a_file_that_drifts_is_not_written(tmp_path, monkeypatch):
    model = trained(**SMALL)
    made = formats.FORMATS["litert"]

    def convert_then_train_on(function):
        content = made.convert(function)
        model.layers[-1].bias.assign_add([0.1])
        return content

    monkeypatch.setattr(formats, "FORMATS", {"litert": made._replace(convert=convert_then_train_on)})
    with pytest.raises(ExportError, match="does not answer as the trained one"):
        formats.export_file(tmp_path / "people.tflite", "litert", model, BINARY, photos())
    assert not list(tmp_path.iterdir())


def test_one_answer_that_is_no_number_is_enough(tmp_path, monkeypatch):
    """A file that is NaN for a dark photo, after one and before one for which it is not."""
    made = formats.FORMATS["litert"]

    def spoil_and_convert(function):
        def spoilt(pixels):
            found = function(pixels)["probabilities"]
            return {"probabilities": tf.where(tf.reduce_max(pixels) < 100, np.nan, found)}

        pixels = tf.TensorSpec(function.inputs[0].shape, tf.float32)
        return made.convert(tf.function(spoilt, autograph=False).get_concrete_function(pixels))

    monkeypatch.setattr(formats, "FORMATS", {"litert": made._replace(convert=spoil_and_convert)})
    given = photos()
    given[1] = given[1]._replace(picture=given[1].picture // 3)
    with pytest.raises(ExportError, match="probabilities differ by up to nan"):
        formats.export_file(tmp_path / "people.tflite", "litert", trained(**SMALL), BINARY, given)
    assert not list(tmp_path.iterdir())


def test_the_ending_says_what_it_is(tmp_path):
    with pytest.raises(ExportError, match=r"people\.onnx: a litert file ends in \.tflite; name it .*people\.tflite"):
        formats.export_file(tmp_path / "people.onnx", "litert", None, BINARY, photos())


def test_a_missing_runtime_is_named(tmp_path, monkeypatch):
    made = formats.FORMATS["litert"]._replace(packages=("no_such_runtime",))
    monkeypatch.setattr(formats, "FORMATS", {"litert": made})
    with pytest.raises(ExportError, match=r"litert needs no_such_runtime .*pip install 'kseg\[litert\]'"):
        formats.export_file(tmp_path / "people.tflite", "litert", None, BINARY, photos())
