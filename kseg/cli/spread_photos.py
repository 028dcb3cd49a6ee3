"""Photos answered by Apache Beam's workers: each opens the network, or the server, once."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kseg.cli.answering import answering, outputs_of
from kseg.cli.predict import Wish
from kseg.inference.folder import Job, segment_all

if TYPE_CHECKING:
    from kseg.beam import Beam

PARCEL = 64
"""Photos that a worker gets at a time, about: some seconds of work, and what is done again where a worker dies."""

Parcel = list[tuple[str, dict[str, str]]]
"""Photos and the files to make of each, as ``Job``."""


@dataclass(frozen=True)
class Segmenting:
    """See ``kseg.beam.Work``: from parcels of jobs to the photos that failed, and why."""

    model: str
    wish: Wish

    @contextlib.contextmanager
    def open(self) -> Iterator[Callable[[Parcel], list[tuple[str, str]]]]:
        """Open what answers."""
        outputs = outputs_of(self.wish)
        with answering(self.model, self.wish, outputs) as way:

            def segment(parcel: Parcel) -> list[tuple[str, str]]:
                failed = []

                def done(job: Job, reason: str | None) -> None:
                    if reason is not None:
                        failed.append((str(job.photo), reason))

                jobs = [Job(Path(photo), {kind: Path(file) for kind, file in files.items()}) for photo, files in parcel]
                segment_all(way.answerer, jobs, outputs.write, done, self.wish.workers or os.cpu_count() or 1)
                return failed

            yield segment


def spread_photos(beam: "Beam", model: str, jobs: Sequence[Job], wish: Wish, out: Path) -> dict[str, str]:
    """Answer photos with the model of that name; return those that failed, and why, in the jobs' order.

    Parcels are whole batches: every photo is judged with the same ones as without Beam, and its bytes are the same.
    """
    if not jobs:
        return {}
    if "://" not in model and wish.precision == "auto":
        from kseg.models.precision import fastest_safe_precision

        wish = replace(wish, precision=fastest_safe_precision())  # the workers' processors may differ
    size = max(1, PARCEL // wish.batch_size) * wish.batch_size
    parcels = (
        [(str(job.photo), {kind: str(file) for kind, file in job.files.items()}) for job in jobs[start : start + size]]
        for start in range(0, len(jobs), size)
    )
    failed = dict(beam.run(Segmenting(model, wish), parcels, out))
    return {photo: failed[photo] for photo in (str(job.photo) for job in jobs) if photo in failed}
