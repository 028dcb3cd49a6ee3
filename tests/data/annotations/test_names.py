import pytest

from kseg.data.annotations.names import LabelNames
from kseg.errors import ConfigError, DataError


def test_the_name_of_a_class_is_that_class_and_a_mapping_goes_before_it():
    assert LabelNames(["person"]).id_of("person") == 1
    assert LabelNames(["person"]).id_of("background") == 0
    names = LabelNames(["road", "car", "person"], {"person": "ignore", "truck": "car", "bus": 1, "other": "road"})
    found = [names.id_of(label) for label in ("road", "car", "person", "truck", "bus", "cat")]
    assert found == [0, 1, 255, 1, 1, 0]


def test_a_crowd_is_ignored_unless_told_and_never_more_than_its_label():
    names = LabelNames(["person"], {"sheep": "background", "statue": "ignore"})
    assert (names.id_of("person", crowd=True), names.id_of("sheep", crowd=True), names.void) == (255, 0, 255)
    names = LabelNames(["person"], {"sheep": 0, "statue": "ignore", "crowd": "person", "void": "background"}, 7)
    assert [names.id_of(label, crowd=True) for label in ("person", "sheep", "statue")] == [1, 0, 7]
    assert names.void == 0


def test_a_crowd_of_class_0_is_one_where_that_is_not_the_background():
    names = LabelNames(["person", "car", "road"], {"crowd": "ignore", "void": "car"})
    assert [names.id_of(label, crowd=True) for label in ("person", "car")] == [255, 255]
    names = LabelNames(["background", "person"], {"sheep": "background"})
    assert [names.id_of(label, crowd=True) for label in ("sheep", "person")] == [0, 255]


def test_all_unknown_labels_are_listed_by_count_with_the_setting_that_maps_them():
    with pytest.raises(DataError) as raised:
        LabelNames(["person"]).require_known("set", {"cat": 2, "Person": 9, "person": 5, "dog": 0})
    message = str(raised.value)
    assert message.startswith("set: unknown labels Person (9) (did you mean person?), cat (2), dog; known are")
    assert 'mask_values = { "Person" = "background" }' in message
    assert '"other" = "background"' in message
    LabelNames(["person"], {"other": 0}).require_known("set", {"cat": 2})


def test_where_no_class_is_the_background_ignoring_is_proposed():
    with pytest.raises(DataError, match='"cat" = "ignore"'):
        LabelNames(["road", "car"]).id_of("cat")


def test_a_key_that_is_no_label_is_refused():
    names = LabelNames(["person"], {"persn": "person", "other": "background"})
    with pytest.raises(ConfigError, match=r'"persn" is no label of set \(did you mean person\?\); there are cat, pers'):
        names.require_known("set", {"person": 3}, {"person", "cat"})
    with pytest.raises(ConfigError, match="did you mean person"):
        names.require_known("set", {"person": 3})


def test_a_label_that_happens_not_to_be_used_is_none():
    names = LabelNames(["person"], {"bicycle": "background", "crowd": "ignore", "void": "ignore"})
    names.require_known("set", {"person": 3})
    with pytest.raises(ConfigError, match='"bicycle" is no label'):
        names.require_known("set", {"person": 3}, {"person"})
    names.require_known("set", {"person": 3}, {"person", "bicycle"})


def test_a_value_that_is_no_class_is_refused():
    with pytest.raises(ConfigError, match=r'"dog" = .persn. is no class \(did you mean person'):
        LabelNames(["person"], {"dog": "persn"})


def test_a_long_list_is_cut():
    with pytest.raises(DataError, match=r"label29 \(1\) and 5 more"):
        LabelNames(["person"]).require_known("set", {f"label{index:02}": 1 for index in range(35)})
