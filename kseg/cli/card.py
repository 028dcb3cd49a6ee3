"""What is known of a run, as the card of the model made of it."""

import json
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from kseg import __version__
from kseg.config import dump_settings
from kseg.models.weights import RANDOM
from kseg.models.weights_hub import HUB
from kseg.palette import Palette, as_text
from kseg.serving.card import Card, fingerprint
from kseg.serving.verify import Verification
from kseg.settings import Settings, SourceSettings
from kseg.training.run import PACKAGES, Run

Source = TypeVar("Source", bound=SourceSettings)

LICENCES = {"imagenet": "that of torchvision's weights, BSD-3-Clause; their pictures are ImageNet's"}
"""Of the weights that kseg knows; what comes from elsewhere is for its user to know."""

SIGNATURES = {
    "serving_default": (
        "image_bytes (N,): JPEG, PNG, WebP, BMP or GIF files -> mask_bytes (N,): PNGs of the photos' own size; "
        "score (N,): mean confidence; coverage (N, ids): share of the pixels; status (N,), 0 if all is well; "
        "message_bytes (N,): what is wrong with a picture"
    ),
    "cutout": "image_bytes (N,) -> cutout_bytes (N,): RGBA PNGs with a transparent ground; status; message_bytes",
    "probabilities": "pixels, float32 (N, H, W, 3) RGB in [0, 255] -> probabilities, float32 (N, H, W, C)",
    "probabilities_uint8": "the same from uint8 pixels",
}


def card_of(run: Run, settings: Settings, verification: Verification, name: str) -> Card:
    """The card of the best network of a run, exported under a model's name."""
    data, origin = settings.data, run.read_weights()
    samples = run.read_data() or {"training": [], "validation": []}
    signatures = {key: text for key, text in SIGNATURES.items() if key != "cutout" or data.num_classes == 1}
    palette = Palette.of(data.class_ids, data.colours)
    weights = asdict(origin) if origin else None
    if weights:
        places = {key: _without_folders(weights[key]) for key in ("source", "file")}
        weights |= {**places, "licence": LICENCES.get(weights["source"], "not known to kseg")}
    return Card(
        name=name,
        classes=data.classes,
        colours={name: as_text(colour) for name, colour in palette.legend.items()},
        image_size=data.image_size,
        resize=data.resize,
        precision=verification.precision,
        signatures=signatures,
        scores=_scores(run),
        data={
            "training": len(samples["training"]),
            "validation": len(samples["validation"]),
            "fingerprint": fingerprint([*samples["training"], *samples["validation"]]),
            "sources": [source.title for source in data.sources],
        },
        encoder_weights=weights,
        verification=asdict(verification),
        versions={
            "kseg": __version__,
            **{package: version(package) for package in PACKAGES},
            "python": platform.python_version(),
        },
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        settings=dump_settings(without_places(settings)),
    )


def without_places(settings: Settings) -> Settings:
    """A copy to give away: of folders and files only the names, and neither where data are kept nor who serves them."""
    data, model = settings.data, settings.model
    data = _source_without_places(data).model_copy(
        update={
            "also": tuple(map(_source_without_places, data.also)),
            "train_list": data.train_list and Path(data.train_list.name),
            "validation_list": data.validation_list and Path(data.validation_list.name),
            "input_service": None,
        }
    )
    model = model.model_copy(update={"encoder_weights": _without_folders(model.encoder_weights)})
    return settings.model_copy(update={"data": data, "model": model})


def _source_without_places(source: Source) -> Source:
    """A source's settings without the folders above its roots; what lies below them may be named by a path, too."""
    below = {key: getattr(source, key) for key in ("images", "masks", "annotations")}
    return source.model_copy(
        update={
            "roots": tuple(Path(root.name) for root in source.roots),
            "tfds": source.tfds.model_copy(update={"data_dir": None}),
            **{key: Path(path).name for key, path in below.items() if path and Path(path).is_absolute()},
        }
    )


def _without_folders(weights: str) -> str:
    """Weights as they are named in the settings: those of everybody as they are, of a file or a run only its name."""
    if weights in {RANDOM, "imagenet"} or weights.startswith(HUB):
        return weights
    return f"./{Path(weights).name}"  # a path still: a run may be called imagenet


def _scores(run: Run) -> dict[str, Any]:
    """Those of the best epoch; none while the training goes on."""
    if not run.result_file.exists():
        return {}
    scores = json.loads(run.result_file.read_text(encoding="utf-8"))["scores"]
    return {name: value for name, value in scores.items() if value is not None}
