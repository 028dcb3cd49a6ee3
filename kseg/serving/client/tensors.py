"""Arrays as TensorFlow's ``TensorProto``, there and back."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kseg.serving.client.wire import TensorProto

STRING = 7
"""DT_STRING: its values are bytes of any length, and always in ``string_val``."""


class _Kind(NamedTuple):
    dtype: type[np.generic]
    values: str


KINDS = {
    1: _Kind(np.float32, "float_val"),
    2: _Kind(np.float64, "double_val"),
    3: _Kind(np.int32, "int_val"),
    4: _Kind(np.uint8, "int_val"),
    5: _Kind(np.int16, "int_val"),
    6: _Kind(np.int8, "int_val"),
    9: _Kind(np.int64, "int64_val"),
    10: _Kind(np.bool_, "bool_val"),
    17: _Kind(np.uint16, "int_val"),
    19: _Kind(np.float16, "half_val"),
    22: _Kind(np.uint32, "uint32_val"),
    23: _Kind(np.uint64, "uint64_val"),
}
"""TensorFlow's DataType numbers: the array's type, and the field its values may come in."""

NUMBERS = {np.dtype(kind.dtype): number for number, kind in KINDS.items()}

MOST_ELEMENTS = 2**29
"""One message carries 2 GiB at most; a short list of values that claims to fill more than this is damaged."""


def to_tensor(values: np.ndarray | Sequence[bytes]) -> Any:
    """A TensorProto of numbers, of any shape, or of byte strings, (N,). Numbers go as their memory, little-endian.

    Raises ValueError for a dtype that is not in KINDS.
    """
    tensor = TensorProto()
    if not isinstance(values, np.ndarray):
        tensor.dtype = STRING
        tensor.tensor_shape.dim.add(size=len(values))
        tensor.string_val.extend(values)
        return tensor
    if values.dtype.newbyteorder("=") not in NUMBERS:
        raise ValueError(f"no tensor is made of {values.dtype}")
    tensor.dtype = NUMBERS[values.dtype.newbyteorder("=")]
    for size in values.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return tensor


def from_tensor(tensor: Any) -> np.ndarray:
    """The array in a TensorProto; strings as an object array of bytes.

    Values may be the memory (``tensor_content``) or a list, where the last one also stands for all that are missing
    after it, and none at all for zeros. Raises ValueError where type, shape and values do not go together.
    """
    if tensor.tensor_shape.unknown_rank:
        raise ValueError("a tensor without a shape")
    shape = tuple(int(dim.size) for dim in tensor.tensor_shape.dim)
    if min(shape, default=0) < 0 or math.prod(shape) > MOST_ELEMENTS:
        raise ValueError(f"a tensor of the shape {shape}")
    if tensor.dtype == STRING:
        array = np.empty(len(tensor.string_val), object)
        array[:] = list(tensor.string_val)
        return _filled(array, shape, b"")
    if tensor.dtype not in KINDS:
        raise ValueError(f"a tensor of the type number {tensor.dtype}")
    dtype, field = KINDS[tensor.dtype]
    if tensor.tensor_content:
        # A copy: what is left is read-only and keeps the whole message alive.
        return _shaped(np.frombuffer(tensor.tensor_content, np.dtype(dtype).newbyteorder("<")).astype(dtype), shape)
    values = getattr(tensor, field)
    if field in ("int_val", "half_val"):  # narrow types are held wider on the wire; float16 as its bits
        return _filled(_narrowed(np.array(values, np.int32), dtype), shape, 0)
    return _filled(np.array(values, dtype), shape, 0)


def _narrowed(values: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    stored = np.uint16 if dtype is np.float16 else dtype
    narrow = values.astype(stored)
    if (narrow != values).any():
        raise ValueError(f"{values[narrow != values][0]} is no {np.dtype(stored)}")
    return narrow.view(dtype)


def _filled(values: np.ndarray, shape: tuple[int, ...], zero: Any) -> np.ndarray:
    missing = math.prod(shape) - len(values)
    if missing > 0:
        last = values[-1] if len(values) else zero
        values = np.concatenate([values, np.full(missing, last, values.dtype)])
    return _shaped(values, shape)


def _shaped(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if len(values) != math.prod(shape):
        raise ValueError(f"{len(values)} values for a tensor of the shape {shape}")
    return values.reshape(shape)
