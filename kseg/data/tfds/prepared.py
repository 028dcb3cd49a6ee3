"""The set that ``kseg-data prepare`` writes: how samples are stored, and what TensorFlow Datasets knows of it.

It can be read without kseg, too: ``tfds.builder_from_directory(OUT).as_dataset(split="train")``.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from tensorflow_datasets.core.writer import ExampleWriter

from kseg import __version__
from kseg.data.samples import Sample
from kseg.data.splits import Split
from kseg.data.tfds.records import opened
from kseg.errors import DataError
from kseg.settings import DataSettings

UNFILTERED = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
"""PNG's filters make files smaller, and take most of the time of decoding a mask."""

PLAIN = (*UNFILTERED, cv2.IMWRITE_PNG_COMPRESSION, 0)
"""Pictures: a compressed PNG has half the bytes and takes five times as long to decode (0.2 to 1.0 ms at 256 x 256)."""

PACKED = (*UNFILTERED, cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT)
"""Masks: a hundredth of the bytes, decoded as fast as plain ones."""

TRAINING, VALIDATION = "train", "validation"
MARK = "kseg"
"""The key of the metadata by which a set is known to be prepared by kseg."""
LENGTHS = "lengths.npy"
"""Beside the records, how long each is, so that no file has to be searched for them: uint32 (N,), training first."""

KEYS = 2**128
"""TensorFlow Datasets sorts by keys of 128 bits."""
ITS_BUCKETS = 1000
"""What does not fit into 1 GB of its memory, it sorts into so many files by key, and then each in memory."""
BUCKETS = 250
"""Of those, kseg fills as many, each with one of them open: more would meet some systems' limit of open files."""


class Stored(NamedTuple):
    """A sample as it is stored: two PNG files, and the photo's own height and width."""

    picture: bytes
    mask: bytes
    original_size: tuple[int, int]

    @classmethod
    def encode(cls, sample: Sample, original_size: tuple[int, int]) -> "Stored":
        """``sample`` at the network's size."""
        colours = cv2.cvtColor(sample.picture, cv2.COLOR_RGB2BGR)
        return cls(_png(colours, PLAIN), _png(sample.mask, PACKED), original_size)

    def serialise(self) -> bytes:
        """A ``tf.train.Example``."""
        images = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
            for name, content in (("image", self.picture), ("mask", self.mask))
        }
        size = tf.train.Feature(int64_list=tf.train.Int64List(value=self.original_size))
        features = tf.train.Features(feature={**images, "original_size": size})
        return tf.train.Example(features=features).SerializeToString()

    @classmethod
    def parse(cls, record: bytes) -> "Stored":
        """From ``serialise``, or the set's own record. Raises ValueError if it is none, or another set's."""
        try:
            features = tf.train.Example.FromString(record).features.feature
            height, width = features["original_size"].int64_list.value
            return cls(features["image"].bytes_list.value[0], features["mask"].bytes_list.value[0], (height, width))
        except (DecodeError, IndexError, ValueError) as error:
            raise ValueError(f"cannot be parsed ({error})") from None

    def decode(self) -> Sample:
        """The very pixels. Raises ValueError if they are damaged: a PNG file has checksums."""
        try:
            picture = cv2.imdecode(np.frombuffer(self.picture, np.uint8), cv2.IMREAD_COLOR_RGB)
            mask = cv2.imdecode(np.frombuffer(self.mask, np.uint8), cv2.IMREAD_GRAYSCALE)
        except cv2.error:  # where not a checksum, but a size is beyond all bounds
            picture = mask = None
        if picture is None or mask is None:
            raise ValueError("cannot be decoded")
        return Sample(picture, mask)


class Contents(NamedTuple):
    """What a set is made of.

    Attributes:
        data: Says what the classes are, and at which size the samples are stored.
        names: Of all samples, in the source's order.
        split: Positions among them.
        read: Reads a sample by position.
        order: A digest of what the set was made of.
        licence: Of the pictures.
        track: Wraps positions as they are written, to show progress.
    """

    data: DataSettings
    names: Sequence[str]
    split: Split
    read: Callable[[int], Stored]
    order: str
    licence: str
    track: Callable[[Sequence[int]], Iterator[int]]

    @property
    def facts(self) -> dict[str, Any]:
        """The set's metadata, but for those that are known only when it is written: statistics and fingerprint."""
        return {
            MARK: __version__,
            "order": self.order,
            "classes": list(self.data.classes),
            "ignore_class": self.data.ignore_class,
            "image_size": list(self.data.image_size),
            "resize": self.data.resize,
            "licence": self.licence,
            "names": list(self.names),
            "validation": self.split.validation,
        }


class Repeatable(ExampleWriter):
    """Writes records that are the same in every process: left alone, a protobuf map's order changes between them."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        """See the base class."""
        return super().write(
            path,
            (
                (key, tf.train.Example.FromString(record).SerializeToString(deterministic=True))
                for key, record in examples
            ),
        )


class Prepared(tfds.core.GeneratorBasedBuilder):
    """Pictures and masks of class ids, all of one size, in the order of their names."""

    name = "kseg_prepared"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The first."}  # noqa: RUF012 - TensorFlow Datasets' own attribute

    def __init__(self, *, contents: Contents, **options: Any) -> None:
        self._contents = contents
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        """See the base class."""
        given = self._contents
        size = given.data.image_size
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(*size, 3), encoding_format="png", doc="the picture, RGB"),
                "mask": tfds.features.Image(
                    shape=(*size, 1), encoding_format="png", use_colormap=True, doc="the class id of every pixel"
                ),
                "name": tfds.features.Text(),
                "original_size": tfds.features.Tensor(shape=(2,), dtype=np.int32, doc="height, width of the photo"),
            }
        )
        counts = f"{len(given.split.training)} samples train, {len(given.split.validation)} validate"
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Semantic segmentation, prepared by kseg-data: {', '.join(given.data.class_ids)}; {counts}.",
            features=features,
            supervised_keys=("image", "mask"),
            disable_shuffling=True,
            license=given.licence,
            metadata=tfds.core.MetadataDict(given.facts),
        )

    def _example_writer(self) -> ExampleWriter:
        """See the base class."""
        return Repeatable(self.info.file_format)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        """See the base class; what is known only at the end goes into the metadata, which are written then."""
        split, content, statistics = self._contents.split, hashlib.sha256(), {}
        sides = {TRAINING: split.training, VALIDATION: split.validation}

        def generate(side: str, positions: Sequence[int]) -> Iterator[Any]:
            counts = np.zeros((2, 256), np.int64)
            yield from self._generate_examples(positions, content, counts)
            statistics[side] = self._named(counts)
            self.info.metadata.update(statistics=statistics, fingerprint=content.hexdigest())

        return {side: generate(side, positions) for side, positions in sides.items()}

    def _generate_examples(self, positions: Sequence[int], content: Any, counts: np.ndarray) -> Iterator[Any]:
        """Keys and samples; ``content``, a hash, takes in all that is stored, ``counts`` pixels and photos by id."""
        given = self._contents
        for number, position in enumerate(given.track(positions)):
            name, stored = given.names[position], given.read(position)
            for part in (name.encode(), stored.picture, stored.mask):
                content.update(part)
            pixels = np.bincount(stored.decode().mask.ravel(), minlength=256)
            counts += np.stack([pixels, pixels > 0])
            example = {"image": stored.picture, "mask": stored.mask, "name": name}
            yield _key(number, len(positions)), example | {"original_size": stored.original_size}

    def _named(self, counts: np.ndarray) -> dict[str, dict[str, int]]:
        """Pixels and photos of each class, and of those that count nowhere, by name."""
        data = self._contents.data
        ids = {name: number for number, name in enumerate(data.class_ids)} | {"ignore": data.ignore_class}
        return {
            what: {name: int(row[number]) for name, number in ids.items()}
            for what, row in zip(("pixels", "pictures"), counts, strict=True)
        }


def read_facts(location: str) -> dict[str, Any]:
    """The metadata of a prepared set in a folder, local or remote. Raises DataError if there is none."""
    with opened(f"{location}/metadata.json") as read_at:
        try:
            facts = json.loads(read_at(0, 1 << 30))
        except ValueError:
            facts = {}
    if MARK not in facts:
        raise DataError(
            f"{location}: was not written by kseg-data prepare; name a set of the catalogue in data.tfds.name"
        )
    return facts


def _png(pixels: np.ndarray, options: Sequence[int]) -> bytes:
    return cv2.imencode(".png", pixels, options)[1].tobytes()


def _key(number: int, count: int) -> int:
    """Ascending with ``number`` < ``count``, and spread over TensorFlow Datasets' buckets, so that none grows large."""
    bucket = number * min(BUCKETS, count) // count
    return bucket * -(-KEYS // ITS_BUCKETS) + number
