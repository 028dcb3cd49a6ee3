"""COCO's panoptic annotations: a PNG of segments for each picture (Kirillov et al. 2019)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kseg.data.annotations.annotated import AnnotatedSource, Entry, Reading, is_there, picture_path
from kseg.data.annotations.listing import Id, has_ids, read_listing
from kseg.data.annotations.names import LabelNames
from kseg.data.images import read_mask
from kseg.data.samples import Size
from kseg.errors import DataError

SHOWN = 6
"""How many unknown segments a message lists."""


class Segment(NamedTuple):
    """A region of a panoptic picture.

    Attributes:
        id: Of its pixels; 0 is no segment.
        label: The name of its category.
        crowd: Whether it holds many objects.
    """

    id: int
    label: str
    crowd: bool = False


def panoptic_values(panoptic: np.ndarray, segments: Sequence[Segment], labels: LabelNames) -> np.ndarray:
    """Class ids uint8 (H, W) of a panoptic picture.

    Args:
        panoptic: Segments' ids, integers (H, W); or uint8 (H, W, 3) RGB, of which an id is R + 256 G + 65536 B.
        segments: Of the picture. One may have no pixel; pixels of no segment have the id 0.
        labels: What the segments' labels mean.

    Raises:
        DataError: without the file's name, which the caller knows: a pixel's id is none of a segment, two segments
            have one, or a label is unknown.
    """
    if panoptic.ndim == 3:
        red, green, blue = np.moveaxis(panoptic.astype(np.int32), -1, 0)
        panoptic = red | green << 8 | blue << 16
    for key, count in Counter(segment.id for segment in segments).items():
        if key == 0 or count > 1:
            raise DataError(f"{count} segments with the id {key}; {'0 is none' if key == 0 else 'an id is one only'}")
    values = np.full(panoptic.shape, labels.void, np.uint8)
    known = panoptic == 0
    for segment in segments:
        inside = panoptic == segment.id
        values[inside] = labels.id_of(segment.label, segment.crowd)
        known |= inside
    if not known.all():
        raise DataError(_complain(panoptic[~known]))
    return values


class Listed(NamedTuple):
    """One of ``annotations``: the ids of its picture and, in turn, of each segment and its category."""

    image: Id
    name: Any
    segments: list[Any]


class Drawn(NamedTuple):
    """A panoptic PNG and what it shows."""

    path: Path
    segments: list[Segment]


class PanopticSource(AnnotatedSource[Drawn]):
    """Pictures in the folder ``images``, their PNG in the folder ``masks``, and the file ``annotations``.

    Such as ``annotations/panoptic_val2017.json``, with ``masks = "annotations/panoptic_val2017"``. A PNG has the size
    that is stated for its picture.
    """

    kind = "panoptic"
    covers_all = True

    def _read(self, root: Path) -> Reading[Drawn]:
        file = self._annotation_file(root, ".json")
        listing = read_listing(file, root / self.settings.images, _convert)
        counts: Counter[str] = Counter()
        entries: dict[str, Entry[Drawn]] = {}
        for number, annotation in enumerate(listing.annotations):
            if not isinstance(annotation, Listed):
                raise DataError(f"{file}: annotations[{number}] has no image_id, file_name or segments_info; add it")
            if annotation.image not in listing.pictures:
                raise DataError(
                    f"{file}: annotations[{number}] has the image_id {annotation.image!r}, which is not listed"
                )
            name, entry = listing.pictures[annotation.image]
            if name in entries:
                raise DataError(f"{file}: two annotations have the image_id {annotation.image!r}; remove one")
            segments = [
                _segment(found, listing.labels, f"{file}: annotations[{number}]") for found in annotation.segments
            ]
            counts.update(segment.label for segment in segments)
            _, path = picture_path(root / self.settings.masks, annotation.name, file)
            entries[name] = entry._replace(drawn=Drawn(path, segments))
        faults = {
            name: f"{file}: has no segments for {entry.picture}"
            for name, entry in listing.pictures.values()
            if name not in entries
        }
        faults |= {
            name: f"{entry.drawn.path}: no such file, and {file} describes it; is its folder the setting data.masks?"
            for name, entry in entries.items()
            if not is_there(entry.drawn.path)
        }
        return Reading(entries, counts, set(listing.labels.values()), faults)

    def _draw(self, drawn: Drawn, size: Size) -> np.ndarray:
        panoptic = read_mask(drawn.path, colours=True)
        if panoptic.shape[:2] != size:
            raise DataError(
                f"{drawn.path} is {panoptic.shape[1]} x {panoptic.shape[0]} (width x height), "
                f"its picture {size[1]} x {size[0]}; use the picture that was annotated"
            )
        try:
            return panoptic_values(panoptic, drawn.segments, self.labels)
        except DataError as error:
            raise DataError(f"{drawn.path}: {error}") from None


def _convert(found: dict[str, Any]) -> Any:
    if has_ids(found, "image_id") and "file_name" in found and isinstance(found.get("segments_info"), list):
        return Listed(found["image_id"], found["file_name"], found["segments_info"])
    if has_ids(found, "id", "category_id"):
        return found["id"], found["category_id"], bool(found.get("iscrowd"))
    return found


def _segment(found: Any, labels: dict[Id, str], where: str) -> Segment:
    if not isinstance(found, tuple) or not isinstance(found[0], int):
        raise DataError(f"{where}: a segment has no id that is a number, or no category_id; add it")
    number, category, crowd = found
    if category not in labels:
        raise DataError(f"{where}: segment {number} has the category_id {category!r}, which is not listed")
    return Segment(number, labels[category], crowd)


def _complain(unknown: np.ndarray) -> str:
    ids, counts = np.unique(unknown, return_counts=True)
    by_count = np.argsort(-counts)
    shown = ", ".join(f"{ids[i]} ({counts[i]} pixels)" for i in by_count[:SHOWN])
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"ids of no segment: {shown}{more}; are the PNG and the segments of one picture, and of one version?"
