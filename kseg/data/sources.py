"""Where samples come from: what the settings name is opened here, and several sources become one."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from kseg.data.annotations.coco import CocoSource
from kseg.data.annotations.cvat import CvatSource
from kseg.data.annotations.labelme import LabelmeSource
from kseg.data.annotations.panoptic import PanopticSource
from kseg.data.folder import FolderSource
from kseg.data.samples import Original, Source, View
from kseg.data.splits import Split
from kseg.data.synthetic import PARTS, draw_scene
from kseg.errors import ConfigError, DataError
from kseg.settings import DataSettings, SourceSettings, SyntheticSettings

FILES: dict[str, Callable[[DataSettings, SourceSettings], Source]] = {
    "folder": FolderSource,
    "coco": CocoSource,
    "panoptic": PanopticSource,
    "labelme": LabelmeSource,
    "cvat": CvatSource,
}
"""The sources that are files below roots, by their kind."""


class SyntheticSource:
    """People scenes drawn by ``kseg.data.synthetic`` at the size asked for; nothing is read from disk."""

    def __init__(self, settings: SyntheticSettings, size: tuple[int, int]) -> None:
        self.seed = settings.seed
        self.level = settings.level
        self.size = size
        self.parts = settings.labels == "parts"
        self.skipped: dict[str, str] = {}
        self.split: Split | None = None
        self.sound = True
        digits = len(str(settings.scenes - 1))
        self.names: Sequence[str] = [f"scene-{index:0{digits}}" for index in range(settings.scenes)]

    def load(self, index: int, view: View | None = None) -> Original:
        """Draw a scene; the mask holds ids into ``PARTS``, or 1 where any person is."""
        picture, parts = draw_scene(self.seed, index, *self.size, self.level)
        return Original.whole(picture, parts if self.parts else (parts > 0).astype(np.uint8))


class Joined:
    """Several sources one after the other, in the settings' order."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        """``weights``: how many times an epoch the training samples of each source come.

        Raises DataError if there are no samples, or two have one name.
        """
        self.sources = sources
        self.names: Sequence[str] = [name for source in sources for name in source.names]
        self.skipped = {name: reason for source in sources for name, reason in source.skipped.items()}
        self.sound = all(source.sound for source in sources)
        self.weights = np.repeat(np.asarray(weights, np.float64), [len(source.names) for source in sources])
        """One per sample, float64 (N,)."""
        self._ends = list(accumulate(len(source.names) for source in sources))
        self.split: Split | None = self._own_split()
        if not self.names:
            raise DataError(complain_of_none(list(self.skipped.values())))
        shared = shared_names(self.names)
        if shared:
            raise DataError(complain_of_shared(shared))

    def load(self, index: int, view: View | None = None) -> Original:
        """The sample as its own source loads it."""
        number = bisect_right(self._ends, index)
        return self.sources[number].load(index - self._starts[number], view)

    @property
    def _starts(self) -> list[int]:
        return [0, *self._ends]

    def _own_split(self) -> Split | None:
        """Those samples whose source says itself where they belong."""
        split = Split([], [])
        for start, source in zip(self._starts, self.sources, strict=False):
            if source.split:
                split.training.extend(start + index for index in source.split.training)
                split.validation.extend(start + index for index in source.split.validation)
        return split if any(split) else None


def open_source(data: DataSettings, synthetic: SyntheticSettings) -> Joined:
    """All sources that the settings name, as one. Raises ConfigError or DataError if one cannot be."""
    sources = [open_one(data, settings, synthetic) for settings in data.sources]
    return Joined(sources, [settings.weight for settings in data.sources])


def shared_names(names: Sequence[str]) -> list[str]:
    """Those that stand there more than once, each once, in their order."""
    return [name for name, count in Counter(names).items() if count > 1]


def complain_of_shared(names: Sequence[str]) -> str:
    """What to say of names that samples of several sources have."""
    more = f" ({len(names)} such names)" if len(names) > 1 else ""
    return f"data.also: two sources have a sample called {names[0]}{more}; rename the folder of one"


def complain_of_none(reasons: Sequence[str]) -> str:
    """What to say where no sample can be used, for these reasons."""
    if not reasons:
        return "there is no sample in any source; look at data.roots, and at what they hold"
    return f"none of {len(reasons)} samples can be used; the first: {reasons[0]}"


def open_one(data: DataSettings, settings: SourceSettings, synthetic: SyntheticSettings) -> Source:
    """One of the settings' sources. Raises ConfigError or DataError if it cannot be."""
    if settings.source == "synthetic":
        return _open_synthetic(data, settings, synthetic)
    if settings.source == "tfds":
        from kseg.data.tfds.source import open_tfds  # takes seconds, and few need it

        return open_tfds(data, settings)
    return FILES[settings.source](data, settings)


def _open_synthetic(data: DataSettings, settings: SourceSettings, synthetic: SyntheticSettings) -> SyntheticSource:
    if settings.roots:
        raise ConfigError(
            f"data.roots: {settings.roots[0]} is given, but the pictures are drawn (data.source = synthetic); "
            "add --set data.source=folder to train on the folder"
        )
    if settings.mask_values:
        raise ConfigError("data.mask_values: drawn scenes need no mapping; remove it")
    needed = 1 if synthetic.labels == "person" else len(PARTS)
    if data.num_classes != needed:
        raise ConfigError(
            f"data.classes: {data.num_classes} names, but synthetic.labels = {synthetic.labels} has {needed}"
            + (f": classes = {list(PARTS)}" if needed > 1 else "")
        )
    return SyntheticSource(synthetic, data.image_size)
