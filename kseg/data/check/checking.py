"""All of a data set looked at in one pass, and what that says together."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from os import cpu_count
from typing import Any

import kseg
from kseg.ahead import work_ahead
from kseg.data.check.duplicates import Twin, find_twins
from kseg.data.check.examined import Examined
from kseg.data.check.findings import Finding, Kind, Severity
from kseg.data.check.naming import tell_apart
from kseg.data.check.parts import Part, Shown, open_parts
from kseg.data.check.statistics import ClassRow, class_rows, size_statistics
from kseg.data.splits import Split, choose_split
from kseg.errors import DataError
from kseg.settings import DataSettings, SyntheticSettings

Track = Callable[[Iterable[Examined], int], Iterable[Examined]]
"""Wraps the samples as they come, and is told how many there will be, to show progress."""

TWIN_KINDS = {
    (True, True): Kind.LEAK,
    (True, False): Kind.DUPLICATE,
    (False, True): Kind.NEAR_LEAK,
    (False, False): Kind.NEAR_DUPLICATE,
}
"""By whether the files are the same, and whether they lie on both sides of the split."""

AHEAD = 64
"""Samples that wait to be summed up."""


@dataclass(frozen=True)
class Check:
    """What was found in a data set.

    Attributes:
        data: Its settings.
        parts: Its sources.
        samples: All of them, those that cannot be used, too, in the order of training.
        split: Places of those that train and that validate; None if there can be no split.
        findings: All of them, by kind, then by sample.
    """

    data: DataSettings
    parts: Sequence[Part]
    samples: Sequence[Examined]
    split: Split | None
    findings: Sequence[Finding]

    @property
    def failed(self) -> bool:
        """Whether training would stop, or its scores lie."""
        return any(finding.severity == Severity.ERROR for finding in self.findings)

    @cached_property
    def classes(self) -> list[ClassRow]:
        """What the masks hold."""
        return class_rows(self.samples, self.data)

    def counts(self) -> dict[str, int]:
        """Findings by their severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {str(severity): found[severity] for severity in Severity}

    def show(self, name: str) -> Shown:
        """A sample, for people to look at."""
        place = self._places[name]
        for part in self.parts:
            if place < part.count:
                return part.show(place)
            place -= part.count
        return Shown(None, None)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {sample.name: place for place, sample in enumerate(self.samples)}

    def to_json(self) -> dict[str, Any]:
        """All of it, as ``check.json`` has it."""
        split = self.split or Split([], [])
        return {
            "kseg": kseg.__version__,
            "samples": len(self.samples),
            "usable": sum(sample.usable for sample in self.samples),
            "training": len(split.training),
            "validation": len(split.validation),
            "counts": self.counts(),
            "findings": [_as_json(finding) for finding in self.findings],
            "classes": [row._asdict() for row in self.classes],
            "sizes": size_statistics(self.samples),
        }


def check_data(
    data: DataSettings, synthetic: SyntheticSettings | None = None, track: Track = lambda samples, _: samples
) -> Check:
    """Look at every file of a data set once, in parallel.

    Args:
        data: Where it is, what its masks mean, and how it is split.
        synthetic: What is drawn, where a source is synthetic.
        track: To show progress.

    Raises:
        ConfigError: the settings do not go together.
        DataError: a folder is not there or has nothing in it, so that there is nothing to look at.
    """
    parts = open_parts(data, synthetic or SyntheticSettings())
    samples = list(track(_examine_all(parts), sum(part.count for part in parts)))
    split, complaint = _split(parts, samples, data)
    findings = [
        *tell_apart(parts, samples),  # before what names samples, and after what lists have to find
        *(finding for sample in samples for finding in sample.findings),
        *_of_twins(samples, find_same(samples), split),
        *_of_classes(samples, split, data),
        *complaint,
    ]
    order = {kind: number for number, kind in enumerate(Kind)}
    findings.sort(key=lambda finding: order[finding.kind])  # stable: files stay in their order
    return Check(data, parts, samples, split, findings)


def _examine_all(parts: Sequence[Part]) -> Iterator[Examined]:
    with ThreadPoolExecutor(cpu_count()) as threads:
        for part in parts:
            for _, future in work_ahead(threads, part.examine, range(part.count), AHEAD):
                yield future.result()


def _split(
    parts: Sequence[Part], samples: Sequence[Examined], data: DataSettings
) -> tuple[Split | None, list[Finding]]:
    """The split of training; or what is wrong with it."""
    own, start = Split([], []), 0
    for part in parts:
        for side, places in zip(own, part.split or ([], []), strict=True):
            side.extend(start + place for place in places)
        start += part.count
    unusable = {place for place, sample in enumerate(samples) if not sample.usable}
    names, skipped = [sample.name for sample in samples], [name for part in parts for name in part.skipped]
    try:
        return choose_split(names, unusable, data, own if any(own) else None, skipped), []
    except DataError as error:
        return None, [Finding(Kind.SPLIT, Severity.ERROR, str(error))]


def find_same(samples: Sequence[Examined], left_out: Container[int] = ()) -> list[Twin]:
    """Those that are the same as others: as one that can be used, if there is one, since that is what leaks.

    ``left_out``: places of those that are compared with nothing. Each comes after the one it is the same as, in the
    order in which they are compared: those that can be used are first.
    """
    order = sorted(range(len(samples)), key=lambda place: not samples[place].usable)
    twins = find_twins([None if place in left_out else samples[place].look for place in order])
    return [replace(twin, index=order[twin.index], earlier=order[twin.earlier]) for twin in twins]


def _of_twins(samples: Sequence[Examined], twins: Sequence[Twin], split: Split | None) -> Iterator[Finding]:
    sides = {place: side for side in Split._fields for place in getattr(split, side, ())}
    for twin in sorted(twins, key=lambda twin: twin.index):
        later, earlier = samples[twin.index], samples[twin.earlier]
        side, other_side = sides.get(twin.index), sides.get(twin.earlier)
        across = None not in (side, other_side) and side != other_side
        one, other = (str(sample.picture or sample.name) for sample in (later, earlier))
        same = "the same file as" if twin.exact else f"{'mirrored, ' if twin.mirrored else ''}the same picture as"
        where = f", which is for {other_side}, while this one is for {side}" if across else ""
        yield Finding(
            TWIN_KINDS[twin.exact, across],
            Severity.ERROR if across else Severity.WARNING,
            f"{one}: is {same} {other}{where}; remove one of the two",
            (later.name, earlier.name),
            (*later.files, *earlier.files),
        )


def _of_classes(samples: Sequence[Examined], split: Split | None, data: DataSettings) -> Iterator[Finding]:
    """Classes that no mask shows, or none of one side of the split."""
    sides = {"data set": [place for place, sample in enumerate(samples) if sample.usable]}
    if split:
        sides |= {"training": split.training, "validation": split.validation}
    for class_id, name in enumerate(data.class_ids):
        for side, places in sides.items():
            shown = (pixels[class_id] for place in places if (pixels := samples[place].pixels) is not None)
            if places and not any(shown):
                advice = "look at data.classes and data.mask_values" if side == "data set" else "choose another split"
                message = f"{name}: no mask of the {side} shows this class; {advice}"
                yield Finding(Kind.CLASS, Severity.WARNING, message)
                break


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "kind": str(finding.kind),
        "severity": str(finding.severity),
        "message": finding.message,
        "samples": list(finding.samples),
        "files": [str(path) for path in finding.files],
    }
