import numpy as np
import pytest

from kseg.data.folder import FolderSource
from kseg.data.loading import Loader, free_memory, require_no_problems
from kseg.data.samples import Original
from kseg.errors import DataError
from kseg.settings import DataSettings


class Counting:
    """A source that counts how often each sample is loaded; sample 2 is broken."""

    def __init__(self, count=5):
        self.names = [f"s{index}" for index in range(count)]
        self.skipped = {}
        self.loads = np.zeros(count, int)

    def load(self, index, view=None):
        self.loads[index] += 1
        if index == 2:
            raise DataError("s2.jpg: broken")
        return Original.whole(np.full((10, 10, 3), index, np.uint8), np.full((5, 5), index, np.uint8))


@pytest.mark.parametrize("cache", [True, False])
def test_samples_have_the_networks_size_cached_or_not(cache):
    source = Counting()
    loader = Loader(source, (32, 64), cache=cache)
    for _ in range(3):
        picture, mask = loader.load(1)
        assert picture.shape == (32, 64, 3)
        assert mask.shape == (32, 64)
        assert (picture == 1).all()
        assert (mask == 1).all()
    assert source.loads[1] == (1 if cache else 3)


def test_auto_caches_what_fits():
    assert Loader(Counting(), (32, 32)).cached
    assert not Loader(Counting(10_000_000), (1024, 1024)).cached


def test_verify_finds_every_problem_and_fills_the_cache():
    source = Counting()
    loader = Loader(source, (32, 32), cache=True)
    problems = loader.verify(range(5))
    assert problems == {2: "s2.jpg: broken"}
    assert loader.failure is None
    loader.load(1)
    assert source.loads[1] == 1
    with pytest.raises(DataError, match=r"s2\.jpg"):
        require_no_problems(problems)
    require_no_problems({})


def test_many_problems_are_counted_not_all_listed():
    with pytest.raises(DataError) as raised:
        require_no_problems({index: f"p{index}" for index in range(30)})
    assert str(raised.value).splitlines()[-2] == "... and 20 more"


def test_the_first_failure_is_kept():
    loader = Loader(Counting(), (32, 32))
    with pytest.raises(DataError):
        loader.load(2)
    assert str(loader.failure) == "s2.jpg: broken"


def test_real_pictures_of_every_shape_fit(real_data):
    source = FolderSource(DataSettings(roots=(real_data / "people",)))
    assert Loader(source, (64, 64)).verify(range(0, 193, 8)) == {}


def test_free_memory_is_a_sensible_number():
    assert 10**7 < free_memory() < 10**14
