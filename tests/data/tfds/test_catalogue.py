"""The code of TensorFlow Datasets' catalogue and records as it writes them; only what is in them is made up."""

import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_tfds import made_examples, picture, write_set

from kseg.data.tfds.source import open_tfds
from kseg.errors import ConfigError, DataError
from kseg.settings import DataSettings, SourceSettings, TfdsSettings

PETS = {"1": "pet", "2": "background", "3": "ignore"}


def opened(name, data_dir, *, classes=("person",), values=None, **tfds_settings):
    settings = SourceSettings(
        source="tfds", mask_values=values or {}, tfds=TfdsSettings(name=name, data_dir=str(data_dir), **tfds_settings)
    )
    return open_tfds(DataSettings(classes=classes), settings)


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Oxford's pets: eleven for training, three for the test; masks of 1 (pet), 2 (background), 3 (border)."""
    home = tmp_path_factory.mktemp("pets")
    dice = np.random.default_rng(0)
    examples = made_examples("oxford_iiit_pet", 14)
    for example in examples:
        height, width, _ = example["image"].shape
        example["head_bbox"] = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
        example["segmentation_mask"] = dice.integers(1, 4, (height, width, 1), np.uint8)
    write_set("oxford_iiit_pet", home, {"train": examples[:11], "test": examples[11:]})
    return home


def pets_of(home, **settings):
    chosen = {"mask": "segmentation_mask", "validation": "test", **settings}
    return opened("oxford_iiit_pet", home, classes=("pet",), values=PETS, **chosen)


def test_samples_are_what_tensorflow_datasets_itself_reads(pets):
    source = pets_of(pets)
    assert source.names == [*(f"train/{i:06}" for i in range(11)), *(f"test/{i:06}" for i in range(3))]
    assert source.split == (list(range(11)), [11, 12, 13])
    expected = [
        example
        for split in ("train", "test")
        for example in tfds.as_numpy(tfds.load("oxford_iiit_pet", split=split, data_dir=str(pets)))
    ]
    meaning = np.array([99, 1, 0, 255], np.uint8)
    for index in np.random.default_rng(1).permutation(14):
        sample = source.load(index)
        np.testing.assert_array_equal(sample.picture, expected[index]["image"])
        np.testing.assert_array_equal(sample.mask, meaning[expected[index]["segmentation_mask"][..., 0]])
        assert sample.picture.dtype == sample.mask.dtype == np.uint8


def test_parts_of_a_split_keep_their_samples_names(pets):
    whole = pets_of(pets)
    source = pets_of(pets, train="train[:-4]", validation="train[7:]")  # within a file of two
    assert source.names == whole.names[:11]
    assert source.split == (list(range(7)), [7, 8, 9, 10])
    part = pets_of(pets, train="train[25%:70%]+test", validation=None)
    assert part.names == [*whole.names[3:8], *whole.names[11:]]
    assert part.split is None
    np.testing.assert_array_equal(part.load(3).picture, whole.load(6).picture)
    np.testing.assert_array_equal(part.load(6).mask, whole.load(12).mask)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": "validation"}, r"data\.tfds\.validation: validation .* splits are train, test; parts of them"),
        ({"train": "train[::10]"}, r"data\.tfds\.train: train\[::10\] cannot be had"),
        ({"validation": "train[:1]"}, "have samples in common"),
        ({"mask": "segmentation_maks"}, r"did you mean segmentation_mask\?\); its pictures are image, segm"),
        ({"picture": "label"}, r"data\.tfds\.picture: label is no picture"),
        ({"objects": "head_bbox"}, r"data\.tfds\.objects: head_bbox .* lists no segments with id, is_crowd, label"),
    ],
)
def test_settings_that_do_not_fit_the_set_are_explained(pets, settings, message):
    with pytest.raises(ConfigError, match=message):
        pets_of(pets, **settings)


def test_unknown_values_name_file_and_record(pets):
    source = opened(
        "oxford_iiit_pet", pets, classes=("pet",), values={"1": "pet"}, mask="segmentation_mask", validation="test"
    )
    with pytest.raises(DataError, match=r"oxford_iiit_pet-train\.tfrecord-00002.*: record 1: unknown mask values [23]"):
        source.load(5)


def test_a_damaged_record_is_named(pets, tmp_path):
    copy = shutil.copytree(pets, tmp_path / "copy")
    file = next(copy.rglob("*train.tfrecord-00001*"))
    content = bytearray(file.read_bytes())
    place = content.rindex(b"IHDR")
    content[place - 8 : place - 4] = b"JUNK"
    file.write_bytes(content)
    source = pets_of(copy)
    source.load(0)
    with pytest.raises(DataError, match=r"tfrecord-00001.*: record 1: .*[Uu]nknown image file format"):
        source.load(3)


def test_colours_and_grey_masks_of_three_channels(tmp_path):
    """``scene_parse150``, whose masks have three channels: of the first record they are equal."""
    ids = np.random.default_rng(5).integers(0, 2, (40, 56), np.uint8) * 12
    colours = np.array([(0, 0, 0), (120, 10, 0)], np.uint8)[ids // 12]
    examples = made_examples("scene_parse150", 2)
    for number, mask in enumerate((np.repeat(ids[..., None], 3, axis=2), colours)):
        examples[number] |= {"image": picture(number), "annotation": mask}
    write_set("scene_parse150", tmp_path, {"train": examples})
    settings = {"mask": "annotation", "validation": None}
    values = opened("scene_parse150", tmp_path, values={"12": "person", "other": "background"}, **settings)
    np.testing.assert_array_equal(values.load(0).mask, ids // 12)
    with pytest.raises(DataError, match=r'record 1: a coloured mask, .*mask = "annotation\[0\]"'):
        values.load(1)
    coloured = opened("scene_parse150", tmp_path, values={"0,0,0": 0, "#780a00": 1}, **settings)
    np.testing.assert_array_equal(coloured.load(1).mask, ids // 12)
    settings["mask"] = "annotation[0]"
    red = opened("scene_parse150", tmp_path, values={"0": 0, "120": 1}, **settings)
    np.testing.assert_array_equal(red.load(1).mask, ids // 12)
    with pytest.raises(ConfigError, match=r"annotation has 3 channels"):
        opened("scene_parse150", tmp_path, mask="annotation[3]", validation=None)


def test_panoptic_segments_by_the_names_of_their_labels(tmp_path):
    """``coco/2017_panoptic``: a segment's number is R + 256 G + 65536 B, its label a name, a crowd is ignored."""
    names = [f"thing {number}" for number in range(133)]
    names[0], names[17] = "person", "cat"
    segments = {70_003: (0, False), 513: (17, False), 9: (0, True), 40: (50, False), 0: None}
    numbers = np.random.default_rng(2).choice(list(segments), (40, 56))
    drawn = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)
    example = made_examples("coco/2017_panoptic", 1)[0]
    example |= {"image": picture(0), "panoptic_image": drawn}
    example["panoptic_objects"] = [
        {
            "id": number,
            "area": 1,
            "bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
            "label": found[0],
            "is_crowd": found[1],
        }
        for number, found in segments.items()
        if found
    ]
    write_set("coco/2017_panoptic", tmp_path, {"train": [example]}, labels={"panoptic_objects/label": names})
    settings = {"mask": "panoptic_image", "objects": "panoptic_objects", "validation": None}
    source = opened("coco/2017_panoptic", tmp_path, values={"other": "background"}, **settings)
    expected = np.select([numbers == 70_003, (numbers == 9) | (numbers == 0)], [1, 255], 0)
    np.testing.assert_array_equal(source.load(0).mask, expected)
    with pytest.raises(DataError, match=r"coco/2017_panoptic: unknown labels .*cat"):
        opened("coco/2017_panoptic", tmp_path, **settings)


def test_an_unknown_set_is_no_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"oxford_iiit_pets is not .* catalogue \(did you mean oxford_iiit_pet\?\)"):
        opened("oxford_iiit_pets", tmp_path)


class ChannelsSet(tfds.core.GeneratorBasedBuilder):
    """Grey pictures, colours, and colours with transparency."""

    VERSION = tfds.core.Version("1.0.0")
    CHANNELS = (1, 3, 4)

    def _info(self):
        pictures = {f"picture_{count}": tfds.features.Image(shape=(None, None, count)) for count in self.CHANNELS}
        features = {**pictures, "mask": tfds.features.Image(shape=(None, None, 1))}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        whole = np.concatenate([picture(0), picture(1)[..., :1]], axis=2)
        pictures = {f"picture_{count}": whole[..., :count] for count in self.CHANNELS}
        yield 0, {**pictures, "mask": np.ones((40, 56, 1), np.uint8)}


@pytest.mark.parametrize(
    ("name", "channels"), [("picture_1", [0, 0, 0]), ("picture_3", [0, 1, 2]), ("picture_4", [0, 1, 2])]
)
def test_a_picture_is_rgb_whatever_it_is_stored_as(tmp_path, name, channels):
    source = opened("channels_set", tmp_path, picture=name, mask="mask", validation=None)
    np.testing.assert_array_equal(source.load(0).picture, picture(0)[..., channels], strict=True)


class UnreachableSet(tfds.core.GeneratorBasedBuilder):
    """A set whose pictures are where nobody answers."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": tfds.features.Image()})
        )

    def _split_generators(self, dl_manager):
        raise ConnectionError("nobody answers\nat all")

    def _generate_examples(self):
        yield from ()


def test_what_cannot_be_fetched_says_why(tmp_path):
    with pytest.raises(DataError, match=r"unreachable_set: cannot be had: nobody answers; it needs a network; or copy"):
        opened("unreachable_set", tmp_path)
    manual = rf"cityscapes: cannot be had: .* by hand, into {tmp_path}/downloads/manual: You"
    with pytest.raises(DataError, match=manual):
        opened("cityscapes", tmp_path, mask="segmentation_label", picture="image_left")
