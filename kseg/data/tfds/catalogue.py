"""Sets of TensorFlow Datasets' catalogue: which of their features are picture and mask, and what the mask means."""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

from kseg.data.annotations.names import LabelNames
from kseg.data.annotations.panoptic import Segment, panoptic_values
from kseg.data.labels import LabelMap
from kseg.data.samples import Original, View
from kseg.data.splits import Split
from kseg.data.tfds.records import Part, Records
from kseg.errors import ConfigError, DataError, did_you_mean
from kseg.settings import DataSettings, SourceSettings, TfdsSettings

GREY, RGB = 1, 3
"""Channels."""

Encode = Callable[[np.ndarray, Any], np.ndarray]
"""From a decoded mask, (H, W, C), and the record's features to class ids uint8 (H, W)."""


class CatalogueSource:
    """Some splits of a set of the catalogue; it is downloaded and prepared if it is not there.

    Names are ``split/000123``, counted from 0 within the set's whole split. Pictures are what TensorFlow Datasets
    makes of them: the orientation in a file's EXIF data is ignored, for pictures and masks alike.
    """

    def __init__(self, data: DataSettings, settings: SourceSettings) -> None:
        chosen = settings.tfds
        self._title = str(chosen.name)
        builder = _ready(chosen)
        self._picture = chosen.picture
        self._mask, self._channel = _split_channel(chosen.mask)
        self._features = builder.info.features
        self._images = self._check_images()
        self._encode = self._segments(data, settings) if chosen.objects else self._values(data, settings)
        training = _parts(builder, chosen.train, "train", chosen)
        validation = _parts(builder, chosen.validation, "validation", chosen) if chosen.validation else []
        self._records = Records([*training, *validation])
        self.names: Sequence[str] = _names(builder, [*training, *validation])
        if len(set(self.names)) < len(self.names):
            raise ConfigError(
                f"data.tfds: train = {chosen.train} and validation = {chosen.validation} have samples in common; "
                'write them as "train[:90%]" and "train[90%:]", for example'
            )
        self.skipped: dict[str, str] = {}
        self.sound = False
        border = sum(part.take for part in training)
        self.split = Split(list(range(border)), list(range(border, len(self.names)))) if validation else None

    def load(self, index: int, view: View | None = None) -> Original:
        """A sample in its own size; may be called from several threads. Raises DataError naming file and record."""
        record = self._records.read(index)
        try:
            features = tf.train.Example.FromString(record).features.feature
            picture = self._decoded(features, self._picture, RGB)
            mask = self._decoded(features, self._mask, self._images[self._mask].shape[-1] or 0)
            mask = mask if self._channel is None else mask[..., self._channel : self._channel + 1]
            if picture.shape[:2] != mask.shape[:2]:
                raise ValueError(f"a mask of {mask.shape[:2]} pixels for a picture of {picture.shape[:2]}")
            return Original.whole(picture, self._encode(mask, features))
        except (DataError, ValueError, IndexError, DecodeError, tf.errors.OpError) as error:
            raise DataError(f"{self._records.where(index)}: {getattr(error, 'message', error)}") from None

    def _check_images(self) -> dict[str, Any]:
        """The features of picture and mask. Raises ConfigError if they are no pictures of the set."""
        pictures = _pictures_in(self._features)
        for key, name in (("picture", self._picture), ("mask", self._mask)):
            if name not in pictures:
                raise ConfigError(
                    f"data.tfds.{key}: {name} is no picture of {self._title}{did_you_mean(name, pictures)}; "
                    f"its pictures are {', '.join(sorted(pictures))}"
                )
            if pictures[name].dtype not in ((np.uint8,) if key == "picture" else (np.uint8, np.uint16)):
                raise ConfigError(f"data.tfds.{key}: {name} of {self._title} stores numbers, and is no picture to use")
        channels = pictures[self._mask].shape[-1]
        if self._channel is not None and channels is not None and self._channel >= channels:
            raise ConfigError(f"data.tfds.mask: {self._mask} has {channels} channels, [0] to [{channels - 1}]")
        return {name: pictures[name] for name in (self._picture, self._mask)}

    def _decoded(self, features: Any, name: str, channels: int) -> np.ndarray:
        """A picture of the record, (H, W, C), as TensorFlow Datasets decodes it; of an animation the first.

        ``channels``: how many it is to have, 0 for those in the file. Of grey, RGB is three times the same; of RGBA,
        what is not transparency.
        """
        content = features[name].bytes_list.value[0]
        kind = tf.uint16 if self._images[name].dtype == np.uint16 else tf.uint8
        return tf.io.decode_image(content, channels, kind, expand_animations=False).numpy()

    def _values(self, data: DataSettings, settings: SourceSettings) -> Encode:
        """Masks store values, or colours."""
        labels = LabelMap(data.classes, settings.mask_values, data.ignore_class)

        def encode(mask: np.ndarray, _: Any) -> np.ndarray:
            if labels.colours:
                return labels.encode(np.repeat(mask, 3, axis=2) if mask.shape[2] == GREY else mask[..., :RGB])
            if (mask[..., 1:RGB] != mask[..., :1]).any():
                raise DataError(
                    "a coloured mask, and data.mask_values names no colours; say what they mean, such as "
                    'mask_values = { "128,0,0" = 1 }, or, where only the first channel is the class, '
                    f'set data.tfds.mask = "{self._mask}[0]"'
                )
            return labels.encode(mask[..., 0])

        return encode

    def _segments(self, data: DataSettings, settings: SourceSettings) -> Encode:
        """Masks store numbers of segments, and another feature lists the segments: see ``panoptic_values``."""
        name = str(settings.tfds.objects)
        listed = getattr(self._features[name], "feature", {}) if name in self._features else {}
        missing = {"id", "label", "is_crowd"} - set(listed)
        if missing:
            raise ConfigError(
                f"data.tfds.objects: {name} of {self._title} lists no segments with {', '.join(sorted(missing))}; "
                f"the set has {', '.join(self._features)}"
            )
        names = listed["label"].names
        labels = LabelNames(data.classes, settings.mask_values, data.ignore_class)
        labels.require_known(self._title, dict.fromkeys(names, 0), names)

        def encode(mask: np.ndarray, features: Any) -> np.ndarray:
            columns = [features[f"{name}/{key}"].int64_list.value for key in ("id", "label", "is_crowd")]
            segments = [Segment(key, names[label], bool(crowd)) for key, label, crowd in zip(*columns, strict=True)]
            return panoptic_values(mask if mask.shape[2] == RGB else mask[..., 0], segments, labels)

        return encode


def _split_channel(mask: str) -> tuple[str, int | None]:
    """``annotation[0]``: of the feature ``annotation`` the first channel alone; others may number the objects."""
    found = re.fullmatch(r"(.+)\[(\d)\]", mask)
    return (found[1], int(found[2])) if found else (mask, None)


def _ready(chosen: TfdsSettings) -> Any:
    """The set's builder, with the set on disk. Raises ConfigError if there is no such set, DataError if it cannot be
    had."""
    try:
        builder = tfds.builder(chosen.name, data_dir=chosen.data_dir)
    except (ValueError, AssertionError, KeyError) as error:  # no such set, config or version
        known = tfds.list_builders(with_community_datasets=False)
        base = str(chosen.name).partition("/")[0].partition(":")[0]
        hint = did_you_mean(base, known) if base not in known else f": {_first_line(error)}"
        raise ConfigError(f"data.tfds.name: {chosen.name} is not in TensorFlow Datasets' catalogue{hint}") from None
    if not builder.is_prepared():
        try:
            builder.download_and_prepare()
        except Exception as error:  # sets of many authors raise what they like
            manual = getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None)
            advice = "it needs a network; or copy the set, and name the folder above it in data.tfds.data_dir"
            if manual:
                place = f"{builder.data_dir_root}/downloads/manual"
                advice = f"it has to be fetched by hand, into {place}: {' '.join(manual.split())}"
            raise DataError(f"{chosen.name}: cannot be had: {_first_line(error)}; {advice}") from None
    if builder.info.file_format is not tfds.core.FileFormat.TFRECORD:
        raise DataError(
            f"{builder.data_dir}: is stored as {builder.info.file_format.value}, kseg reads TFRecord; "
            "prepare it in another data.tfds.data_dir, where TFRecord is the format"
        )
    return builder


def _parts(builder: Any, expression: str, key: str, chosen: TfdsSettings) -> list[Part]:
    """The records that a split expression names, such as ``train[:90%]``."""
    try:
        instructions = builder.info.splits[expression].file_instructions
    except (ValueError, KeyError, AssertionError) as error:
        raise ConfigError(
            f"data.tfds.{key}: {expression} cannot be had of {chosen.name}, whose splits are "
            f'{", ".join(builder.info.splits)}; parts of them are written as "train[:90%]": {_first_line(error)}'
        ) from None
    return [Part(str(file.filename), file.skip, file.take) for file in instructions]


def _names(builder: Any, parts: Sequence[Part]) -> list[str]:
    """Of every record: its split, and its number there."""
    first: dict[str, tuple[str, int]] = {}
    for name, split in builder.info.splits.items():
        starts = accumulate(split.shard_lengths, initial=0)
        first |= {str(path): (name, start) for path, start in zip(split.filepaths, starts, strict=False)}
    return [
        f"{split}/{start + part.skip + number:06}"
        for part in parts
        for split, start in (first[part.path],)
        for number in range(part.take)
    ]


def _pictures_in(features: Any, above: str = "") -> dict[str, Any]:
    """The picture features by name; those within others have the names of those before theirs: ``outer/inner``."""
    found: dict[str, Any] = {}
    for name, feature in features.items():
        if isinstance(feature, tfds.features.Image):
            found[above + name] = feature
        elif isinstance(feature, tfds.features.FeaturesDict):
            found |= _pictures_in(feature, f"{above}{name}/")
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
