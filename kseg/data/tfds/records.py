"""Any record of TFRecord files, at once.

A record is its length (uint64, little endian), a checksum of the length, its bytes, and a checksum of those
(TensorFlow's ``record_writer.h``). Files are opened anew for every record: nothing stays open, threads do not meet, and
a file that shrinks meanwhile is an error and not, as under an mmap, the end of the process.
"""

import contextlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kseg.errors import DataError

HEADER = struct.Struct("<QI")
FOOTER = 4
"""Bytes of the checksum behind a record."""

CASTAGNOLI = 0x82F63B78
"""The polynomial of CRC-32C (RFC 3720, appendix B.4), its bits reversed."""

MASK = 0xA282EAD8
"""Added to a stored checksum, turned by 15 bits, so that a checksum of checksums is none (``crc32c.h``)."""

ReadAt = Callable[[int, int], bytes]
"""From an offset, so many bytes; fewer at the end of the file."""


class Part(NamedTuple):
    """Some consecutive records of a file, which may be remote, such as gs://bucket/file."""

    path: str
    skip: int
    take: int


class Records:
    """The records of parts of files, one after the other; 20 bytes each are kept in memory."""

    def __init__(self, parts: Sequence[Part], lengths: np.ndarray | None = None) -> None:
        """``lengths``, (N,), of all records, if they are known: else the headers of all files are read.

        Raises DataError if a file cannot be read, is damaged, or holds fewer records than are asked for.
        """
        self._paths = [part.path for part in parts]
        takes = [part.take for part in parts]
        self._file = np.repeat(np.arange(len(parts), dtype=np.int32), takes)
        if lengths is None:
            places = [_places_of(part) for part in parts]
            self._offset = np.concatenate([offsets for offsets, _ in places])
            self._length = np.concatenate([lengths for _, lengths in places])
        else:
            self._length = np.asarray(lengths, np.int64)
            if len(self._length) != len(self._file):
                raise DataError(f"{parts[0].path}: {len(lengths)} lengths of {len(self._file)} records")
            whole = np.split(self._length + HEADER.size + FOOTER, np.cumsum(takes)[:-1])
            self._offset = np.concatenate([np.cumsum(sizes) - sizes for sizes in whole])

    def __len__(self) -> int:
        return len(self._file)

    def read(self, index: int) -> bytes:
        """The bytes of a record. Raises DataError if the file is not as it was when it was opened."""
        length = int(self._length[index])
        with opened(self._paths[self._file[index]]) as read_at:
            content = read_at(int(self._offset[index]), HEADER.size + length)
        if len(content) != HEADER.size + length or HEADER.unpack_from(content)[0] != length:
            raise DataError(f"{self.where(index)} is damaged; prepare or download the set again")
        return content[HEADER.size :]

    def where(self, index: int) -> str:
        """A record's file and its number there, from 0, for messages."""
        file = int(self._file[index])
        first = int(np.searchsorted(self._file, file))
        return f"{self._paths[file]}: record {index - first}"


@contextlib.contextmanager
def opened(path: str) -> Iterator[ReadAt]:
    """Reading at any place of a file, local or remote. Raises DataError naming it."""
    try:
        if "://" not in path:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                yield lambda offset, length: os.pread(descriptor, length, offset)
            finally:
                os.close(descriptor)
        else:
            with tf.io.gfile.GFile(path, "rb") as file:

                def read_at(offset: int, length: int) -> bytes:
                    file.seek(offset)
                    return file.read(length)

                yield read_at
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from None


def lengths_of(path: str) -> np.ndarray:
    """The lengths, in bytes, of all records of a file, int64 (N,). Raises DataError if it is damaged."""
    lengths: list[int] = []
    checksums: list[int] = []
    offset = 0
    with opened(path) as read_at:
        while header := read_at(offset, HEADER.size):
            if len(header) < HEADER.size:
                raise DataError(f"{path}: ends within record {len(lengths)}; copy it again")
            length, checksum = HEADER.unpack(header)
            lengths.append(length)
            checksums.append(checksum)
            offset += HEADER.size + length + FOOTER
            if offset > 1 << 62:
                break  # the length is damaged, as its checksum shows
        wrong = np.flatnonzero(_masked_checksum(np.array(lengths, "<u8")) != np.array(checksums, np.uint32))
        if len(wrong):
            raise DataError(f"{path}: record {wrong[0]} is damaged; copy the file again")
        if lengths and len(read_at(offset - 1, 1)) == 0:
            raise DataError(f"{path}: ends within record {len(lengths) - 1}; copy it again")
    return np.array(lengths, np.int64)


def _places_of(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and lengths of a part's records, int64 (part.take,) each."""
    lengths = lengths_of(part.path)
    chosen = slice(part.skip, part.skip + part.take)
    if len(lengths) < chosen.stop:
        raise DataError(f"{part.path}: holds {len(lengths)} records, not {chosen.stop}; copy or prepare it again")
    sizes = lengths + HEADER.size + FOOTER
    return (np.cumsum(sizes) - sizes)[chosen], lengths[chosen]


def _masked_checksum(numbers: np.ndarray) -> np.ndarray:
    """CRC-32C of uint64 (N,) as TFRecord stores it: uint32 (N,)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(CASTAGNOLI), table >> 1)
    checksum = np.full(len(numbers), 0xFFFFFFFF, np.uint32)
    for byte in numbers.view(np.uint8).reshape(-1, 8).T:
        checksum = table[(checksum ^ byte) & 255] ^ checksum >> 8
    checksum = ~checksum
    return (checksum >> 15 | checksum << 17) + np.uint32(MASK)
