"""The messages declared by hand are the official ones, byte for byte; arrays survive them both ways."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kseg.serving.client import wire
from kseg.serving.client.tensors import KINDS, NUMBERS, STRING, from_tensor, to_tensor

tf = pytest.importorskip("tensorflow")
apis = pytest.importorskip("tensorflow_serving.apis", reason="tensorflow-serving-api has the official messages")

from google.protobuf import wrappers_pb2  # noqa: E402
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2  # noqa: E402
from tensorflow_serving.apis import get_model_status_pb2, model_pb2, predict_pb2, prediction_log_pb2, status_pb2  # noqa: E402

OFFICIAL = {
    "Dim": tensor_shape_pb2.TensorShapeProto.Dim,
    "TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
    "TensorProto": tensor_pb2.TensorProto,
    "Int64Value": wrappers_pb2.Int64Value,
    "ModelSpec": model_pb2.ModelSpec,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "PredictLog": prediction_log_pb2.PredictLog,
    "PredictionLog": prediction_log_pb2.PredictionLog,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "StatusProto": status_pb2.StatusProto,
    "ModelVersionStatus": get_model_status_pb2.ModelVersionStatus,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
}
BOUNDS = {"int32": (0, 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1), "uint64": (0, 2**64 - 1)}
FIELD = re.compile(r"(?:(repeated|map|oneof \w+) )?(\w+) (\w+) = \d+")


def values_of(kind):
    if kind in BOUNDS:
        return st.integers(*BOUNDS[kind])
    return {
        "string": st.text(max_size=5),
        "bytes": st.binary(max_size=5),
        "bool": st.booleans(),
        "float": st.floats(width=32, allow_nan=False),
        "double": st.floats(allow_nan=False),
    }[kind]


@st.composite
def contents(draw, name):
    """What could be in a message, as a nested dict; two fields of a oneof are never set together."""
    content, used = {}, set()
    for text in wire.MESSAGES[name].split("; "):
        kind, type_name, field = FIELD.fullmatch(text).groups()
        one = contents(type_name) if type_name in wire.MESSAGES else values_of(type_name)
        if kind == "repeated":
            one = st.lists(one, max_size=3)
        if kind == "map":
            one = st.dictionaries(st.text(max_size=5), one, max_size=2)
        if draw(st.booleans()) and kind not in used:
            content[field] = draw(one)
            used |= {kind} if kind and kind.startswith("oneof") else set()
    return content


def fill(message, content):
    for field, value in content.items():
        target = getattr(message, field)
        if isinstance(value, dict) and message.DESCRIPTOR.fields_by_name[field].message_type.GetOptions().map_entry:
            for key, entry in value.items():
                fill(target[key], entry)
        elif isinstance(value, dict):
            target.SetInParent()
            fill(target, value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for entry in value:
                fill(target.add(), entry)
        elif isinstance(value, list):
            target.extend(value)
        else:
            setattr(message, field, value)
    return message


def test_every_message_has_an_official_one():
    assert OFFICIAL.keys() == wire.MESSAGES.keys()


@pytest.mark.parametrize("name", wire.MESSAGES)
def test_fields_have_their_official_numbers_and_forms(name):
    for field in wire.CLASSES[name].DESCRIPTOR.fields:
        official = OFFICIAL[name].DESCRIPTOR.fields_by_name[field.name]
        assert field.number == official.number
        assert field.is_repeated == official.is_repeated
        assert field.is_packed == official.is_packed
        assert field.has_presence == official.has_presence
        if official.enum_type is not None:
            assert field.type == field.TYPE_INT32
        else:
            assert field.type == official.type
        if official.containing_oneof is not None:
            assert field.containing_oneof.name == official.containing_oneof.name


@pytest.mark.parametrize("name", wire.MESSAGES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_bytes_mean_the_same_to_both(name, data):
    content = data.draw(contents(name))
    ours, official = fill(wire.CLASSES[name](), content), fill(OFFICIAL[name](), content)
    assert OFFICIAL[name].FromString(ours.SerializeToString()) == official
    assert wire.CLASSES[name].FromString(official.SerializeToString()) == ours
    assert ours.SerializeToString(deterministic=True) == official.SerializeToString(deterministic=True)


def test_states_have_their_official_names():
    official = get_model_status_pb2.ModelVersionStatus.State
    assert {number: name for name, number in official.items()} == wire.STATES


def test_type_numbers_are_official():
    assert STRING == types_pb2.DT_STRING
    for number, kind in KINDS.items():
        assert tf.dtypes.as_dtype(number).as_numpy_dtype == kind.dtype


DTYPES = st.sampled_from([kind.dtype for kind in KINDS.values()])
NUMBER_ARRAYS = DTYPES.flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


@settings(deadline=None, max_examples=200)
@given(NUMBER_ARRAYS)
def test_tensorflow_reads_our_arrays(array):
    official = tensor_pb2.TensorProto.FromString(to_tensor(array).SerializeToString())
    assert official.tensor_content or not array.size
    read = tf.make_ndarray(official)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(np.asarray(tf.io.parse_tensor(official.SerializeToString(), array.dtype)), array)


@settings(deadline=None, max_examples=200)
@given(NUMBER_ARRAYS)
def test_we_read_tensorflows_arrays(array):
    for official in (tf.make_tensor_proto(array), as_values(array)):
        read = from_tensor(wire.TensorProto.FromString(official.SerializeToString()))
        assert read.dtype == array.dtype
        assert read.flags.writeable
        np.testing.assert_array_equal(read, array)


def as_values(array):
    """A tensor with a list of values, as TensorFlow Serving writes its answers."""
    official = tensor_pb2.TensorProto(dtype=NUMBERS[array.dtype])
    for size in array.shape:
        official.tensor_shape.dim.add(size=size)
    flat = array.reshape(-1)
    field = KINDS[official.dtype].values
    getattr(official, field).extend((flat.view(np.uint16) if array.dtype == np.float16 else flat).tolist())
    return official


@settings(deadline=None)
@given(NUMBER_ARRAYS, st.integers(0, 3))
def test_missing_values_repeat_the_last_as_tensorflow_has_it(array, kept):
    official = as_values(array)
    field = KINDS[official.dtype].values
    del getattr(official, field)[kept:]
    ours = from_tensor(wire.TensorProto.FromString(official.SerializeToString()))
    np.testing.assert_array_equal(ours, tf.make_ndarray(official))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=5))
def test_strings_go_both_ways(values):
    official = tensor_pb2.TensorProto.FromString(to_tensor(values).SerializeToString())
    assert tf.make_ndarray(official).tolist() == values
    ours = from_tensor(wire.TensorProto.FromString(tf.make_tensor_proto(values, tf.string).SerializeToString()))
    assert ours.dtype == object
    assert ours.tolist() == values


def test_fields_that_are_not_declared_are_skipped():
    official = tensor_pb2.TensorProto(dtype=1, float_val=[1.5], scomplex_val=[1.0, 2.0])
    official.resource_handle_val.add(name="x")
    assert from_tensor(wire.TensorProto.FromString(official.SerializeToString())) == np.float32(1.5)


def tensor(dtype=1, sizes=(2,), **fields):
    made = wire.TensorProto(dtype=dtype, **fields)
    for size in sizes:
        made.tensor_shape.dim.add(size=size)
    return made


@pytest.mark.parametrize(
    ("damaged", "seen"),
    [
        (tensor(float_val=[1, 2, 3]), "3 values for a tensor of the shape (2,)"),
        (tensor(tensor_content=bytes(12)), "3 values for a tensor of the shape (2,)"),
        (tensor(tensor_content=bytes(7)), "multiple of"),
        (tensor(sizes=(0,), dtype=7, string_val=[b"x"]), "1 values for a tensor of the shape (0,)"),
        (tensor(sizes=(-1,)), "a tensor of the shape (-1,)"),
        (tensor(sizes=(2**40, 2**40), float_val=[1]), "a tensor of the shape"),
        (tensor(dtype=21), "type number 21"),
        (tensor(dtype=4, int_val=[256, 1]), "256 is no uint8"),
        (wire.TensorProto(dtype=1, tensor_shape={"unknown_rank": True}), "without a shape"),
    ],
)
def test_what_does_not_fit_together_is_refused(damaged, seen):
    with pytest.raises(ValueError, match=re.escape(seen)):
        from_tensor(damaged)


def test_an_array_of_no_kind_is_refused():
    with pytest.raises(ValueError, match="complex64"):
        to_tensor(np.zeros(2, np.complex64))


def test_the_other_byte_order_is_sent_right():
    array = np.array([1.5, -2.0], ">f4")
    assert tf.make_ndarray(tensor_pb2.TensorProto.FromString(to_tensor(array).SerializeToString())).tolist() == [
        1.5,
        -2.0,
    ]
