"""From any source to a prepared set: every sample is decoded once, brought to the network's size, and stored.

The work is staged beside the set (see ``kseg.data.tfds.staging``): killed at any moment and called again, it goes on,
and the set is, byte for byte, the one of an uninterrupted run. Times and places are not part of it.
"""

import contextlib
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import tensorflow_datasets as tfds

from kseg import __version__
from kseg.data.fitting import fit_sample
from kseg.data.loading import require_no_problems
from kseg.data.samples import Source, View
from kseg.data.sources import complain_of_none, open_source
from kseg.data.splits import Split, choose_split
from kseg.data.tfds.prepared import LENGTHS, TRAINING, VALIDATION, Contents, Prepared, Stored, read_facts
from kseg.data.tfds.records import lengths_of
from kseg.data.tfds.staging import Staging, full_disks
from kseg.errors import ConfigError, DataError
from kseg.files import flush, flush_one
from kseg.settings import DataSettings, Settings

if TYPE_CHECKING:
    from kseg.beam import Beam

PLACES = {"roots", "train_list", "validation_list"}
"""Settings that say where things are: those may be moved while a set is being prepared."""


class Bar(Protocol):
    """A progress bar."""

    def update(self, steps: int, /) -> object:
        """So many steps more are done."""


Progress = Callable[[int, str], AbstractContextManager[Bar]]
"""Shows a progress bar of so many steps, with a label."""


class Result(NamedTuple):
    """A prepared set: how its samples are split, and why some are not in it, by name."""

    split: Split
    skipped: dict[str, str]


def prepare(
    source: Source, settings: Settings, out: Path, *, licence: str, progress: Progress, beam: "Beam | None" = None
) -> Result | None:
    """Write the samples of ``source`` to the folder ``out``, at the settings' size and split as they say.

    With ``beam``, its workers read and encode them, and the folder beside ``out`` is where they all can write.

    Returns None if an earlier call had ended but for tidying up. Raises ConfigError if the settings do not go with a
    set, DataError if ``out`` exists, samples cannot be used, or nothing can be written.
    """
    data = settings.data
    if any(each.weight != data.weight for each in data.sources):
        raise ConfigError(
            "data.weight: how often samples come is no part of a set; prepare each source by itself, and name the sets "
            "in data.also, each with its weight"
        )
    order = _digest(source, settings, licence)
    with _staging(out, source) as staging, full_disks(out):
        if out.exists():
            if not (staging.begun and read_facts(str(out))["order"] == order):
                raise DataError(f"{out}: is there already; remove it, or choose another --to")
            shutil.rmtree(staging.folder)
            return None
        there = staging.begin(order)
        if beam:
            chunks = [(chunk.start, chunk.stop) for chunk in staging.missing()]
            problems = dict(sorted(beam.run(Chunks(settings, out, licence, order), chunks, staging.folder)))
        else:
            with progress(len(source.names), "Reading pictures and masks") as bar:
                bar.update(there)
                problems = _fill(staging, staging.missing(), source, data, bar.update)
        if data.on_bad_sample == "error":
            require_no_problems(problems)
        read, problems = staging.samples()
        if len(problems) == len(source.names):
            raise DataError(complain_of_none(list(problems.values())))
        split = choose_split(source.names, problems.keys(), data, source.split, source.skipped)
        contents = _contents(source.names, split, read, data, order, licence, progress)
        _publish(_build(contents, staging.set), out)
        shutil.rmtree(staging.folder)
    return Result(split, source.skipped | {source.names[position]: reason for position, reason in problems.items()})


@dataclass(frozen=True)
class Chunks:
    """See ``kseg.beam.Work``: from chunks, each its first position and that behind its last, to problems by position.

    Attributes:
        settings: Of the set.
        out: Its folder.
        licence: Of the pictures.
        order: What it is a digest of, every worker has to find.
    """

    settings: Settings
    out: Path
    licence: str
    order: str

    @contextlib.contextmanager
    def open(self) -> Iterator[Callable[[tuple[int, int]], list[tuple[int, str]]]]:
        """Open the source. Raises DataError if it is not the one that was seen where the command was called."""
        data = self.settings.data
        source = open_source(data, self.settings.synthetic)
        if _digest(source, self.settings, self.licence) != self.order:
            raise DataError(
                f"{data.title}: {len(source.names)} samples, others than where the command was called, or by another "
                f"version than kseg {__version__}; all workers have to see the same folders under the same names"
            )
        staging = _staging(self.out, source)

        def stage(chunk: tuple[int, int]) -> list[tuple[int, str]]:
            with full_disks(self.out):
                return list(_fill(staging, [range(*chunk)], source, data, lambda _: None).items())

        yield stage


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no remarks of TensorFlow Datasets, which it makes on standard output as well."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logger.setLevel(level)


def _staging(out: Path, source: Source) -> Staging:
    return Staging(out.with_name(f".{out.name}.partial"), len(source.names))


def _fill(
    staging: Staging, chunks: Iterable[range], source: Source, data: DataSettings, done: Callable[[int], object]
) -> dict[int, str]:
    return staging.fill(chunks, _encoder(source, data), skip=data.on_bad_sample == "skip", done=done)


def _digest(source: Source, settings: Settings, licence: str) -> str:
    """Of what decides the set's bytes, but for the pictures' own."""
    data = settings.data.model_dump(mode="json", exclude=PLACES | {"verify", "cache"})
    data["also"] = [{key: value for key, value in each.items() if key not in PLACES} for each in data["also"]]
    decisive = [__version__, data, settings.synthetic.model_dump(mode="json"), licence, list(source.names)]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _encoder(source: Source, data: DataSettings) -> Callable[[int], Stored]:
    """Reads a sample, brings it to the network's size as ``kseg.data.loading.Loader`` does, and encodes it."""
    view = View(data.image_size, data.resize)

    def encode(position: int) -> Stored:
        original = source.load(position, view)
        return Stored.encode(fit_sample(original, view, data.ignore_class), original.size)

    return encode


def _contents(
    names: Sequence[str],
    split: Split,
    read: Callable[[int], Stored],
    data: DataSettings,
    order: str,
    licence: str,
    progress: Progress,
) -> Contents:
    """The samples of the split, numbered anew."""
    kept = sorted([*split.training, *split.validation])
    number_of = {position: number for number, position in enumerate(kept)}

    def track(numbers: Sequence[int]) -> Iterator[int]:
        with progress(len(numbers), "Writing the set") as bar:
            for number in numbers:
                yield number
                bar.update(1)

    return Contents(
        data=data,
        names=[names[position] for position in kept],
        split=Split(*([number_of[position] for position in side] for side in split)),
        read=lambda number: read(kept[number]),
        order=order,
        licence=licence,
        track=track,
    )


def _build(contents: Contents, home: Path) -> Path:
    """The folder below ``home`` that TensorFlow Datasets writes; what an interrupted run left there is removed."""
    if home.exists():
        shutil.rmtree(home)
    builder: Any = Prepared(contents=contents, data_dir=str(home))
    with quiet():
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    lengths = [lengths_of(str(path)) for side in (TRAINING, VALIDATION) for path in builder.info.splits[side].filepaths]
    built = Path(builder.data_dir)
    np.save(built / LENGTHS, np.concatenate(lengths).astype(np.uint32))
    return built


def _publish(built: Path, out: Path) -> None:
    """Give the whole set its name, at once."""
    flush(built)
    built.rename(out)
    flush_one(out.parent)
