"""What samples are judged by, and what is kept of each."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kseg.data.check.duplicates import Look
from kseg.data.check.findings import Finding, Kind, Severity
from kseg.data.labels import LabelMap
from kseg.data.samples import Size
from kseg.settings import DataSettings


@dataclass(frozen=True)
class Rules:
    """What samples are judged by.

    Attributes:
        labels: What the masks of the folder mean.
        data: The settings of the training.
        bad: How bad it is if a sample cannot be used.
    """

    labels: LabelMap
    data: DataSettings
    bad: Severity


@dataclass
class Examined:
    """What was seen of a sample; small, since those of all samples are kept.

    Attributes:
        name: The sample's.
        picture: Its picture's file, if that is one.
        mask: Its mask's file, if there is one.
        findings: What is wrong with it.
        size: (height, width) of the upright picture; None if it cannot be read.
        mask_size: (height, width) of the mask; None if it cannot be read.
        pixels: Of each class id, int64 (K + 1,), the last of those ignored; None if the mask cannot be used.
        look: What it is compared with others by.
        ambiguous: Whether other files have its stem.
    """

    name: str
    picture: Path | None = None
    mask: Path | None = None
    findings: list[Finding] = field(default_factory=list)
    size: Size | None = None
    mask_size: Size | None = None
    pixels: np.ndarray | None = None
    look: Look | None = None
    ambiguous: bool = False

    @property
    def usable(self) -> bool:
        """Whether training can load it."""
        return self.size is not None and self.pixels is not None

    @property
    def files(self) -> tuple[Path, ...]:
        """Its picture and its mask."""
        return tuple(path for path in (self.picture, self.mask) if path)

    def add(self, kind: Kind, severity: Severity, message: str, *files: Path) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, severity, message, (self.name,), files or self.files))
