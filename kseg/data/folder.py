"""Pictures and masks in two folders, matched by name."""

from collections.abc import Sequence
from pathlib import Path

from kseg.data.images import MASK_ENDING, PICTURE_ENDINGS, read_mask, read_photo
from kseg.data.labels import LabelMap
from kseg.data.samples import Original, View
from kseg.data.splits import Split
from kseg.errors import ConfigError, DataError
from kseg.settings import DataSettings, SourceSettings

ASPECT_TOLERANCE = 0.01
"""A mask may be smaller than its photo, but its shape may differ by this much only (and by rounding to pixels)."""

SHOWN = 5
"""How many files a message lists."""


class FolderSource:
    """Pictures and masks in the folders ``images`` and ``masks`` below one or several roots, matched by stem.

    Names are ``root/stem``, sorted by stem within a root; roots keep their order. With ``on_bad_sample = "skip"``
    pictures without a mask are left out and listed, with the reason, in ``skipped``.
    """

    def __init__(self, data: DataSettings, settings: SourceSettings | None = None) -> None:
        """``settings`` say where the folders are and what their masks mean; none: ``data`` itself does."""
        settings = settings or data
        if not settings.roots:
            raise ConfigError(
                "data.roots: no folder is named; give one on the command line as --data DIR, where "
                f"DIR/{settings.images} holds the pictures and DIR/{settings.masks} their masks"
            )
        self.split: Split | None = None
        self.sound = False
        self.labels = LabelMap(data.classes, settings.mask_values, data.ignore_class)
        self.skipped: dict[str, str] = {}
        self._pairs: dict[str, tuple[Path, Path]] = {}
        skip = data.on_bad_sample == "skip"
        for title, root in zip(titles(settings.roots), settings.roots, strict=True):
            pictures = by_stem(root / settings.images, PICTURE_ENDINGS, "pictures")
            masks = by_stem(root / settings.masks, (MASK_ENDING,), "masks")
            missing = [pictures[stem] for stem in sorted(pictures.keys() - masks.keys())]
            if missing and not skip:
                raise DataError(_complain_of_missing(missing, root / settings.masks))
            self.skipped |= {f"{title}/{path.stem}": f"{path}: has no mask" for path in missing}
            for stem in sorted(pictures.keys() & masks.keys()):
                self._pairs[f"{title}/{stem}"] = pictures[stem], masks[stem]
        self.names: Sequence[str] = list(self._pairs)

    def load(self, index: int, view: View | None = None) -> Original:
        """Read a picture and its mask; the mask may be smaller or larger, but only of the same aspect."""
        picture_path, mask_path = self._pairs[self.names[index]]
        photo = read_photo(picture_path, view)
        stored = read_mask(mask_path, colours=self.labels.colours)
        require_same_aspect(picture_path, photo.size, mask_path, stored.shape[:2])
        try:
            return Original(photo.pixels, self.labels.encode(stored), photo.size)
        except DataError as error:
            raise DataError(f"{mask_path}: {error}") from None


def titles(roots: Sequence[Path]) -> list[str]:
    """A short, distinct name for each root: its last folder, or all of its path where those are alike."""
    short = [root.absolute().name for root in roots]
    if len({root.resolve() for root in roots}) != len(roots):
        raise DataError(f"data.roots: one folder is named twice among {', '.join(map(str, roots))}; name it once")
    return short if len(set(short)) == len(short) else [str(root) for root in roots]


def by_stem(folder: Path, endings: tuple[str, ...], what: str) -> dict[str, Path]:
    """The files of a folder by their stems, sorted. Raises DataError if there are none, or two of a stem."""
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


def require_same_aspect(picture_path: Path, picture: tuple[int, ...], mask_path: Path, mask: tuple[int, ...]) -> None:
    """Compare two sizes, (height, width) each. Raises DataError naming both files, and the likely cause."""

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
