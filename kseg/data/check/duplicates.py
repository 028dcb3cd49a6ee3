"""Which pictures are the same: to the byte, or stored anew, at another size or quality, or mirrored.

A picture's hash has a bit for the sign of each of its lowest frequencies (a discrete cosine transform, as in pHash by
Zauner 2010). It changes little with size and compression, and mirroring flips the odd ones along x. Pictures whose
hashes are near are candidates; only those whose small grey copies agree are called the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import cv2
import numpy as np

SIDE = 32
"""Of the small grey copies that are compared in the end."""

FREQUENCIES = 8
"""Of the hash along each axis: 64 bits."""

BANDS = 8
"""Of 8 bits. Hashes that differ in fewer bits than there are bands have at least one band in common."""

NEAR = BANDS - 1
"""Bits in which the hashes of two candidates may differ."""

LEAST_CORRELATION = 0.95
"""Of the grey copies of the same picture. Different photos of like scenes were seen to reach 0.86."""

LEAST_CONTRAST = 2.0
"""Standard deviation of a grey copy, in levels of 256: below, there is nothing to compare."""

ROWS = 256
"""Compared with a whole bucket at a time."""

COMPARED = 1 << 15
"""Pairs of copies held in memory at a time."""

MIRRORED = np.uint64(sum(1 << bit for bit in range(64) if bit % 2))
"""The bits that change when a picture is mirrored: the odd frequencies along x."""


class Look(NamedTuple):
    """What pictures are compared by.

    Attributes:
        digest: Of the file.
        bits: The hash.
        copy: The picture, grey: uint8 (SIDE, SIDE).
    """

    digest: bytes
    bits: int
    copy: np.ndarray

    @classmethod
    def of(cls, grey: np.ndarray, content: bytes | memoryview) -> "Look":
        """From a grey picture, uint8 (H, W), and what its file holds."""
        copy = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        waves = cv2.dct(copy.astype(np.float32))[:FREQUENCIES, :FREQUENCIES]
        waves[0, 0] = 0  # the mean brightness
        bits = int.from_bytes(np.packbits(waves > 0, bitorder="little").tobytes(), "little")
        return cls(blake2b(content, digest_size=16).digest(), bits, copy)


@dataclass(frozen=True)
class Twin:
    """A picture that was there before.

    Attributes:
        index: Of the later one.
        earlier: Of the one it is the same as.
        exact: Whether the files are the same to the byte.
        mirrored: Whether left and right are swapped.
    """

    index: int
    earlier: int
    exact: bool = False
    mirrored: bool = False


def find_twins(looks: Sequence[Look | None]) -> list[Twin]:
    """The same pictures: each later one with the earliest it is the same as. Those of None are the same as nothing."""
    first_of: dict[bytes, int] = {}
    twins: dict[int, Twin] = {}
    seen: list[tuple[int, Look]] = []
    for index, look in enumerate(looks):
        if look is None:
            continue
        earlier = first_of.setdefault(look.digest, index)
        if earlier != index:
            twins[index] = Twin(index, earlier, exact=True)
        elif look.copy.std() >= LEAST_CONTRAST:
            seen.append((index, look))
    for place, earlier, mirrored in _near([look for _, look in seen]):
        index = seen[place][0]
        twins[index] = Twin(index, seen[earlier][0], mirrored=mirrored)
    return [twins[index] for index in sorted(twins)]


def _near(looks: Sequence[Look]) -> list[tuple[int, int, bool]]:
    """Of each that is the same as an earlier one: its place, that of the earliest, and whether it is mirrored."""
    if not looks:
        return []
    bits = np.array([look.bits for look in looks], np.uint64)
    copies = np.stack([look.copy for look in looks])
    earliest = np.full((2, len(looks)), len(looks))
    for mirrored in (0, 1):
        others = copies[:, :, ::-1] if mirrored else copies
        for first, second in _candidates(bits, bits ^ MIRRORED if mirrored else bits):
            _keep_earliest(earliest[mirrored], first, second, others, copies)
    best = earliest.min(axis=0)
    found = np.flatnonzero(best < len(looks)).tolist()
    return [(place, int(best[place]), bool(earliest[0, place] > best[place])) for place in found]


def _keep_earliest(
    earliest: np.ndarray, first: np.ndarray, second: np.ndarray, others: np.ndarray, copies: np.ndarray
) -> None:
    """Compare pairs, of each second one the earliest first: where they agree, the others need no look.

    Of a film of one view, most pairs are candidates; this way, few are compared.
    """
    while (better := first < earliest[second]).any():
        first, second = first[better], second[better]
        tried = np.unique(second, return_index=True)[1]  # they come by their first, so that this is the earliest
        same = tried[_agree(others, copies, first[tried], second[tried])]
        earliest[second[same]] = first[same]
        first, second = np.delete(first, tried), np.delete(second, tried)


def _candidates(bits: np.ndarray, asked: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of ``asked``, uint64 (N,), and later places of ``bits``, uint64 (N,), whose hashes are near.

    Some pairs come more than once; none of those with fewer different bits than there are bands is left out.
    """
    for band in range(BANDS):
        asked_groups, groups = (_grouped(codes.view(np.uint8).reshape(-1, BANDS)[:, band]) for codes in (asked, bits))
        for rows, columns in zip(asked_groups, groups, strict=True):
            for start in range(0, len(rows), ROWS):
                some = rows[start : start + ROWS]
                near = np.bitwise_count(asked[some, None] ^ bits[None, columns]) <= NEAR
                first, second = np.nonzero(near & (some[:, None] < columns))
                if len(first):
                    yield some[first], columns[second]


def _grouped(values: np.ndarray) -> list[np.ndarray]:
    """For each of 256 values, the places in ascending order where uint8 (N,) has it."""
    order = np.argsort(values, kind="stable")
    return np.split(order, np.searchsorted(values[order], np.arange(1, 256)))


def _agree(others: np.ndarray, copies: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether the first of ``others`` and the second of ``copies`` correlate: bool (M,)."""
    agreed = [np.zeros(0, bool)]
    for start in range(0, len(first), COMPARED):
        one = _standard(others[first[start : start + COMPARED]])
        other = _standard(copies[second[start : start + COMPARED]])
        agreed.append(np.einsum("np,np->n", one, other) >= LEAST_CORRELATION)
    return np.concatenate(agreed)


def _standard(copies: np.ndarray) -> np.ndarray:
    """Without mean and contrast, of length 1: float32 (M, SIDE * SIDE)."""
    flat = copies.reshape(len(copies), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)
