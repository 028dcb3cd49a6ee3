"""What a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Shot:
    """A photo, and what was found in it.

    Attributes:
        name: The sample's.
        picture: uint8 (H, W, 3), RGB.
        truth: Class ids, uint8 (H, W); ids beyond the classes count nowhere.
        prediction: Class ids, uint8 (H, W).
        scores: Of this photo, to be shown in this order.
        other: The baseline's prediction, uint8 (H, W), where the photo is there to compare the two.
    """

    name: str
    picture: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    scores: Mapping[str, float | None]
    other: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of a page; what is left empty has no section there.

    Attributes:
        title: The name of the model.
        evaluation: What ``evaluation.json`` holds, with or without a baseline.
        history: The rows of a run's ``history.csv``.
        best_epoch: The one whose network was kept; it is marked on the curves.
        galleries: title -> photos, in order. Shown with an evaluation only, whose classes their ids are of. One whose
            photos all carry a baseline's prediction is shown with the comparison.
        colours: ``"#rrggbb"`` by name, of the classes that are not drawn in kseg's own.
        data: What is known of the data, such as ``{"training photos": 500, "share of each class": {"person": 0.2}}``:
            numbers, texts, and lists and mappings of them.
        changed: The settings that differ from the defaults, by key.
        settings: All of them, as TOML.
        versions: package -> version, and whatever else is known of the machine.
        commands: What to type to get the same, one after another.
        notes: Sentences that a reader of the scores must know.
        random_weights: Whether the training started from random weights; the page then says so beside the scores.
    """

    title: str
    evaluation: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, float]] = ()
    best_epoch: int | None = None
    galleries: Mapping[str, Sequence[Shot]] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    changed: Mapping[str, Any] = field(default_factory=dict)
    settings: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)
    commands: Sequence[str] = ()
    notes: Sequence[str] = ()
    random_weights: bool = False
