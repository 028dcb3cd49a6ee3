import hashlib
import json
import os
import shutil
import subprocess

import click
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from support import make_photos

from kseg.data.loading import Loader
from kseg.data.sources import open_source
from kseg.data.splits import choose_split
from kseg.data.tfds import prepared, staging
from kseg.data.tfds.prepare import prepare
from kseg.data.tfds.source import open_tfds
from kseg.errors import ConfigError, DataError
from kseg.settings import DataSettings, Settings, SourceSettings

SIZE = 32, 64


def bar(length, label):
    return click.progressbar(length=length, label=label, hidden=True)


def settings_of(root, **data):
    return Settings(data=DataSettings(roots=(root,), **{"image_size": SIZE, "validation_every": 4, **data}))


def source_of(settings):
    return open_source(settings.data, settings.synthetic)


def prepare_at(root, out, licence="unknown", **data):
    settings = settings_of(root, **data)
    return prepare(source_of(settings), settings, out, licence=licence, progress=bar)


def opened(out, **data):
    return open_tfds(DataSettings(image_size=SIZE, **data), SourceSettings(source="tfds", roots=(out,)))


def contents(folder):
    """Every file in a folder, hidden ones too, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Twelve photos are then three files."""
    monkeypatch.setattr(staging, "CHUNK", 5)


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Twelve photos, the set made of them, and its settings: no test changes them."""
    home = tmp_path_factory.mktemp("album")
    root = make_photos(home / "photos", 12)
    prepare_at(root, home / "out", licence="CC0", resize="pad")
    return root, home / "out", settings_of(root, resize="pad")


@pytest.mark.parametrize("index", range(12))
def test_a_sample_is_to_the_bit_what_training_sees_of_the_folder(album, index):
    _, out, settings = album
    source = opened(out, resize="pad")
    for size in (SIZE, (16, 32)):
        expected = Loader(source_of(settings) if size == SIZE else source, size, resize="pad", cache=False).load(index)
        found = Loader(source, size, resize="pad", cache=False).load(index)
        np.testing.assert_array_equal(found.picture, expected.picture)
        np.testing.assert_array_equal(found.mask, expected.mask)
        assert found.picture.dtype == found.mask.dtype == np.uint8


def test_names_and_split_are_the_folders(album):
    _, out, settings = album
    folder, source = source_of(settings), opened(out, resize="pad")
    assert list(source.names) == list(folder.names)
    assert source.split == choose_split(folder.names, (), settings.data) == ([0, 1, 2, 4, 5, 6, 8, 9, 10], [3, 7, 11])
    assert source.sound


def test_tensorflow_datasets_reads_the_set_without_kseg(album):
    _, out, settings = album
    folder = source_of(settings)
    builder = tfds.builder_from_directory(str(out))
    loader = Loader(folder, SIZE, resize="pad", cache=False)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 9, "validation": 3}
    for side, positions in (("train", [0, 1, 2, 4, 5, 6, 8, 9, 10]), ("validation", [3, 7, 11])):
        examples = list(tfds.as_numpy(builder.as_dataset(split=side)))
        for example, position in zip(examples, positions, strict=True):
            expected = loader.load(position)
            assert example["name"].decode() == folder.names[position]
            assert example["original_size"].tolist() == [48, 40]
            np.testing.assert_array_equal(example["image"], expected.picture)
            np.testing.assert_array_equal(example["mask"][..., 0], expected.mask)


def test_what_is_known_of_the_set(album):
    _, out, settings = album
    facts = json.loads((out / "metadata.json").read_text())
    loader = Loader(source_of(settings), SIZE, resize="pad", cache=False)
    masks = np.stack([loader.load(index).mask for index in (3, 7, 11)])
    assert facts["statistics"]["validation"] == {
        "pixels": {
            name: int((masks == value).sum()) for name, value in (("background", 0), ("person", 1), ("ignore", 255))
        },
        "pictures": {
            name: int((masks == value).any(axis=(1, 2)).sum())
            for name, value in (("background", 0), ("person", 1), ("ignore", 255))
        },
    }
    assert sum(facts["statistics"]["train"]["pixels"].values()) == 9 * SIZE[0] * SIZE[1]
    stored = tfds.builder_from_directory(str(out)).as_dataset(
        split="train+validation", decoders={name: tfds.decode.SkipDecoding() for name in ("image", "mask")}
    )
    digest = hashlib.sha256()
    for example in stored.as_numpy_iterator():
        digest.update(example["name"] + example["image"] + example["mask"])
    assert facts["fingerprint"] == digest.hexdigest()
    assert (out / "LICENSE").read_text() == facts["licence"] == "CC0"
    assert (facts["classes"], facts["resize"], facts["image_size"]) == (["person"], "pad", list(SIZE))


def test_the_bytes_do_not_depend_on_time_and_place(album, tmp_path):
    root, out, _ = album
    shutil.copytree(root, tmp_path / "elsewhere" / "photos")
    prepare_at(tmp_path / "elsewhere" / "photos", tmp_path / "deep" / "again", licence="CC0", resize="pad")
    assert contents(tmp_path / "deep" / "again") == contents(out)
    assert os.listdir(tmp_path / "deep") == ["again"]


def test_the_bytes_do_not_depend_on_the_process(album):
    """The order of a protobuf map does, unless it is asked to be that of the keys."""
    for path in sorted(album[1].glob("*.tfrecord-*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            places = [record.index(key) for key in (b"image", b"mask", b"name", b"original_size")]
            assert places == sorted(places)


def test_an_interrupted_preparation_goes_on(album, tmp_path):
    _, out, settings = album
    loaded = []

    class Watched:
        def __init__(self, stop):
            self.source, self.stop = source_of(settings), stop
            self.names, self.skipped, self.split, self.sound = self.source.names, {}, None, False

        def load(self, index, view=None):
            if index == self.stop:
                raise KeyboardInterrupt
            loaded.append(index)
            return self.source.load(index, view)

    for stop in (11, None):
        try:
            prepare(Watched(stop), settings, tmp_path / "set", licence="CC0", progress=bar)
        except KeyboardInterrupt:
            assert {path.name for path in (tmp_path / ".set.partial").iterdir()} == {
                ".lock", "order", "chunk-00000", "chunk-00001"
            }  # fmt: skip
            (tmp_path / ".set.partial" / ".7-chunk-00002").write_text("half of one")
            (tmp_path / ".set.partial" / "set").mkdir()
            (tmp_path / ".set.partial" / "set" / "half").touch()
            loaded.clear()
    assert sorted(loaded) == [10, 11]
    assert contents(tmp_path / "set") == contents(out)
    assert os.listdir(tmp_path) == ["set"]


def test_killed_while_tidying_up_it_is_finished(album, tmp_path):
    root, out, _ = album
    shutil.copytree(out, tmp_path / "set")
    (tmp_path / ".set.partial").mkdir()
    (tmp_path / ".set.partial" / "chunk-00002").touch()
    assert prepare_at(root, tmp_path / "set", licence="CC0", resize="pad") is None
    assert os.listdir(tmp_path) == ["set"]


def test_nothing_that_is_there_is_overwritten(album, tmp_path):
    root, out, _ = album
    before = contents(out)
    for licence in ("CC0", "another"):
        with pytest.raises(DataError, match="out: is there already; remove it"):
            prepare_at(root, out, licence=licence, resize="pad")
    assert contents(out) == before
    assert not (out.parent / ".out.partial").exists()


def test_other_settings_than_those_begun_with_are_refused(album, tmp_path):
    root, _, _ = album
    (tmp_path / ".set.partial").mkdir()
    (tmp_path / ".set.partial" / "order").write_text("something else")
    (tmp_path / ".set.partial" / "chunk-00000").touch()
    with pytest.raises(DataError, match=r"\.set\.partial: a set of other pictures or other settings was begun"):
        prepare_at(root, tmp_path / "set")


def test_two_processes_do_not_prepare_one_set(album, tmp_path):
    with staging.Staging(tmp_path / ".set.partial", 12), pytest.raises(DataError, match="another process is preparing"):
        prepare_at(album[0], tmp_path / "set")
    prepare_at(album[0], tmp_path / "set")


def test_bad_samples_are_all_named_and_may_be_put_right(photos, tmp_path):
    whole = (photos / "images" / "p001.jpg").read_bytes()
    (photos / "images" / "p001.jpg").write_bytes(b"")
    Image.new("L", (40, 48), 9).save(photos / "masks" / "p006.png")
    with pytest.raises(DataError) as raised:
        prepare_at(photos, tmp_path / "set")
    first, second, advice = str(raised.value).splitlines()
    assert "p001.jpg: the file is empty" in first
    assert "p006.png: unknown mask values 9" in second
    assert "on_bad_sample=skip" in advice
    (photos / "images" / "p001.jpg").write_bytes(whole)
    Image.new("L", (40, 48), 255).save(photos / "masks" / "p006.png")
    split, skipped = prepare_at(photos, tmp_path / "set")
    assert (len(split.training), len(split.validation), skipped) == (9, 3, {})


def test_bad_samples_may_be_left_out(photos, tmp_path, monkeypatch):
    (photos / "images" / "p001.jpg").write_bytes(b"")
    (photos / "masks" / "p010.png").unlink()
    _, skipped = prepare_at(photos, tmp_path / "set", on_bad_sample="skip")
    assert skipped.keys() == {"photos/p001", "photos/p010"}
    source = opened(tmp_path / "set")
    expected = source_of(settings_of(photos, on_bad_sample="skip"))
    split = choose_split(expected.names, [1], settings_of(photos).data)
    assert list(source.names) == [name for name in expected.names if name != "photos/p001"]
    assert [source.names[i] for i in source.split.validation] == [expected.names[i] for i in split.validation]
    loader = Loader(expected, SIZE, cache=False)
    for index, name in enumerate(source.names):
        np.testing.assert_array_equal(source.load(index).picture, loader.load(expected.names.index(name)).picture)


def test_weights_are_no_part_of_a_set(album, tmp_path):
    also = (SourceSettings(source="synthetic", weight=2.0),)
    settings = settings_of(album[0], also=also)
    with pytest.raises(ConfigError, match=r"data\.weight: .* prepare each source by itself"):
        prepare(source_of(settings), settings, tmp_path / "set", licence="", progress=bar)


def test_keys_ascend_and_fill_as_many_buckets_as_are_to_be_open():
    count = 100_000
    keys = [prepared._key(number, count) for number in range(count)]
    assert keys == sorted(set(keys))
    buckets = [tfds.core.shuffle.get_bucket_number(key, prepared.ITS_BUCKETS) for key in keys]
    assert buckets == sorted(buckets)
    assert np.bincount(buckets).tolist() == [count // prepared.BUCKETS] * prepared.BUCKETS


def test_a_set_that_does_not_fit_into_memory_is_the_same(album, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.shuffle, "MAX_MEM_BUFFER_SIZE", 20_000)  # three samples
    prepare_at(album[0], tmp_path / "set", licence="CC0", resize="pad")
    assert contents(tmp_path / "set") == contents(album[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ("cat",)}, r"data\.classes: .*out was prepared with \['person'\], .* say \['cat'\]"),
        ({"resize": "stretch"}, r"data\.resize: .*prepared with pad"),
        ({"ignore_class": 254}, r"data\.ignore_class"),
        ({"image_size": (64, 128)}, r'prepared at 32 x 64 .* say 64 x 128 .*"data\.image_size=\[32, 64\]"'),
        ({"image_size": (32, 32)}, r"data\.image_size"),
    ],
)
def test_settings_that_do_not_fit_the_set_are_explained(album, settings, message):
    data = DataSettings(**{"image_size": SIZE, "resize": "pad", **settings})
    with pytest.raises(ConfigError, match=message):
        open_tfds(data, SourceSettings(source="tfds", roots=(album[1],)))


def test_one_prepared_set_is_named(album):
    for roots, message in (
        ((), "nothing is given"),
        ((album[1], album[0]), "out, .*photos is given; name the folder of one"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_tfds(DataSettings(), SourceSettings(source="tfds", roots=roots))
    with pytest.raises(DataError, match=r"photos/metadata\.json: cannot be read: No such file"):
        opened(album[0])


def test_a_damaged_record_is_named(album, tmp_path):
    out = shutil.copytree(album[1], tmp_path / "out")
    file = out / "kseg_prepared-train.tfrecord-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[content.rindex(b"IDAT") - 3000] ^= 1  # of the last picture
    file.write_bytes(content)
    source = opened(out, resize="pad")
    source.load(9)
    with pytest.raises(DataError, match=r"train\.tfrecord-00000-of-00001: record 8 cannot be decoded; copy or prepare"):
        source.load(10)


def test_a_full_disk_is_said_and_the_set_goes_on_with_more(album, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=120k", "tmpfs"]
    mounted = subprocess.run(["mount", *options, disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        for size in ("120k", "180k"):  # too small for the samples read; then for the set made of them
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            with pytest.raises(DataError, match=r"cannot be written: .*free some space"):
                prepare_at(album[0], disk / "set", licence="CC0", resize="pad")
            assert not (disk / "set").exists()
        subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
        prepare_at(album[0], disk / "set", licence="CC0", resize="pad")
        assert contents(disk / "set") == contents(album[1])
    finally:
        subprocess.run(["umount", disk], check=True)


def test_reasons_of_an_interrupted_run_are_forgotten_with_it(album, tmp_path, monkeypatch):
    """Killed between the reasons and the samples of a file; then the sample is mended."""
    _, _, settings = album
    loader = Loader(source_of(settings), SIZE, resize="pad", cache=False)

    def encode(position):
        if position == 1 and not mended:
            raise DataError("p001 is broken")
        return prepared.Stored.encode(loader.load(position), (48, 40))

    def killed(path):
        raise KeyboardInterrupt

    mended = False
    with staging.Staging(tmp_path / "staged", 12) as work:
        work.begin("order")
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(staging, "replacing", killed)
            work.fill(work.missing(), encode, skip=True, done=lambda _: None)
        assert (tmp_path / "staged" / "chunk-00000.json").exists()
        mended = True
        work.fill(work.missing(), encode, skip=True, done=lambda _: None)
        read, problems = work.samples()
        assert problems == {}
        np.testing.assert_array_equal(read(1).decode().picture, loader.load(1).picture)


def test_lists_may_name_what_is_left_out(photos, tmp_path):
    (photos / "images" / "p001.jpg").write_bytes(b"")
    (photos / "masks" / "p002.png").unlink()
    (tmp_path / "t.txt").write_text("p000\np001\np002\n")
    (tmp_path / "v.txt").write_text("p003\n")
    lists = {"train_list": tmp_path / "t.txt", "validation_list": tmp_path / "v.txt"}
    split, skipped = prepare_at(photos, tmp_path / "set", on_bad_sample="skip", **lists)
    assert skipped.keys() == {"photos/p001", "photos/p002"}
    assert (len(split.training), len(split.validation)) == (1, 1)
