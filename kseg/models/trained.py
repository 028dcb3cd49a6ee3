"""A run's best network and its settings, for all that comes after training."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import keras

from kseg.config import load_settings
from kseg.errors import ConfigError, WeightsError
from kseg.models.segmenter import build_segmenter
from kseg.models.weights_files import BEST_OF_A_RUN
from kseg.settings import Settings

SETTINGS_OF_A_RUN = "settings.toml"


def settings_of(run: Path, overrides: Sequence[str] = (), roots: Sequence[Path] = ()) -> Settings:
    """The settings of a run that has a network; ``overrides`` change its ``[export]``, ``roots`` its pictures' place.

    Raises WeightsError if it has none, ConfigError if another setting is overridden.
    """
    if not (run / SETTINGS_OF_A_RUN).exists():
        raise WeightsError(f"{run}: holds no run; name a folder that kseg-train has written, such as runs/people-001")
    if not (run / BEST_OF_A_RUN).exists():
        raise WeightsError(f"{run}: has no {BEST_OF_A_RUN} yet; let kseg-train finish an epoch first")
    for text in overrides:
        if not text.startswith("export."):
            raise ConfigError(f"--set {text}: the network is trained already; only export.* can be chosen now")
    return load_settings(run / SETTINGS_OF_A_RUN, overrides, roots)


def best_network(run: Path, settings: Settings) -> keras.Model:
    """The run's best network, in float32 whatever it was trained in. Raises WeightsError if it cannot be read."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        model = build_segmenter(num_classes=settings.data.num_classes, **settings.model.network)
    finally:
        keras.config.set_dtype_policy(policy)
    file = run / BEST_OF_A_RUN
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a layer that is not in the file would keep its random weights
            model.load_weights(file)
    except Exception as error:  # Keras, h5py, zipfile and zlib have each their own for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{file}: cannot be read as the network of {run / SETTINGS_OF_A_RUN}: {reason}; train it again"
        ) from None
    return model
