import numpy as np
import pytest
from PIL import Image
from support import make_photos

from kseg.data.folder import FolderSource
from kseg.data.samples import View
from kseg.data.sources import Joined, SyntheticSource, open_source
from kseg.data.splits import Split
from kseg.data.synthetic import PARTS
from kseg.errors import ConfigError, DataError
from kseg.settings import DataSettings, SourceSettings, SyntheticSettings


def folder(*roots, **settings):
    return FolderSource(DataSettings(roots=roots, **settings))


def test_pictures_and_masks_are_matched_by_stem_and_sorted(photos):
    source = folder(photos)
    assert source.names == [f"photos/p{index:03}" for index in range(12)]
    picture, mask, size = source.load(3)
    assert size == (48, 40)
    assert picture.shape == (48, 40, 3)
    assert mask.shape == (48, 40)
    assert set(np.unique(mask)) <= {0, 1}


def test_several_roots_follow_one_another(photos, tmp_path):
    more = make_photos(tmp_path / "more", 2)
    assert folder(photos, more).names[-3:] == ["photos/p011", "more/p000", "more/p001"]
    same = make_photos(tmp_path / "x" / "photos", 1)
    assert folder(photos, same).names[-1] == f"{same}/p000"
    with pytest.raises(DataError, match="named twice"):
        folder(photos, photos)


def test_folder_names_are_settable_and_other_files_ignored(photos):
    (photos / "images").rename(photos / "JPEGImages")
    (photos / "JPEGImages" / "notes.txt").write_text("x")
    (photos / "JPEGImages" / "._p000.jpg").write_text("x")
    (photos / "JPEGImages" / "p000.jpg").rename(photos / "JPEGImages" / "p000.JPG")
    assert len(folder(photos, images="JPEGImages").names) == 12


def test_a_smaller_mask_of_the_same_aspect_is_taken(photos):
    path = photos / "masks" / "p000.png"
    Image.open(path).resize((20, 24), Image.Resampling.NEAREST).save(path)
    assert folder(photos).load(0).mask.shape == (24, 20)


@pytest.mark.parametrize(("size", "message"), [((20, 20), "another aspect; make"), ((48, 40), "EXIF orientation")])
def test_a_mask_of_another_aspect_is_an_error(photos, size, message):
    path = photos / "masks" / "p000.png"
    Image.new("L", size).save(path)
    with pytest.raises(DataError, match=message) as raised:
        folder(photos).load(0)
    assert "p000.png" in str(raised.value)
    assert "40 x 48" in str(raised.value)


def test_unknown_values_name_the_mask(photos):
    Image.new("L", (40, 48), 77).save(photos / "masks" / "p001.png")
    with pytest.raises(DataError, match=r"p001\.png: unknown mask values 77 \(1920 pixels\)"):
        folder(photos).load(1)


def test_a_missing_mask_is_an_error_or_left_out_with_its_reason(photos):
    (photos / "masks" / "p004.png").unlink()
    with pytest.raises(DataError, match=r"p004\.jpg: has no mask .*p004\.png"):
        folder(photos)
    source = folder(photos, on_bad_sample="skip")
    assert "photos/p004" not in source.names
    assert "has no mask" in source.skipped["photos/p004"]


@pytest.mark.parametrize("what", ["images", "masks"])
def test_missing_and_empty_folders_are_named(photos, what):
    for file in (photos / what).iterdir():
        file.unlink()
    with pytest.raises(DataError, match=f"{what}: no .* in it .*empty"):
        folder(photos)
    (photos / what / "a.heic").touch()
    with pytest.raises(DataError, match=r"it holds \.heic files"):
        folder(photos)
    (photos / what / "a.heic").unlink()
    (photos / what).rmdir()
    with pytest.raises(DataError, match=f"{what}: no such folder"):
        folder(photos)


def test_two_pictures_with_one_stem_are_an_error(photos):
    Image.new("RGB", (40, 48)).save(photos / "images" / "p000.png")
    with pytest.raises(DataError, match=r"p000\.png: has the stem of p000\.jpg"):
        folder(photos)


def test_no_root_says_how_to_give_one():
    with pytest.raises(ConfigError, match="--data DIR"):
        folder()


def test_synthetic_scenes_carry_people_or_parts():
    size = (64, 64)
    people = SyntheticSource(SyntheticSettings(scenes=20), size)
    parts = SyntheticSource(SyntheticSettings(scenes=20, labels="parts"), size)
    assert people.names[0] == "scene-00"
    for index in range(20):
        assert set(np.unique(parts.load(index).mask)) <= set(range(len(PARTS)))
        np.testing.assert_array_equal(people.load(index).mask, parts.load(index).mask > 0)


def test_synthetic_settings_that_disagree_are_refused(photos):
    synthetic = SyntheticSettings()
    with pytest.raises(ConfigError, match=r"data\.source=folder"):
        open_source(DataSettings(source="synthetic", roots=(photos,)), synthetic)
    with pytest.raises(ConfigError, match="has 1"):
        open_source(DataSettings(source="synthetic", classes=("a", "b")), synthetic)
    with pytest.raises(ConfigError, match="has 5: classes = "):
        open_source(DataSettings(source="synthetic"), SyntheticSettings(labels="parts"))


def test_the_real_pictures_can_all_be_read(real_data):
    people = folder(real_data / "people")
    street = folder(real_data / "street")
    assert (len(people.names), len(street.names)) == (193, 360)
    smaller = 0
    for index in range(0, 193, 4):
        picture, mask, _ = people.load(index)
        smaller += mask.shape[0] < picture.shape[0]
    assert smaller > 20  # most masks of this set are smaller than their photo


class Numbered:
    """Samples that say who they are."""

    def __init__(self, title, count, split=None, sound=True):
        self.names = [f"{title}/{index}" for index in range(count)]
        self.skipped = {f"{title}/lost": "gone"}
        self.split = split
        self.sound = sound

    def load(self, index, view=None):
        return self.names[index] if view is None else (self.names[index], view)


def test_joined_sources_follow_one_another_with_their_weights_and_splits():
    joined = Joined(
        [Numbered("a", 2), Numbered("b", 3, Split([0, 2], [1]), sound=False), Numbered("c", 1)], [1, 0.5, 3]
    )
    assert [joined.load(index) for index in range(6)] == joined.names == ["a/0", "a/1", "b/0", "b/1", "b/2", "c/0"]
    assert joined.load(3, View((8, 8))) == ("b/1", View((8, 8)))
    assert joined.weights.tolist() == [1, 1, 0.5, 0.5, 0.5, 3]
    assert joined.split == Split([2, 4], [3])
    assert not joined.sound
    assert sorted(joined.skipped) == ["a/lost", "b/lost", "c/lost"]


def test_two_sources_may_not_call_two_samples_alike():
    with pytest.raises(DataError, match="two sources have a sample called a/0"):
        Joined([Numbered("a", 2), Numbered("a", 1)], [1, 1])


def test_where_no_sample_is_left_the_reason_is_told(tmp_path):
    for folder, name in (("images", "a.png"), ("masks", "b.png")):
        (tmp_path / folder).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / folder / name)
    data = DataSettings(roots=(tmp_path,), on_bad_sample="skip")
    with pytest.raises(DataError, match=r"none of 1 samples can be used; the first: .*a\.png: has no mask"):
        open_source(data, SyntheticSettings())
    with pytest.raises(DataError, match=r"no sample in any source; look at data\.roots"):
        Joined([], [])


def test_sources_have_mappings_of_their_own(photos, tmp_path):
    more = make_photos(tmp_path / "more", 2)
    for path in (more / "masks").iterdir():
        Image.fromarray(np.where(np.asarray(Image.open(path)) > 0, 7, 3).astype(np.uint8)).save(path)
    also = (
        SourceSettings(roots=(more,), mask_values={"7": "person", "other": "background"}, weight=2.0),
        SourceSettings(source="synthetic"),
    )
    source = open_source(DataSettings(roots=(photos,), also=also, image_size=(32, 32)), SyntheticSettings(scenes=3))
    assert source.names[11:] == ["photos/p011", "more/p000", "more/p001", "scene-0", "scene-1", "scene-2"]
    for index in range(len(source.names)):
        assert set(np.unique(source.load(index).mask)) <= {0, 1}
    np.testing.assert_array_equal(source.load(12).mask, source.load(0).mask)
