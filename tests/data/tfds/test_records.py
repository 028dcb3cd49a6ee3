import os

import numpy as np
import pytest
import tensorflow as tf

from kseg.data.tfds.records import Part, Records, lengths_of, opened
from kseg.errors import DataError


@pytest.fixture
def files(tmp_path):
    """Three files of records of all lengths, the empty one too, and what is in them."""
    dice, contents, paths = np.random.default_rng(3), [], []
    for number, count in enumerate((5, 1, 40)):
        paths.append(str(tmp_path / f"set-{number}"))
        contents.append([dice.bytes(int(length)) for length in dice.integers(0, 3000, count)])
        contents[-1][0] = b""
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for content in contents[-1]:
                writer.write(content)
    return paths, contents


def test_any_record_is_read_as_tensorflow_reads_them_all(files):
    paths, _ = files
    parts = [Part(paths[2], 7, 20), Part(paths[0], 0, 5), Part(paths[1], 0, 1)]
    records = Records(parts)
    expected = [
        record
        for path, skip, take in parts
        for record in tf.data.TFRecordDataset(path).skip(skip).take(take).as_numpy_iterator()
    ]
    assert len(records) == len(expected) == 26
    for index in np.random.default_rng(0).permutation(26):
        assert records.read(index) == expected[index]
    assert records.where(20) == f"{paths[0]}: record 0"


def test_known_lengths_are_as_good_as_those_in_the_files(files):
    paths, contents = files
    parts = [Part(path, 0, len(content)) for path, content in zip(paths, contents, strict=True)]
    lengths = [len(record) for content in contents for record in content]
    assert np.concatenate([lengths_of(path) for path in paths]).tolist() == lengths
    records = Records(parts, np.array(lengths, np.uint32))
    assert [records.read(index) for index in range(46)] == [record for content in contents for record in content]
    with pytest.raises(DataError, match="45 lengths of 46 records"):
        Records(parts, np.array(lengths[1:]))


def test_remote_files_are_read_alike(files):
    """ram:// is a file system of TensorFlow's that only TensorFlow can read, as gs:// is."""
    paths, contents = files
    tf.io.gfile.copy(paths[2], "ram://bucket/set-2", overwrite=True)
    assert not os.path.exists("ram://bucket/set-2")
    records = Records([Part("ram://bucket/set-2", 3, 9)])
    assert [records.read(index) for index in range(9)] == contents[2][3:12]
    with pytest.raises(DataError, match="ram://bucket/gone: cannot be read"), opened("ram://bucket/gone") as read_at:
        read_at(0, 1)


def test_a_gone_file_is_named(tmp_path):
    with pytest.raises(DataError, match="gone: cannot be read: No such file"):
        Records([Part(str(tmp_path / "gone"), 0, 1)])


def test_a_file_with_too_few_records_is_named(files):
    with pytest.raises(DataError, match=r"set-1: holds 1 records, not 2"):
        Records([Part(files[0][1], 1, 1)])


def damage(path, at, by=1):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ by]))


@pytest.mark.parametrize("byte", range(12))
def test_every_damaged_byte_of_a_header_is_noticed(files, byte):
    paths, contents = files
    start = sum(16 + len(content) for content in contents[2][:4])
    damage(paths[2], start + byte, 128)
    with pytest.raises(DataError, match=r"set-2: record 4 is damaged"):
        lengths_of(paths[2])


@pytest.mark.parametrize("missing", [1, 4, 10])
def test_a_truncated_file_is_noticed(files, missing):
    path = files[0][2]
    os.truncate(path, os.path.getsize(path) - missing)
    with pytest.raises(DataError, match=r"set-2: ends within record 39"):
        lengths_of(path)


@pytest.mark.parametrize("records", [[b"short"], [bytes(200_000)]])
def test_a_file_that_changes_meanwhile_is_noticed(files, records):
    path, opened_before = files[0][2], Records([Part(files[0][2], 0, 40)])
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    with pytest.raises(DataError, match=r"set-2: record 30 is damaged"):
        opened_before.read(30)
