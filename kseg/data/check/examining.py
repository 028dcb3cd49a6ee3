"""One sample, looked at from all sides: its picture, its mask, and the two together."""

from pathlib import Path

import cv2
import numpy as np

from kseg.data.check.contents import ENDINGS, cut_off, right_ending, type_of, unwritten
from kseg.data.check.duplicates import SIDE, Look
from kseg.data.check.examined import Examined, Rules
from kseg.data.check.findings import Kind, Severity
from kseg.data.check.listing import Pair
from kseg.data.check.masks import class_ids, judge_mask
from kseg.data.check.turning import lies_as_stored
from kseg.data.folder import require_same_aspect
from kseg.data.images import Glance, glance, read_mask
from kseg.data.labels import LabelMap
from kseg.data.orientation import TURNED
from kseg.data.samples import Size, Source
from kseg.errors import DataError

SOFT_VALUES = 20
"""More unknown values than these are no classes, but shades between them."""

EDGES_SIDE = 64
"""At least so many pixels high and wide is a photo in which edges are looked for, if it has them."""


def examine_pair(pair: Pair, rules: Rules) -> Examined:
    """Look at a picture and its mask."""
    seen = Examined(pair.name, pair.picture, pair.mask, ambiguous=pair.ambiguous)
    photo = _examine_picture(seen, pair.picture, rules)
    ids = _examine_mask(seen, pair.mask, rules) if pair.mask else None
    if photo and pair.mask and seen.mask_size and not _agree(seen, photo, pair.picture, pair.mask, ids, rules):
        return seen
    if ids is not None:
        judge_mask(seen, ids, str(pair.mask), rules.data)
    return seen


def examine_loaded(source: Source, index: int, rules: Rules) -> Examined:
    """Look at a sample that its source puts together, from files or not."""
    seen = Examined(source.names[index])
    try:
        picture, ids, _ = source.load(index)
    except DataError as error:
        seen.add(Kind.UNREADABLE, rules.bad, str(error))
        return seen
    seen.size, seen.mask_size = picture.shape[:2], ids.shape[:2]
    seen.look = Look.of(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), picture.data)
    judge_mask(seen, ids, seen.name, rules.data)
    return seen


def _examine_picture(seen: Examined, path: Path, rules: Rules) -> Glance | None:
    content = b""
    try:
        content = path.read_bytes()
        photo = glance(path, content, SIDE)
    except (DataError, OSError) as error:
        _note_broken(seen, path, content, error, rules.bad)
        return None
    if unwritten(content):
        message = f"{path}: ends in zeros that were never written over, as of an interrupted download; copy it again"
        seen.add(Kind.TRUNCATED, Severity.ERROR, message, path)
        return None
    _note_ending(seen, path, content)
    seen.size = photo.size
    seen.look = Look.of(photo.grey, content)
    return photo


def _examine_mask(seen: Examined, path: Path, rules: Rules) -> np.ndarray | None:
    """The class ids of a mask: uint8 (h, w). None, with the reason found, if it cannot be used."""
    content = b""
    try:
        content = path.read_bytes()
        stored = read_mask(path, colours=rules.labels.colours)
    except (DataError, OSError) as error:
        if _is_coloured(path):
            colours = read_mask(path, colours=True)
            seen.mask_size = colours.shape[:2]
            black_only = LabelMap(rules.labels.classes, {"0,0,0": 0}, rules.labels.ignore_class)
            _note_unknown(seen, path, content, colours, black_only, rules.bad, '; name black, too: "0,0,0" = 0')
        else:
            _note_broken(seen, path, content, error, rules.bad)
        return None
    seen.mask_size = stored.shape[:2]
    try:
        ids = class_ids(stored, rules.labels)
    except DataError:
        _note_unknown(seen, path, content, stored, rules.labels, rules.bad)
        return None
    if type_of(content) == "JPEG":
        message = f"{path}: is a JPEG, which changes the values of a mask; save the labels anew as PNG"
        seen.add(Kind.LOSSY, Severity.ERROR, message, path)
    else:
        _note_ending(seen, path, content)
    return ids


def _is_coloured(path: Path) -> bool:
    """Whether a mask that cannot be read as values can be read as colours."""
    try:
        read_mask(path, colours=True)
    except DataError:
        return False
    return True


def _note_broken(seen: Examined, path: Path, content: bytes, error: Exception, bad: Severity) -> None:
    found = type_of(content)
    if found not in ENDINGS and found is not None:
        kind, message = Kind.WRONG_TYPE, f"{path}: is {found}, whatever its name says; replace or remove it"
    elif content and cut_off(content):
        kind, message = Kind.TRUNCATED, str(error)
    else:
        kind, message = Kind.UNREADABLE, str(error)
    seen.add(kind, bad, message, path)


def _note_ending(seen: Examined, path: Path, content: bytes) -> None:
    found, ending = type_of(content), right_ending(path, content)
    if ending:
        advice = f"name it {path.stem}{ending}" if path != seen.mask else "save it anew as PNG"
    elif found in ENDINGS:
        return
    else:
        advice = "save it anew as PNG"
    message = f"{path}: is {found or 'of another type'}, whatever its name says; it can be read, but {advice}"
    seen.add(Kind.WRONG_TYPE, Severity.WARNING, message, path)


def _note_unknown(
    seen: Examined, path: Path, content: bytes, stored: np.ndarray, labels: LabelMap, bad: Severity, advice: str = ""
) -> None:
    """A mask with values that are not known, and which: soft edges or JPEG, where they are many."""
    try:
        labels.encode(stored)
    except DataError as error:
        values = np.unique(stored.reshape(-1, *stored.shape[2:]), axis=0)
        lossy = type_of(content) == "JPEG" or len(values) > SOFT_VALUES
        seen.add(Kind.LOSSY if lossy else Kind.UNKNOWN_VALUES, bad, f"{path}: {error}{advice}", path)


def _agree(seen: Examined, photo: Glance, picture: Path, mask: Path, ids: np.ndarray | None, rules: Rules) -> bool:
    """Whether picture and mask can be of one view; what is odd about the two is noted."""
    size = seen.mask_size or photo.size
    complaint = _complaint(picture, photo.size, mask, size)
    complaint_as_stored = _complaint(
        picture, photo.size[::-1] if photo.orientation in TURNED else photo.size, mask, size
    )
    if complaint is None:
        if photo.orientation > 1 and ids is not None and complaint_as_stored is None:
            _judge_direction(seen, photo, picture, mask, ids)
        return True
    height, width = size
    if photo.orientation in TURNED and complaint_as_stored is None:
        seen.add(Kind.EXIF, rules.bad, complaint)
    elif _complaint(picture, photo.size[::-1], mask, size) is None:
        message = (
            f"{mask}: is {width} x {height} (width x height), its photo {picture.name} is {photo.size[1]} x "
            f"{photo.size[0]}: one of the two is turned by a quarter; turn the mask as the photo is seen"
        )
        seen.add(Kind.ASPECT, rules.bad, message)
    else:
        seen.add(Kind.ASPECT, rules.bad, complaint)
    return False


def _complaint(picture: Path, photo: Size, mask: Path, size: Size) -> str | None:
    try:
        require_same_aspect(picture, photo, mask, size)
    except DataError as error:
        return str(error)
    return None


def _judge_direction(seen: Examined, photo: Glance, picture: Path, mask: Path, ids: np.ndarray) -> None:
    """Note a mask that was drawn on the photo as it is stored, and fits it in shape all the same."""
    larger = glance(picture, picture.read_bytes(), EDGES_SIDE)
    if lies_as_stored(larger.grey, ids, photo.orientation):
        message = (
            f"{mask}: fits {picture.name} only as that is stored; its EXIF orientation {photo.orientation} turns the "
            "photo, and nothing turns the mask: turn it as the photo is seen"
        )
        seen.add(Kind.EXIF, Severity.WARNING, message)
