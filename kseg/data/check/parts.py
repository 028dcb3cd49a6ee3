"""The sources of a data set as they are checked: folders by their files, all others by what they load."""

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from kseg.data.check.examined import Examined, Rules
from kseg.data.check.examining import examine_loaded, examine_pair
from kseg.data.check.findings import Finding, Kind, Severity
from kseg.data.check.listing import Pair, list_pairs
from kseg.data.check.masks import class_ids
from kseg.data.images import read_mask, read_picture
from kseg.data.labels import LabelMap
from kseg.data.sources import open_one
from kseg.data.splits import Split
from kseg.errors import DataError
from kseg.settings import DataSettings, SourceSettings, SyntheticSettings


class Shown(NamedTuple):
    """What can be shown of a sample: uint8 (H, W, 3) RGB, and class ids uint8 (h, w), where they can be read."""

    picture: np.ndarray | None
    mask: np.ndarray | None


class Part(Protocol):
    """Samples that are checked in the same way."""

    count: int
    findings: Sequence[Finding]
    """What was found when it was opened."""
    split: Split | None
    """Its own, if it has one."""
    skipped: Collection[str]
    """Names of samples that its source left out when it was opened."""

    def examine(self, place: int) -> Examined:
        """Look at one of its samples; may be called from several threads."""

    def show(self, place: int) -> Shown:
        """Read one of its samples for people to look at."""


class FolderPart:
    """Pictures and masks in folders."""

    def __init__(self, data: DataSettings, settings: SourceSettings) -> None:
        bad = how_bad(data)
        self.rules = Rules(LabelMap(data.classes, settings.mask_values, data.ignore_class), data, bad)
        listing = list_pairs(settings, bad)
        self.pairs: list[Pair] = listing.pairs
        self.count = len(listing.pairs)
        self.findings: Sequence[Finding] = listing.findings
        self.split: Split | None = None
        self.skipped: Collection[str] = ()

    def examine(self, place: int) -> Examined:
        """Look at a picture and its mask."""
        return examine_pair(self.pairs[place], self.rules)

    def show(self, place: int) -> Shown:
        """The picture and what is known of its mask: unknown values count as ignored."""
        pair = self.pairs[place]
        picture = mask = None
        with contextlib.suppress(DataError):  # which is a finding
            picture = read_picture(pair.picture)
        with contextlib.suppress(DataError):
            mask = self._ids(pair.mask) if pair.mask else None
        return Shown(picture, mask)

    def _ids(self, path: Path) -> np.ndarray:
        labels = self.rules.labels
        try:
            return class_ids(read_mask(path, colours=labels.colours), labels)
        except DataError:
            stored = read_mask(path, colours=True)
            return np.where(stored.any(axis=2), labels.ignore_class, 0).astype(np.uint8)


class LoadedPart:
    """Any other source."""

    def __init__(self, data: DataSettings, settings: SourceSettings, synthetic: SyntheticSettings) -> None:
        self.source = open_one(data, settings, synthetic)
        self.rules = Rules(LabelMap(data.classes, None, data.ignore_class), data, how_bad(data))
        self.count = len(self.source.names)
        self.findings: Sequence[Finding] = [
            Finding(Kind.UNREADABLE, self.rules.bad, reason, (name,)) for name, reason in self.source.skipped.items()
        ]
        self.split = self.source.split
        self.skipped: Collection[str] = self.source.skipped.keys()

    def examine(self, place: int) -> Examined:
        """Look at a sample as it is loaded."""
        return examine_loaded(self.source, place, self.rules)

    def show(self, place: int) -> Shown:
        """The sample as it is loaded."""
        try:
            picture, mask, _ = self.source.load(place)
            return Shown(picture, mask)
        except DataError:
            return Shown(None, None)


def how_bad(data: DataSettings) -> Severity:
    """How bad a sample is that cannot be used: training stops at it, or leaves it out."""
    return Severity.WARNING if data.on_bad_sample == "skip" else Severity.ERROR


def open_parts(data: DataSettings, synthetic: SyntheticSettings) -> list[Part]:
    """All sources of the settings, in their order. Raises ConfigError or DataError if one cannot be opened."""
    return [
        FolderPart(data, settings) if settings.source == "folder" else LoadedPart(data, settings, synthetic)
        for settings in data.sources
    ]
