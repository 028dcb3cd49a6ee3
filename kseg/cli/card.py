"""What is known of a run, as the card of the model made of it."""

import json
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from kseg import __version__
from kseg.config import dump_settings
from kseg.palette import Palette, as_text
from kseg.serving.card import Card, fingerprint
from kseg.serving.verify import Verification
from kseg.settings import Settings
from kseg.training.run import PACKAGES, Run

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
    weights = {**asdict(origin), "licence": LICENCES.get(origin.source, "not known to kseg")} if origin else None
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
        settings=dump_settings(settings),
    )


def _scores(run: Run) -> dict[str, Any]:
    """Those of the best epoch; none while the training goes on."""
    if not run.result_file.exists():
        return {}
    return json.loads(run.result_file.read_text(encoding="utf-8"))["scores"]
