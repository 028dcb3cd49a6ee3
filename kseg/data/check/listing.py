"""What lies in the folders of a data set: pairs, and what is no pair."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kseg.data.check.findings import Finding, Kind, Severity
from kseg.data.folder import titles
from kseg.data.images import MASK_ENDING, PICTURE_ENDINGS
from kseg.errors import ConfigError, DataError
from kseg.settings import SourceSettings

CONVERTIBLE = (
    ".heic",
    ".heif",
    ".avif",
    ".gif",
    ".jfif",
    ".jp2",
    ".jxl",
    ".tga",
    ".psd",
    ".svg",
    ".cr2",
    ".nef",
    ".dng",
)
"""Endings of pictures that training passes over."""

JPEG_ENDINGS = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Pair:
    """A picture and the mask of its stem.

    Attributes:
        name: ``root/stem``, as training names it.
        root: Where it comes from.
        picture: Its file.
        mask: Its mask's file; None if there is none.
        ambiguous: Whether other files have the stem, too, so that training refuses it.
    """

    name: str
    root: Path
    picture: Path
    mask: Path | None
    ambiguous: bool = False


@dataclass
class Listing:
    """All pairs, in the order of training, and what was found of names alone."""

    pairs: list[Pair] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def list_pairs(settings: SourceSettings, bad: Severity) -> Listing:
    """Look through the folders of a source.

    Args:
        settings: Of a folder source.
        bad: How bad it is if a sample cannot be used.

    Raises:
        ConfigError: no folder is named.
        DataError: a folder is not there, cannot be read, or has nothing to train on in it.
    """
    if not settings.roots:
        raise ConfigError("data.roots: no folder is named; give one on the command line as --data DIR")
    listing = Listing()
    for title, root in zip(titles(settings.roots), settings.roots, strict=True):
        _list_root(listing, title, root, settings, bad)
    return listing


def _list_root(listing: Listing, title: str, root: Path, settings: SourceSettings, bad: Severity) -> None:
    images, masks = root / settings.images, root / settings.masks
    pictures, others = _by_stem(images, PICTURE_ENDINGS, "pictures")
    stored, other_masks = _by_stem(masks, (MASK_ENDING,), "masks")
    listing.findings += [_passed_over(path) for path in others]
    for stem in sorted(pictures):
        first, *more = pictures[stem]
        found = stored.get(stem, [])
        name = f"{title}/{stem}"
        ambiguous = bool(more or found[1:])
        listing.pairs.append(Pair(name, root, first, found[0] if found else None, ambiguous))
        listing.findings += [_same_stem(name, first, path) for path in more]
        listing.findings += [_same_stem(name, found[0], path) for path in found[1:]]
        if not found:
            listing.findings.append(_without_mask(name, first, masks, other_masks, bad))
    for path in other_masks:
        listing.findings += _other_mask(path, title, stored, pictures)
    for stem in sorted(stored.keys() - pictures.keys()):
        message = f"{stored[stem][0]}: has no picture {images / stem}.*; add it, or remove the mask"
        listing.findings.append(Finding(Kind.NO_PICTURE, Severity.WARNING, message, files=(stored[stem][0],)))


def _by_stem(folder: Path, endings: tuple[str, ...], what: str) -> tuple[dict[str, list[Path]], list[Path]]:
    """The files with one of the endings, by stem, and all else in the folder."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        setting = "images" if what == "pictures" else "masks"
        raise DataError(
            f"{folder}: {error.strerror}; it should hold the {what} (its name is the setting data.{setting})"
        ) from None
    stems: dict[str, list[Path]] = defaultdict(list)
    others = []
    for path in paths:
        if path.suffix.lower() in endings and not path.name.startswith(".") and not path.is_dir():
            stems[path.stem].append(path)
        else:
            others.append(path)
    if not stems and (what == "pictures" or not others):
        raise DataError(f"{folder}: no {what} in it ({', '.join(endings)})")
    return stems, others


def _passed_over(path: Path) -> Finding:
    if path.name.startswith("."):
        said = "is hidden, and not used; remove it, or rename it if it is a picture"
    elif path.is_dir():
        said = "is a folder, and is not looked into; move its pictures up, or name it in data.roots"
    elif path.suffix.lower() in CONVERTIBLE:
        said = f"is not used: {path.suffix} is not supported; convert it to JPEG or PNG"
    else:
        said = "is no picture, and not used; remove it"
    lost = path.is_dir() or path.suffix.lower() in CONVERTIBLE
    severity = Severity.WARNING if lost and not path.name.startswith(".") else Severity.NOTE
    return Finding(Kind.ENDING, severity, f"{path}: {said}", files=(path,))


def _same_stem(name: str, first: Path, other: Path) -> Finding:
    message = f"{other}: has the stem of {first.name}, and a mask is matched by stem; rename or remove one"
    return Finding(Kind.SAME_STEM, Severity.ERROR, message, (name,), (first, other))


def _without_mask(name: str, picture: Path, masks: Path, others: Sequence[Path], bad: Severity) -> Finding:
    like = [path.name for path in others if path.stem == picture.stem and not path.name.startswith(".")]
    hint = f" (there is {like[0]}, but a mask must be PNG)" if like else ""
    message = f"{picture}: has no mask {masks / picture.stem}{MASK_ENDING}{hint}; add it, or remove the picture"
    return Finding(Kind.NO_MASK, bad, message, (name,), (picture,))


def _other_mask(path: Path, title: str, masks: dict[str, list[Path]], pictures: dict[str, list[Path]]) -> list[Finding]:
    """What is to be said of a file among the masks that is no mask."""
    if path.suffix.lower() not in JPEG_ENDINGS or path.name.startswith("."):
        return [_passed_over(path)]
    alone = path.stem not in masks
    message = f"{path}: a JPEG changes the values of a mask, and is not used; " + (
        "save the labels anew as PNG" if alone else f"{path.stem}{MASK_ENDING} is there: remove it"
    )
    samples = (f"{title}/{path.stem}",) if path.stem in pictures else ()
    return [Finding(Kind.LOSSY, Severity.ERROR if alone else Severity.NOTE, message, samples, (path,))]
