"""``source = "tfds"``: sets that ``kseg-data prepare`` wrote, and those of TensorFlow Datasets' catalogue."""

import io
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds

from kseg.data.samples import Original, View
from kseg.data.splits import Split
from kseg.data.tfds.catalogue import CatalogueSource
from kseg.data.tfds.prepared import LENGTHS, TRAINING, VALIDATION, Stored, read_facts
from kseg.data.tfds.records import Part, Records, opened
from kseg.errors import ConfigError, DataError
from kseg.settings import DataSettings, SourceSettings


def open_tfds(data: DataSettings, settings: SourceSettings) -> "PreparedSource | CatalogueSource":
    """The set that ``settings.tfds.name`` or, for a prepared one, ``settings.roots`` names.

    A remote set, such as gs://bucket/set, is named in ``settings.tfds.data_dir``. Raises ConfigError or DataError.
    """
    if settings.tfds.name:
        if settings.roots:
            raise ConfigError(
                f"data.roots: {settings.roots[0]} is given, and data.tfds.name = {settings.tfds.name} as well; "
                "leave out --data for a set of the catalogue, or the name for a prepared set"
            )
        return CatalogueSource(data, settings)
    locations = [*map(str, settings.roots), *([settings.tfds.data_dir] if settings.tfds.data_dir else [])]
    if len(locations) != 1:
        raise ConfigError(
            f"data.roots: {', '.join(locations) or 'nothing'} is given; name the folder of one set that kseg-data "
            "prepare wrote, as --data OUT, and further ones in data.also; or a set of the catalogue in data.tfds.name"
        )
    return PreparedSource(locations[0], data)


class PreparedSource:
    """A set that ``kseg-data prepare`` wrote: samples of one size, in the order that they had in their source."""

    def __init__(self, location: str, data: DataSettings) -> None:
        """Raises DataError if there is no such set there, ConfigError if it was prepared for other settings."""
        facts = read_facts(location)
        _require_fitting(location, facts["classes"], list(data.classes), "classes")
        _require_fitting(location, facts["ignore_class"], data.ignore_class, "ignore_class")
        _require_fitting(location, facts["resize"], data.resize, "resize")
        _require_size(location, facts["image_size"], data.image_size)
        self.names: Sequence[str] = facts["names"]
        self.skipped: dict[str, str] = {}
        self.sound = True
        validation: list[int] = facts["validation"]
        taken = set(validation)
        self.split: Split | None = Split([place for place in range(len(self.names)) if place not in taken], validation)
        splits = tfds.builder_from_directory(location).info.splits
        files = [file for side in (TRAINING, VALIDATION) for file in splits[side].file_instructions]
        with opened(f"{location}/{LENGTHS}") as read_at:
            lengths = np.load(io.BytesIO(read_at(0, 1 << 30)))
        self._records = Records([Part(str(file.filename), file.skip, file.take) for file in files], lengths)
        self._stored_at = np.empty(len(self.names), np.int64)
        self._stored_at[self.split.training + self.split.validation] = np.arange(len(self.names))

    def load(self, index: int, view: View | None = None) -> Original:
        """A sample as it was stored; may be called from several threads. Raises DataError naming file and record."""
        place = int(self._stored_at[index])
        record = self._records.read(place)
        try:
            return Original.whole(*Stored.parse(record).decode())
        except ValueError as error:
            raise DataError(f"{self._records.where(place)} {error}; copy or prepare the set again") from None


def _require_fitting(location: str, prepared: object, wanted: object, key: str) -> None:
    if prepared != wanted:
        raise ConfigError(
            f"data.{key}: {location} was prepared with {prepared}, and the settings say {wanted}; "
            "prepare it again with these settings, or train with those"
        )


def _require_size(location: str, prepared: Sequence[int], wanted: Sequence[int]) -> None:
    """Equal, or smaller and of the same aspect: enlarging would invent what the photos show better."""
    if wanted[0] > prepared[0] or wanted[0] * prepared[1] != wanted[1] * prepared[0]:
        raise ConfigError(
            f"data.image_size: {location} was prepared at {prepared[0]} x {prepared[1]} and the settings say "
            f"{wanted[0]} x {wanted[1]} (height x width); prepare it again at that size, or set "
            f'--set "data.image_size={list(prepared)}"'
        )
