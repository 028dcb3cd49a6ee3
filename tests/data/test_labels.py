import numpy as np
import pytest

from kseg.data.labels import LabelMap
from kseg.errors import ConfigError, DataError


@pytest.mark.parametrize("person", [1, 255])
def test_a_binary_mask_may_use_1_or_255(person):
    stored = np.array([[0, person], [person, 0]], np.uint8)
    np.testing.assert_array_equal(LabelMap(["person"]).encode(stored), [[0, 1], [1, 0]])


def test_one_file_cannot_mix_1_and_255():
    with pytest.raises(DataError, match=r"unknown mask values 1 \(1 pixels\).*mask_values"):
        LabelMap(["person"]).encode(np.array([[0, 1, 255]], np.uint8))


def test_unknown_values_are_listed_with_their_pixels_most_frequent_first():
    stored = np.array([[0, 255, 128, 128, 128, 7]], np.uint8)
    with pytest.raises(DataError, match=r"128 \(3 pixels\), 7 \(1 pixels\).*\"128\" = 1"):
        LabelMap(["person"]).encode(stored)


def test_soft_edges_are_recognised_as_such():
    with pytest.raises(DataError, match=r"soft edges or JPEG.*PNG"):
        LabelMap(["person"]).encode(np.arange(256, dtype=np.uint8)[None])


def test_with_more_classes_the_value_is_the_id_and_ignore_is_itself():
    labels = LabelMap(["background", "skin", "hair"])
    np.testing.assert_array_equal(labels.encode(np.array([[0, 1, 2, 255]], np.uint8)), [[0, 1, 2, 255]])
    with pytest.raises(DataError, match=r"3 \(1 pixels\); known are 0, 1, 2, 255"):
        labels.encode(np.array([[0, 3]], np.uint8))


def test_values_map_by_name_id_and_ignore():
    labels = LabelMap(["background", "skin"], {"0": "background", "10": "skin", "11": 1, "300": "ignore"})
    np.testing.assert_array_equal(labels.encode(np.array([[0, 10, 11, 300]], np.uint16)), [[0, 1, 1, 255]])


def test_colours_map_however_they_are_written():
    labels = LabelMap(["background", "skin", "hair"], {"0,0,0": 0, "#800000": "skin", "0, 128, 0": "hair"})
    assert labels.colours
    stored = np.array([[[0, 0, 0], [128, 0, 0], [0, 128, 0]]], np.uint8)
    np.testing.assert_array_equal(labels.encode(stored), [[0, 1, 2]])
    with pytest.raises(DataError, match=r"unknown mask values 1,2,3 \(1 pixels\).*\"1,2,3\" = 1"):
        labels.encode(np.array([[[1, 2, 3]]], np.uint8))


def test_a_binary_mask_may_be_mapped_too():
    labels = LabelMap(["person"], {"15": "person", "0": "background", "255": "ignore"})
    np.testing.assert_array_equal(labels.encode(np.array([[0, 15, 255]], np.uint8)), [[0, 1, 255]])


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"red": 1}, "neither a value"),
        ({"70000": 1}, "neither a value"),
        ({"1,2,300": 1}, "neither a value"),
        ({"255": 2}, "is no class"),
        ({"255": "persn"}, "did you mean person"),
        ({"255": 1, "1,2,3": 1}, "mixed"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(mapping, message):
    with pytest.raises(ConfigError, match=message):
        LabelMap(["person"], mapping)


def test_other_is_whatever_is_not_named():
    stored = np.array([[0, 1, 7, 200]], np.uint16)
    labels = LabelMap(["person"], {"1": "person", "other": "background"})
    np.testing.assert_array_equal(labels.encode(stored), [[0, 1, 0, 0]])
    np.testing.assert_array_equal(
        LabelMap(["sky", "road"], {"other": "ignore"}).encode(stored),
        [[0, 1, 255, 255]],
    )
    colours = np.array([[[128, 0, 0], [1, 2, 3]]], np.uint8)
    np.testing.assert_array_equal(LabelMap(["person"], {"#800000": 1, "other": 0}).encode(colours), [[1, 0]])
