"""A training's whole state in one file, replaced as a whole: weights, optimizer, and the history up to there.

The file is Keras's own ``.weights.h5`` (model and optimizer variables) with one entry more, the history as JSON.
One file, because two could disagree when the process is killed between them.
"""

import json
import math
from pathlib import Path

import h5py
import keras
import tensorflow as tf

from kseg.errors import TrainingError
from kseg.files import replacing
from kseg.training.history import Row

HISTORY = "kseg_history"

ROOM = 4 * 2**20
"""Bytes for what is in a file beside the numbers: names, tables, the history."""


def save_checkpoint(path: Path, model: keras.Model, history: list[Row]) -> None:
    """Write the state after the last epoch of ``history``; the previous checkpoint stays until this one is whole."""
    with replacing(path, _size(model.variables + model.optimizer.variables)) as temporary:
        model.save_weights(temporary)
        with h5py.File(temporary, "a") as file:
            file.create_dataset(HISTORY, data=json.dumps(history))


def read_history(path: Path) -> list[Row]:
    """The history of a checkpoint; empty if there is no checkpoint yet."""
    if not path.exists():
        return []
    try:
        with h5py.File(path) as file:
            history: list[Row] = json.loads(file[HISTORY].asstr()[()])
            return history
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not a checkpoint of kseg, or damaged ({error}); start a new run") from None


def load_checkpoint(path: Path, model: keras.Model) -> None:
    """Put the saved state into a compiled model and its optimizer, which is built already."""
    try:
        model.load_weights(path)
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: does not fit this network ({error}); start a new run") from None


def save_model(path: Path, model: keras.Model) -> None:
    """Write the network alone as a ``.keras`` file that Keras loads without kseg: no optimizer, no loss, no metrics."""
    with replacing(path, _size(model.variables)) as temporary:
        keras.Model(model.inputs, model.outputs, name=model.name).save(temporary)


def _size(variables: list[keras.Variable]) -> int:
    """Bytes of a file that holds these variables, with room for names and tables."""
    return sum(math.prod(variable.shape) * tf.as_dtype(variable.dtype).size for variable in variables) + ROOM
