"""Where samples come from. A source is a sorted list of names and a way to load each.

A sample is a picture, uint8 (H, W, 3) RGB, and its mask, uint8 (H, W) class ids, both upright and of any size.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from kseg.data.images import MASK_ENDING, PICTURE_ENDINGS, read_mask, read_picture
from kseg.data.labels import LabelMap
from kseg.data.synthetic import PARTS, draw_scene
from kseg.errors import ConfigError, DataError
from kseg.settings import DataSettings, SyntheticSettings

ASPECT_TOLERANCE = 0.01
"""A mask may be smaller than its photo, but its shape may differ by this much only (and by rounding to pixels)."""

SHOWN = 5
"""How many files a message lists."""


class Sample(NamedTuple):
    """A picture, uint8 (H, W, 3) RGB, and its mask, uint8 (h, w) class ids, of the same aspect."""

    picture: np.ndarray
    mask: np.ndarray


class Source(Protocol):
    """A finite, ordered list of samples."""

    names: Sequence[str]
    skipped: dict[str, str]
    """Samples that were left out when the source was opened, and why."""

    def load(self, index: int) -> Sample:
        """Read one sample; may be called from several threads. Raises DataError naming the file."""


class FolderSource:
    """Pictures and masks in the folders ``images`` and ``masks`` below one or several roots, matched by stem.

    Names are ``root/stem``, sorted by stem within a root; roots keep their order. With ``on_bad_sample = "skip"``
    pictures without a mask are left out and listed, with the reason, in ``skipped``.
    """

    def __init__(self, settings: DataSettings) -> None:
        if not settings.roots:
            raise ConfigError(
                "data.roots: no folder is named; give one on the command line as --data DIR, where "
                f"DIR/{settings.images} holds the pictures and DIR/{settings.masks} their masks"
            )
        self.labels = LabelMap(settings.classes, settings.mask_values, settings.ignore_class)
        self.skipped: dict[str, str] = {}
        self._pairs: dict[str, tuple[Path, Path]] = {}
        skip = settings.on_bad_sample == "skip"
        for title, root in zip(_titles(settings.roots), settings.roots, strict=True):
            pictures = _by_stem(root / settings.images, PICTURE_ENDINGS, "pictures")
            masks = _by_stem(root / settings.masks, (MASK_ENDING,), "masks")
            missing = [pictures[stem] for stem in sorted(pictures.keys() - masks.keys())]
            if missing and not skip:
                raise DataError(_complain_of_missing(missing, root / settings.masks))
            self.skipped |= {f"{title}/{path.stem}": f"{path}: has no mask" for path in missing}
            for stem in sorted(pictures.keys() & masks.keys()):
                self._pairs[f"{title}/{stem}"] = pictures[stem], masks[stem]
        self.names: Sequence[str] = list(self._pairs)

    def load(self, index: int) -> Sample:
        """Read a picture and its mask; the mask may be smaller or larger, but only of the same aspect."""
        picture_path, mask_path = self._pairs[self.names[index]]
        picture = read_picture(picture_path)
        stored = read_mask(mask_path, colours=self.labels.colours)
        _require_same_aspect(picture_path, picture.shape[:2], mask_path, stored.shape[:2])
        try:
            return Sample(picture, self.labels.encode(stored))
        except DataError as error:
            raise DataError(f"{mask_path}: {error}") from None


class SyntheticSource:
    """People scenes drawn by ``kseg.data.synthetic`` at the size asked for; nothing is read from disk."""

    def __init__(self, settings: SyntheticSettings, size: tuple[int, int]) -> None:
        self.seed = settings.seed
        self.level = settings.level
        self.size = size
        self.parts = settings.labels == "parts"
        self.skipped: dict[str, str] = {}
        digits = len(str(settings.scenes - 1))
        self.names: Sequence[str] = [f"scene-{index:0{digits}}" for index in range(settings.scenes)]

    def load(self, index: int) -> Sample:
        """Draw a scene; the mask holds ids into ``PARTS``, or 1 where any person is."""
        picture, parts = draw_scene(self.seed, index, *self.size, self.level)
        return Sample(picture, parts if self.parts else (parts > 0).astype(np.uint8))


def open_source(data: DataSettings, synthetic: SyntheticSettings) -> FolderSource | SyntheticSource:
    """The source that the settings name."""
    if data.source == "folder":
        return FolderSource(data)
    if data.roots:
        raise ConfigError(
            f"data.roots: {data.roots[0]} is given, but the pictures are drawn (data.source = synthetic); "
            "add --set data.source=folder to train on the folder"
        )
    if data.mask_values:
        raise ConfigError("data.mask_values: drawn scenes need no mapping; remove it")
    needed = 1 if synthetic.labels == "person" else len(PARTS)
    if data.num_classes != needed:
        raise ConfigError(
            f"data.classes: {data.num_classes} names, but synthetic.labels = {synthetic.labels} has {needed}"
            + (f": classes = {list(PARTS)}" if needed > 1 else "")
        )
    return SyntheticSource(synthetic, data.image_size)


def _titles(roots: Sequence[Path]) -> list[str]:
    """A short, distinct name for each root: its last folder, or all of its path where those are alike."""
    short = [root.absolute().name for root in roots]
    if len({root.resolve() for root in roots}) != len(roots):
        raise DataError(f"data.roots: one folder is named twice among {', '.join(map(str, roots))}; name it once")
    return short if len(set(short)) == len(short) else [str(root) for root in roots]


def _by_stem(folder: Path, endings: tuple[str, ...], what: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; it should hold the {what} "
            f"(its name is the setting data.{'images' if what == 'pictures' else 'masks'})"
        )
    try:
        files = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in endings and not path.name.startswith(".")
        )
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from None
    if not files:
        others = sorted({path.suffix for path in folder.iterdir() if path.suffix})
        found = f"; it holds {', '.join(others[:SHOWN])} files" if others else "; it is empty"
        raise DataError(f"{folder}: no {what} in it ({', '.join(endings)}){found}")
    stems: dict[str, Path] = {}
    for path in files:
        if path.stem in stems:
            raise DataError(
                f"{path}: has the stem of {stems[path.stem].name}, and a mask is matched by stem; rename or remove one"
            )
        stems[path.stem] = path
    return stems


def _complain_of_missing(missing: Sequence[Path], masks: Path) -> str:
    shown = ", ".join(path.name for path in missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
    return (
        f"{missing[0]}: has no mask {masks / missing[0].stem}{MASK_ENDING} ({len(missing)} without one: {shown}); "
        'add them, or leave the pictures out with on_bad_sample = "skip"'
    )


def _require_same_aspect(picture_path: Path, picture: tuple[int, ...], mask_path: Path, mask: tuple[int, ...]) -> None:
    def agrees(height: int, width: int) -> bool:
        rounding = 1 / mask[0] + 1 / mask[1]
        return abs((mask[1] / mask[0]) / (width / height) - 1) <= ASPECT_TOLERANCE + rounding

    if agrees(picture[0], picture[1]):
        return
    turned = agrees(picture[1], picture[0])
    raise DataError(
        f"{mask_path}: is {mask[1]} x {mask[0]} (width x height), its photo {picture_path.name} is "
        f"{picture[1]} x {picture[0]}, another aspect; "
        + (
            "the photo seems to be turned by its EXIF orientation and the mask not: turn the mask as the photo is seen"
            if turned
            else "make the mask for the whole photo, or remove the pair"
        )
    )
