import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from kseg.data.labels import LabelMap
from kseg.errors import ConfigError, DataError


@pytest.mark.parametrize("person", [1, 255])
def test_a_binary_mask_may_use_1_or_255(person):
    stored = np.array([[0, person], [person, 0]], np.uint8)
    np.testing.assert_array_equal(LabelMap(["person"]).encode(stored), [[0, 1], [1, 0]])


@pytest.mark.parametrize("ignore_class", [255, 254])
@pytest.mark.parametrize("other", [None, "ignore", "background"])
def test_one_file_cannot_mix_1_and_255(other, ignore_class):
    """Nobody but the user knows whether 255 is the person there, or what is to be ignored."""
    labels = LabelMap(["person"], other and {"other": other}, ignore_class)
    known = r"known are 0 and 1, or 0 and 255, and this file mixes them; map all"
    with pytest.raises(DataError, match=rf"unknown mask values 1 \(1 pixels\); {known}") as raised:
        labels.encode(np.array([[0, 1, 255]], np.uint8))
    assert "other" not in str(raised.value)  # which would not help
    proposed = LabelMap(["person"], mapping_in(str(raised.value)), ignore_class)
    np.testing.assert_array_equal(proposed.encode(np.array([[0, 1, 255]], np.uint8)), [[0, 1, 1]])


def mapping_in(message):
    """The first setting that a message proposes."""
    return tomllib.loads(re.search(r"mask_values = \{.*?\}", message)[0])["mask_values"]


@pytest.mark.parametrize(("other", "found"), [("ignore", 255), ("background", 0)])
def test_of_a_binary_mask_other_is_what_is_neither_background_nor_person(other, found):
    labels = LabelMap(["person"], {"other": other})
    for stored, expected in (
        ([0, 128, 255], [0, found, 1]),
        ([0, 1, 7], [0, 1, found]),
        ([0, 1, 7, 255], [0, found, found, 1]),  # in a mask of 0 and 255 with soft edges, 1 is all but nothing
        ([0, 255], [0, 1]),
        ([0, 1], [0, 1]),
        ([0, 7], [0, found]),
    ):
        np.testing.assert_array_equal(labels.encode(np.array([stored], np.uint16)), [expected])


@pytest.mark.parametrize("classes", [["person"], ["background", "skin", "hair"]])
def test_the_mapping_that_is_proposed_names_all_values(classes):
    stored = np.array([[0, 1, 9, 17]], np.uint8)
    with pytest.raises(DataError) as raised:
        LabelMap(classes).encode(stored)
    proposed = LabelMap(classes, mapping_in(str(raised.value)))
    np.testing.assert_array_equal(proposed.encode(stored), [[0, 1, 1, 1]])
    np.testing.assert_array_equal(LabelMap(classes, {"other": "ignore"}).encode(stored), [[0, 1, 255, 255]])
    assert 'or map the rest at once: mask_values = { "other" = "ignore" }' in str(raised.value)


@pytest.mark.parametrize("stored", [np.arange(256)[None], np.array([[0, 77]])], ids=["many values", "many classes"])
def test_no_mapping_is_proposed_that_would_fill_the_screen(stored):
    with pytest.raises(DataError) as raised:
        LabelMap(["person"] if stored.size > 2 else [f"class {number}" for number in range(40)]).encode(stored)
    assert mapping_in(str(raised.value)) == {"other": "ignore"}


def test_to_a_mapping_that_is_there_is_added():
    with pytest.raises(
        DataError, match=r'known are 0, 3; add them to mask_values, such as "9" = 1, or "ignore"; or add'
    ):
        LabelMap(["person"], {"0": 0, "3": 1}).encode(np.array([[0, 3, 9]], np.uint8))


def test_the_readme_shows_what_is_said():
    with pytest.raises(DataError) as raised:
        LabelMap(["person"]).encode(np.full(5210, 128, np.uint8))
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"017\.png: (unknown mask values .*) \.\.\.", readme)[1]
    assert str(raised.value).startswith(shown)


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
        ({"²,0,0": 1}, "neither a value"),
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
