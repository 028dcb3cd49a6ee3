"""From what a user names, a run of kseg or an exported model, to a network that answers."""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from kseg.config import parse_settings
from kseg.errors import ConfigError, ExportError, KsegError
from kseg.inference.predictor import Predictor
from kseg.logits import LEAST_DOUBT
from kseg.models.constants import as_constants
from kseg.models.precision import fastest_safe_precision
from kseg.models.trained import SETTINGS_OF_A_RUN, best_network, settings_of
from kseg.serving.card import Card
from kseg.serving.folder import GRAPH, versions
from kseg.settings import Settings


def load(path: str | Path, precision: str = "auto") -> Predictor:
    """Open a run of ``kseg-train``, or what ``kseg-export`` has published, to segment photos with it.

    Args:
        path: A run's folder; or an exported version, or the folder of a model's versions, of which the newest is taken.
        precision: Of a run's network: "float32", "bfloat16", or "auto", the faster of the two on this machine.

    Raises:
        KsegError: there is no such network, or it cannot be read.
    """
    path = Path(path)
    if (path / GRAPH).exists():
        return _open_export(path)
    if (path / SETTINGS_OF_A_RUN).exists():
        return open_run(path, settings_of(path), precision)
    if path.is_dir() and (found := versions(path)):
        return _open_export(path / str(found[-1]))
    raise KsegError(
        f"{path}: holds neither a run nor an exported model; name a folder that kseg-train or kseg-export has written, "
        "such as runs/people-001 or models/people"
    )


def open_run(path: Path, settings: Settings, precision: str = "auto") -> Predictor:
    """The best network of a run with these settings. Raises WeightsError if it cannot be read."""
    if precision not in {"auto", "float32", "bfloat16"}:
        raise ConfigError(f'precision="{precision}" is unknown; auto, float32 or bfloat16 is possible')
    chosen = fastest_safe_precision() if precision == "auto" else precision
    return _predictor(as_constants(best_network(path, settings), chosen), settings)


def _open_export(folder: Path) -> Predictor:
    """An exported version, through its signature ``probabilities``."""
    settings = parse_settings(Card.read(folder).settings, folder)
    binary = settings.data.num_classes == 1
    try:
        loaded = tf.saved_model.load(str(folder))
        answer = loaded.signatures["probabilities"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise ExportError(f"{folder}: cannot be loaded: {error}; export the network again") from None

    def network(pixels: tf.Tensor) -> tf.Tensor:
        found = tf.clip_by_value(answer(pixels=pixels)["probabilities"], LEAST_DOUBT, 1 - LEAST_DOUBT)
        return tf.math.log(found) - tf.math.log1p(-found) if binary else tf.math.log(found)

    network.model = loaded  # type: ignore[attr-defined]  # its weights live as long as it does
    return _predictor(network, settings)


def _predictor(network: Callable[[tf.Tensor], tf.Tensor], settings: Settings) -> Predictor:
    data = settings.data
    return Predictor(
        network,
        classes=data.class_ids,
        image_size=data.image_size,
        resize=data.resize,
        threshold=settings.export.threshold,
        colours=data.colours,
    )
