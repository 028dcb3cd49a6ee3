"""The few messages of TensorFlow and TensorFlow Serving that kseg needs, with their official field numbers.

The official Python modules for them import TensorFlow. These live in a pool of their own, so that both may be
loaded in one process. Enums are written as the int32 they are on the wire; fields not named here are skipped.

Sources: tensorflow/core/framework/{tensor,tensor_shape}.proto, tensorflow_serving/apis/{model,predict,
get_model_status,status,prediction_log}.proto, google/protobuf/wrappers.proto.
"""

import re
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped, unused-ignore]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

PACKAGE = "tensorflow.serving"

MESSAGES = {
    "Dim": "int64 size = 1; string name = 2",
    "TensorShapeProto": "repeated Dim dim = 2; bool unknown_rank = 3",
    "TensorProto": (
        "int32 dtype = 1; TensorShapeProto tensor_shape = 2; int32 version_number = 3; bytes tensor_content = 4; "
        "repeated int32 half_val = 13; repeated float float_val = 5; repeated double double_val = 6; "
        "repeated int32 int_val = 7; repeated bytes string_val = 8; repeated int64 int64_val = 10; "
        "repeated bool bool_val = 11; repeated uint32 uint32_val = 16; repeated uint64 uint64_val = 17"
    ),
    "Int64Value": "int64 value = 1",
    "ModelSpec": (
        "string name = 1; oneof version_choice Int64Value version = 2; string signature_name = 3; "
        "oneof version_choice string version_label = 4"
    ),
    "PredictRequest": "ModelSpec model_spec = 1; map TensorProto inputs = 2; repeated string output_filter = 3",
    "PredictResponse": "map TensorProto outputs = 1; ModelSpec model_spec = 2",
    "PredictLog": "PredictRequest request = 1; PredictResponse response = 2",
    "PredictionLog": "oneof log_type PredictLog predict_log = 6",
    "GetModelStatusRequest": "ModelSpec model_spec = 1",
    "StatusProto": "int32 error_code = 1; string error_message = 2",
    "ModelVersionStatus": "int64 version = 1; int32 state = 2; StatusProto status = 3",
    "GetModelStatusResponse": "repeated ModelVersionStatus model_version_status = 1",
}
"""As in a .proto file, but a map's keys are always strings, and the messages a field is of are all listed here."""

STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
"""ModelVersionStatus.State."""

_FIELD = re.compile(r"((?P<kind>repeated|map|oneof (?P<oneof>\w+)) )?(?P<type>\w+) (?P<name>\w+) = (?P<number>\d+)")
_Field = descriptor_pb2.FieldDescriptorProto


def _declare() -> dict[str, Any]:
    """The classes of all messages."""
    file = descriptor_pb2.FileDescriptorProto(name="kseg/serving.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split("; "):
            match = _FIELD.fullmatch(text)
            assert match is not None, text
            _add_field(message, match)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


def _add_field(message: Any, match: re.Match[str]) -> None:
    field = message.field.add(name=match["name"], number=int(match["number"]), label=_Field.LABEL_OPTIONAL)
    _set_type(field, match["type"])
    if match["kind"] in ("repeated", "map"):
        field.label = _Field.LABEL_REPEATED
    if match["oneof"]:
        if not message.oneof_decl:
            message.oneof_decl.add(name=match["oneof"])
        field.oneof_index = 0
    if match["kind"] == "map":  # on the wire: repeated pairs
        entry = message.nested_type.add(name=f"{match['name'].capitalize()}Entry")
        entry.options.map_entry = True
        _set_type(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL), "string")
        _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), match["type"])
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"


def _set_type(field: Any, name: str) -> None:
    if name in MESSAGES:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{name}"
    else:
        field.type = _Field.Type.Value(f"TYPE_{name.upper()}")


CLASSES = _declare()

TensorProto = CLASSES["TensorProto"]
PredictRequest = CLASSES["PredictRequest"]
PredictResponse = CLASSES["PredictResponse"]
PredictionLog = CLASSES["PredictionLog"]
GetModelStatusRequest = CLASSES["GetModelStatusRequest"]
GetModelStatusResponse = CLASSES["GetModelStatusResponse"]
