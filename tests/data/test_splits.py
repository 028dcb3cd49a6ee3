import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseg.data.splits import Split, choose_split, find_split, split_every
from kseg.errors import DataError
from kseg.settings import DataSettings


def test_every_tenth_validates_counted_from_one():
    split = split_every(25, 10)
    assert split.validation == [9, 19]
    assert split.training == [*range(9), *range(10, 19), *range(20, 25)]


@given(count=st.integers(2, 500), every=st.integers(2, 50))
def test_each_sample_is_in_exactly_one_part(count, every):
    if count < every:
        with pytest.raises(DataError, match="validation_every"):
            split_every(count, every)
    else:
        split = split_every(count, every)
        assert sorted(split.training + split.validation) == list(range(count))
        assert len(split.validation) == count // every


def test_what_is_left_out_does_not_count():
    split = choose_split([f"s{i}" for i in range(22)], {0, 5}, DataSettings())
    assert split.validation == [11, 21]  # the tenth and twentieth of the rest
    assert not {0, 5} & set(split.training)


@pytest.fixture
def lists(tmp_path):
    def write(training, validation):
        (tmp_path / "t.txt").write_text(training)
        (tmp_path / "v.txt").write_text(validation)
        return DataSettings(train_list=tmp_path / "t.txt", validation_list=tmp_path / "v.txt")

    return write


NAMES = ["a/1", "a/2", "a/3", "b/3", "b/x.y"]


def test_lists_take_names_with_or_without_folder_and_ending(lists):
    split = choose_split(NAMES, set(), lists("# mine\n1.jpg\n\na/2\n", "b/3.png\nx.y\n"))
    assert split == ([0, 1], [3, 4])


@pytest.mark.parametrize(
    ("training", "validation", "message"),
    [
        ("a/1\na/2", "a/2", r"v\.txt: a/2 is also in"),
        ("a/1", "a/9", "no sample is called a/9"),
        ("a/1", "3", "stands in several folders"),
        ("a/1", ".", r"v\.txt: no sample is called \."),
        ("/", "a/1", r"t\.txt: no sample is called /"),
        ("a/1", "# nothing\n", "names no sample"),
    ],
)
def test_lists_that_cannot_be_are_refused(lists, training, validation, message):
    with pytest.raises(DataError, match=message):
        choose_split(NAMES, set(), lists(training, validation))


def test_lists_may_name_what_is_left_out(lists):
    settings = lists("a/1\na/2\nb/gone.jpg\n", "a/3\nb/3\nlost\n")
    assert choose_split(NAMES, {1, 3}, settings, skipped=["b/gone", "b/lost"]) == ([0], [2])
    with pytest.raises(DataError, match="no sample is called b/gone"):
        choose_split(NAMES, {1, 3}, settings)
    with pytest.raises(DataError, match=r"v\.txt: none of the samples that it names can be used"):
        choose_split(NAMES, {2, 3}, settings, skipped=["b/gone", "b/lost"])
    with pytest.raises(DataError, match=r"v\.txt: b/gone is also in"):
        choose_split(NAMES, (), lists("a/1\ngone\n", "a/3\nb/gone\n"), skipped=["b/gone"])


def test_of_two_samples_of_one_name_the_one_that_is_there_is_meant(lists):
    settings = lists("a/1\na/2\n", "b/3\n")
    assert choose_split(NAMES, (), settings, skipped=["a/1", "b/3"]) == ([0, 1], [3])


def test_an_earlier_split_is_found_by_name():
    assert find_split(NAMES, ["a/2", "a/1"], ["b/3"]) == ([1, 0], [3])
    with pytest.raises(DataError, match="c/1: was there when the run started"):
        find_split(NAMES, ["a/1"], ["c/1"])


def test_a_source_that_splits_its_own_samples_is_heard():
    names = [f"s{i}" for i in range(14)]
    own = Split([0, 2, 3], [1])
    # the other ten, 4 ... 13: every fifth of them validates
    split = choose_split(names, {3}, DataSettings(validation_every=5), own)
    assert split == Split([0, 2, 4, 5, 6, 7, 9, 10, 11, 12], [1, 8, 13])
    assert choose_split(names[:4], set(), DataSettings(), own) == own
