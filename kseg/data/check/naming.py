"""Samples of several sources that have one name: training refuses them, and a report has to tell them apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from kseg.data.check.examined import Examined
from kseg.data.check.findings import Finding, Kind, Severity
from kseg.data.check.parts import Part
from kseg.data.sources import complain_of_shared, shared_names


def tell_apart(parts: Sequence[Part], samples: Sequence[Examined]) -> list[Finding]:
    """Give samples of several parts that have one name names of their own, in what was found of them as well.

    Returns the parts' findings with the new names, and one more if training would refuse the old ones: it does not
    count pictures without a mask.
    """
    names = [sample.name for sample in samples]
    shared = set(shared_names(names))
    refused = shared_names([sample.name for sample in samples if sample.mask or not sample.picture])
    findings: list[Finding] = []
    rest = iter(samples)
    for number, part in enumerate(parts, 1):
        new = {name: f"{name} (source {number})" for name in shared}
        for sample in islice(rest, part.count):
            sample.name = new.get(sample.name, sample.name)
            sample.findings = list(_renamed(sample.findings, new))
        findings += _renamed(part.findings, new)
    if refused:
        alike = [sample for name, sample in zip(names, samples, strict=True) if name == refused[0]]
        files = tuple(file for sample in alike for file in sample.files)
        message = complain_of_shared(refused)
        findings.append(Finding(Kind.NAME, Severity.ERROR, message, tuple(sample.name for sample in alike), files))
    return findings


def _renamed(findings: Sequence[Finding], new: Mapping[str, str]) -> Iterator[Finding]:
    for finding in findings:
        yield replace(finding, samples=tuple(new.get(name, name) for name in finding.samples))
