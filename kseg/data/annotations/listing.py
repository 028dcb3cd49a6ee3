"""What COCO's instance and panoptic files have in common: lists of pictures, categories and annotations, with ids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kseg.data.annotations.annotated import Entry, picture_path, read_json, stated_size
from kseg.data.samples import Size
from kseg.errors import DataError

Id = int | str


class Listed(NamedTuple):
    """One of ``images``; without a height or a width, no size is stated."""

    id: Id
    name: Any
    size: Size | None


class Listing(NamedTuple):
    """A whole file.

    Attributes:
        labels: Categories' names, by their ids.
        pictures: Names of samples, and what is known of their pictures, by the pictures' ids; nothing drawn yet.
        annotations: As ``convert`` made them.
    """

    labels: dict[Id, str]
    pictures: dict[Id, tuple[str, Entry[Any]]]
    annotations: list[Any]


def read_listing(file: Path, folder: Path, convert: Callable[[dict[str, Any]], Any]) -> Listing:
    """Read a file whose pictures are in ``folder``.

    ``convert`` makes what is kept of each object that is no picture as soon as it is read, since Python's own objects
    take many times the size of the text. Raises DataError if the file is none of COCO's, or contradicts itself.
    """
    whole = read_json(file, lambda found: _picture(found) or convert(found))
    images, categories, annotations = (_list(whole, key, file) for key in ("images", "categories", "annotations"))
    labels: dict[Id, str] = {}
    for number, category in enumerate(categories):
        if not isinstance(category, dict) or not has_ids(category, "id") or not isinstance(category.get("name"), str):
            raise DataError(f"{file}: categories[{number}] has no id or no name; add it")
        if category["id"] in labels:
            raise DataError(f"{file}: two categories have the id {category['id']}; number them anew")
        labels[category["id"]] = category["name"]
    pictures: dict[Id, tuple[str, Entry[Any]]] = {}
    names: dict[str, Id] = {}
    for number, image in enumerate(images):
        if not isinstance(image, Listed):
            raise DataError(f"{file}: images[{number}] has no id or no file_name; add it")
        name, path = picture_path(folder, image.name, file)
        if image.id in pictures or name in names:
            what = f"the id {image.id}" if image.id in pictures else f"the name {name}, but for the ending"
            raise DataError(f"{file}: two pictures have {what}; were two files joined? Give them ids and names anew")
        names[name] = image.id
        pictures[image.id] = name, Entry(path, file, image.size, None)
    return Listing(labels, pictures, annotations)


def has_ids(found: dict[str, Any], *keys: str) -> bool:
    """Whether an object of JSON has all these, and they can be ids."""
    return all(isinstance(found.get(key), int | str) for key in keys)


def _picture(found: dict[str, Any]) -> Listed | None:
    if "file_name" not in found or "segments_info" in found or not has_ids(found, "id"):
        return None
    return Listed(found["id"], found["file_name"], stated_size(found.get("height"), found.get("width")))


def _list(whole: Any, key: str, file: Path) -> list[Any]:
    if not isinstance(whole, dict) or not isinstance(whole.get(key), list):
        raise DataError(f"{file}: has no list {key}; is it an instance or a panoptic file of COCO?")
    return list(whole[key])
