"""Faults of all kinds are planted; all of them must be found, and nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from faults import Planter, found, read, save, turn
from PIL import Image
from support import make_photos

from kseg.cli.samples import open_samples
from kseg.config import load_settings
from kseg.data.check import Severity, check_data
from kseg.data.sources import FolderSource, open_source
from kseg.errors import ConfigError, DataError
from kseg.settings import DataSettings, Settings, SourceSettings, SyntheticSettings


def check(*roots, **settings):
    return check_data(DataSettings(roots=roots, **settings))


def messages(result, kind):
    return [finding.message for finding in result.findings if finding.kind == kind]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Sixty made photos, large enough for small faults; no test changes them."""
    return make_photos(tmp_path_factory.mktemp("made") / "photos", 60, 160, 128)


@pytest.fixture
def few(photos):
    """Twelve made photos that may be changed, each with a block of person in its mask."""
    values = np.zeros((48, 40), np.uint8)
    values[10:30, 10:30] = 255
    for path in (photos / "masks").iterdir():
        save(path, values)
    return photos


def test_every_planted_fault_is_found_in_made_photos_and_nothing_else(made, tmp_path):
    root = shutil.copytree(made, tmp_path / "photos")
    before = found(check(root))
    assert {kind for kind, _ in before} <= {"tiny object", "empty mask"}  # nobody is on some of them
    planter = Planter(root).plant_all()
    assert planter.faults >= 30
    result = check(root)
    now = found(result)
    assert planter.expected <= now, planter.expected - now
    assert now - planter.expected <= before, now - planter.expected - before
    assert result.failed


@pytest.mark.parametrize("name", ["people", "street"])
def test_every_planted_fault_is_found_in_real_photos_and_nothing_else(real_data, tmp_path, name):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for path in sorted((real_data / name / folder).iterdir())[:80]:
            shutil.copy(path, tmp_path / folder)
    before = found(check(tmp_path))
    assert {kind for kind, _ in before} <= {"tiny object"}
    planter = Planter(tmp_path).plant_all()
    now = found(check(tmp_path))
    assert planter.expected <= now, planter.expected - now
    assert now - planter.expected <= before, now - planter.expected - before


def test_nothing_false_is_said_of_the_real_photos(real_data):
    people = check(real_data / "people")
    # the duplicate that the set's description admits, and specks, which are there
    assert {finding.kind for finding in people.findings} <= {"duplicate across the split", "tiny object"}
    assert len(messages(people, "duplicate across the split")) == 1
    street = check(real_data / "street")
    fashion = check_data(load_settings(Path("configs/fashion.toml"), (), [real_data / "fashion"]).data)
    for result in (street, fashion):
        assert not result.failed
        assert {finding.kind for finding in result.findings} <= {"tiny object"}
        assert all(sample.usable for sample in result.samples)


def test_what_is_usable_is_what_training_loads(made, tmp_path):
    root = shutil.copytree(made, tmp_path / "photos")
    planter = Planter(root)
    planter.shapes()
    planter.values()
    planter.contents()
    result = check(root)
    source = FolderSource(DataSettings(roots=(root,), on_bad_sample="skip"))
    loads = {}
    for index, name in enumerate(source.names):
        try:
            source.load(index)
            loads[name] = True
        except DataError:
            loads[name] = False
    # a JPEG's values were right by chance: the one that training would take and should not
    usable = {sample.name: sample.usable for sample in result.samples if sample.mask}
    assert usable == loads
    assert not all(loads.values())


def test_each_unknown_value_has_its_pixels_and_the_setting(few):
    values = np.zeros((48, 40), np.uint8)
    values[0, :5] = 9
    values[1, :3] = 200
    save(few / "masks" / "p003.png", values)
    (message,) = messages(check(few), "unknown values")
    assert "9 (5 pixels), 200 (3 pixels)" in message
    assert '"255" = 1, "9" = 1, "200" = 1 }' in message


def test_colours_without_a_mapping_are_counted_too(few):
    colours = np.zeros((48, 40, 3), np.uint8)
    colours[0, :7] = 128, 0, 0
    save(few / "masks" / "p003.png", colours)
    (message,) = messages(check(few), "unknown values")
    assert "128,0,0 (7 pixels)" in message
    assert not messages(check(few, mask_values={"0,0,0": 0, "128,0,0": 1, "255,255,255": 1}), "unknown values")


def test_bad_samples_are_warnings_where_training_leaves_them_out(few):
    (few / "masks" / "p003.png").unlink()
    (few / "images" / "p004.jpg").write_bytes(b"")
    strict, lenient = check(few), check(few, on_bad_sample="skip")
    assert strict.failed
    assert not lenient.failed
    assert found(strict) == found(lenient)
    assert lenient.counts() == {"error": 0, "warning": 2, "note": 0}


def test_a_copy_is_an_error_across_the_split_only(few):
    """Twelve names, p000 to p011; every 10th validates: p009, the tenth."""
    shutil.copy(few / "images" / "p001.jpg", few / "images" / "p009.jpg")
    shutil.copy(few / "images" / "p001.jpg", few / "images" / "p005.jpg")
    result = check(few)
    assert [finding.severity for finding in result.findings] == [Severity.ERROR, Severity.WARNING]
    (across,) = messages(result, "duplicate across the split")
    (within,) = messages(result, "duplicate")
    assert "p009.jpg: is the same file as" in across
    assert "is for training, while this one is for validation" in across
    assert "p005.jpg" in within


def test_copies_of_what_cannot_be_used_are_compared_with_one_another(few):
    shutil.copy(few / "images" / "p000.jpg", few / "images" / "p005.jpg")
    shutil.copy(few / "images" / "p000.jpg", few / "images" / "p010.jpg")
    (few / "masks" / "p000.png").write_bytes(b"")  # so that p010 is the tenth
    result = check(few, on_bad_sample="skip")
    (across,) = messages(result, "duplicate across the split")
    assert "p010.jpg: is the same file as" in across
    assert "p005.jpg, which is for training" in across
    assert result.failed


def test_the_split_is_that_of_training_without_what_cannot_be_used(few):
    (few / "images" / "p000.jpg").write_bytes(b"")
    result = check(few, on_bad_sample="skip")
    assert result.samples[result.split.validation[0]].name == "photos/p010"
    (message,) = messages(check(few, validation_every=50), "split")
    assert "none would be" in message


def test_photos_and_masks_that_are_both_turned_are_right(made, tmp_path):
    root = shutil.copytree(made, tmp_path / "photos")
    before = found(check(root))
    for path in sorted((root / "images").iterdir()):
        turn(path, np.rot90(read(path), 2), 3)  # the masks are drawn on what is seen
    assert found(check(root)) == before


def test_a_mask_may_be_smaller(few):
    path = few / "masks" / "p000.png"
    with Image.open(path) as mask:
        mask.resize((20, 24), Image.Resampling.NEAREST).save(path)
    result = check(few)
    assert not result.findings
    assert result.to_json()["sizes"]["masks smaller than their picture"] == 1


def test_classes_are_counted_with_the_weights_that_follow(few):
    """Twelve masks of 1920 pixels, a quarter of each of two shows skin: 960 of 23040 pixels."""
    values = np.zeros((48, 40), np.uint8)
    values[:12] = 1
    for index in range(12):
        save(few / "masks" / f"p{index:03}.png", values if index in (0, 9) else 0 * values)
    result = check(few, classes=("background", "skin", "hair"))
    background, skin, hair = result.classes
    assert (skin.pixels, skin.pictures, hair.pixels) == (960, 2, 0)
    assert skin.share == pytest.approx(960 / 23040)
    assert skin.balanced is None
    (message,) = messages(result, "absent class")
    assert message.startswith("hair: no mask of the data set")
    background, skin = check(few, classes=("background", "skin")).classes
    assert skin.balanced == pytest.approx(23040 / (2 * 960))
    # frequencies: 22080 / 23040 of the background; of skin 960 of the 3840 pixels of the masks that show it
    assert skin.median == pytest.approx((22080 / 23040 + 960 / 3840) / 2 / (960 / 3840))
    assert background.pictures == 12
    (few / "images" / "p009.jpg").write_bytes(b"")  # training will not see its mask
    assert check(few, classes=("background", "skin")).classes[1].pixels == 480


def test_a_class_of_one_side_only_is_named(few):
    values = np.zeros((48, 40), np.uint8)
    for index in range(12):
        values[:12] = index == 9
        save(few / "masks" / f"p{index:03}.png", values)
    (message,) = messages(check(few, classes=("background", "skin")), "absent class")
    assert message.startswith("skin: no mask of the training")


def test_without_a_background_class_a_mask_of_the_first_class_is_full(few):
    values = np.zeros((48, 40), np.uint8)
    values[:24] = 1
    for index in range(12):
        save(few / "masks" / f"p{index:03}.png", values * (index > 0))
    result = check(few, classes=("sky", "road"))
    assert [finding.kind for finding in result.findings] == ["full mask"]
    result = check(few, classes=("background", "road"))
    assert [finding.kind for finding in result.findings] == ["empty mask"]


def test_several_roots_and_sources_are_one_data_set(few, tmp_path):
    more = make_photos(tmp_path / "more", 3)
    for index in range(3):
        (more / "images" / f"p{index:03}.jpg").write_bytes((few / "images" / f"p{index + 4:03}.jpg").read_bytes())
    result = check(few, also=(SourceSettings(roots=(more,)),))
    assert [sample.name for sample in result.samples][-3:] == ["more/p000", "more/p001", "more/p002"]
    assert len(messages(result, "duplicate")) + len(messages(result, "duplicate across the split")) == 3


def test_any_other_source_is_checked_by_what_it_loads(few):
    settings = DataSettings(roots=(few,), also=(SourceSettings(source="synthetic"),))
    result = check_data(settings, SyntheticSettings(scenes=5))
    assert [sample.name for sample in result.samples][-1] == "scene-4"
    assert result.show("scene-4").picture.shape == (256, 256, 3)
    assert result.show("photos/p003").mask.shape == (48, 40)
    assert {finding.kind for finding in result.findings} <= {"tiny object", "empty mask"}  # of the scenes


def test_what_is_not_there_is_an_error_at_once(few, tmp_path):
    with pytest.raises(ConfigError, match="no folder is named"):
        check()
    with pytest.raises(DataError, match=r"none.images: No such file"):
        check(tmp_path / "none")
    shutil.rmtree(few / "images")
    (few / "images").mkdir()
    with pytest.raises(DataError, match="no pictures in it"):
        check(few)


def test_all_of_it_is_json_and_progress_is_shown(few):
    seen = []

    def track(samples, count):
        for sample in samples:
            seen.append((sample.name, count))
            yield sample

    result = check_data(DataSettings(roots=(few,)), track=track)
    assert seen == [(f"photos/p{index:03}", 12) for index in range(12)]
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert content["usable"] == content["samples"] == 12
    assert (content["training"], content["validation"]) == (11, 1)
    assert content["sizes"]["width"] == {"smallest": 40, "median": 40, "largest": 40}


def test_names_that_training_refuses_are_found(tmp_path):
    one, other = (make_photos(tmp_path / name / "photos", 4) for name in "ab")
    save(other / "images" / "p001.jpg", np.full((48, 40, 3), 90, np.uint8))
    for number in (0, 2):
        (other / "images" / f"p00{number}.jpg").unlink()
    (other / "masks" / "p001.png").write_bytes(b"")
    (one / "masks" / "p003.png").unlink()
    data = DataSettings(roots=(one,), also=(SourceSettings(roots=(other,)),), validation_every=2, on_bad_sample="skip")
    with pytest.raises(DataError, match=r"data\.also: two sources have a sample called photos/p001; rename"):
        open_source(data, SyntheticSettings())
    result = check_data(data)
    (finding,) = (finding for finding in result.findings if finding.kind == "same name")
    assert finding.message == "data.also: two sources have a sample called photos/p001; rename the folder of one"
    assert finding.severity == Severity.ERROR
    assert finding.files == tuple(
        root / folder / f"p001.{ending}"
        for root in (one, other)
        for folder, ending in (("images", "jpg"), ("masks", "png"))
    )
    assert [sample.name for sample in result.samples] == [
        "photos/p000",
        "photos/p001 (source 1)",
        "photos/p002",
        "photos/p003 (source 1)",
        "photos/p001 (source 2)",
        "photos/p003 (source 2)",
    ]
    first, second = (result.show(name).picture for name in finding.samples)
    assert first.std() > 10
    assert second.std() < 2
    samples = {str(finding.kind): finding.samples for finding in result.findings}
    assert samples["missing mask"] == ("photos/p003 (source 1)",)
    assert samples["unreadable"] == ("photos/p001 (source 2)",)


def test_a_picture_without_a_mask_takes_no_name(tmp_path):
    one, other = (make_photos(tmp_path / name / "photos", 4) for name in "ab")
    for number in (0, 1, 2):
        (one / "masks" / f"p00{number}.png").unlink()
    for path in (other / "masks" / "p003.png", other / "images" / "p003.jpg"):
        path.unlink()
    data = DataSettings(roots=(one,), also=(SourceSettings(roots=(other,)),), validation_every=2, on_bad_sample="skip")
    assert len(open_source(data, SyntheticSettings()).names) == 4
    assert not messages(check_data(data), "same name")


def test_lists_may_name_what_training_leaves_out(few, tmp_path):
    (few / "images" / "p001.jpg").write_bytes(b"")
    (few / "masks" / "p002.png").unlink()
    (tmp_path / "t.txt").write_text("p000\np001\np002\n")
    (tmp_path / "v.txt").write_text("p003\n")
    lists = {"train_list": tmp_path / "t.txt", "validation_list": tmp_path / "v.txt"}
    result = check(few, on_bad_sample="skip", **lists)
    assert not messages(result, "split")
    assert [[result.samples[place].name for place in side] for side in result.split] == [
        ["photos/p000"],
        ["photos/p003"],
    ]
    data = DataSettings(roots=(few,), on_bad_sample="skip", image_size=(32, 32), **lists)
    samples = open_samples(Settings(data=data))
    names = samples.loader.source.names
    assert [[names[place] for place in side] for side in samples.split] == [["photos/p000"], ["photos/p003"]]


def test_a_source_with_nothing_left_is_no_reason_to_stop(few, tmp_path):
    """Its pictures are named one by one, and lists may name them, too."""
    listing = {"images": [{"id": 1, "file_name": "gone.png"}], "categories": [], "annotations": []}
    (tmp_path / "coco.json").write_text(json.dumps(listing))
    (tmp_path / "t.txt").write_text("p000\ngone\n")
    (tmp_path / "v.txt").write_text("p003\n")
    coco = SourceSettings(source="coco", roots=(tmp_path,), annotations="coco.json")
    data = DataSettings(
        roots=(few,),
        also=(coco,),
        on_bad_sample="skip",
        train_list=tmp_path / "t.txt",
        validation_list=tmp_path / "v.txt",
    )
    result = check_data(data)
    assert "gone.png: no such picture" in messages(result, "unreadable")[0]
    assert result.split == ([0], [3])
    assert len(result.samples) == 12
