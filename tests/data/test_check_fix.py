"""The cleaned copy: what training reads from it, and that the original stays as it is."""

import csv
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from faults import Planter, read, save, turn
from PIL import Image
from support import make_photos

from kseg.data.check import check_data, fix_data
from kseg.data.sources import FolderSource
from kseg.errors import ConfigError, KsegError
from kseg.settings import DataSettings, SourceSettings, SyntheticSettings


def check(*roots, **settings):
    return check_data(DataSettings(roots=roots, **settings))


def contents(root):
    return {path: hashlib.md5(path.read_bytes()).digest() for path in root.rglob("*") if path.is_file()}


def changes(out):
    with (out / "changes.csv").open(newline="", encoding="utf-8") as file:
        return [(Path(row["file"]).name, row["change"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Made photos with all faults in them; no test changes them."""
    root = make_photos(tmp_path_factory.mktemp("broken") / "photos", 60, 160, 128)
    planter = Planter(root).plant_all()
    return root, planter


def test_the_copy_is_clean_and_the_original_untouched(broken, tmp_path):
    root, _ = broken
    before = contents(root)
    fixed = fix_data(check(root), tmp_path / "clean")
    assert contents(root) == before
    again = check(tmp_path / "clean")
    assert not again.failed
    kept_as_they_are = {"tiny object", "empty mask", "full mask"}
    assert {str(finding.kind) for finding in again.findings} <= kept_as_they_are
    assert len(again.samples) == fixed.kept
    source = FolderSource(DataSettings(roots=(tmp_path / "clean",)))
    for index in range(len(source.names)):
        picture, mask, _ = source.load(index)
        assert picture.shape[:2] == mask.shape
    assert list(tmp_path.iterdir()) == [tmp_path / "clean"]


def test_every_change_is_in_the_log(broken, tmp_path):
    root, planter = broken
    fixed = fix_data(check(root), tmp_path / "clean")
    logged = changes(tmp_path / "clean")
    assert len(logged) == fixed.changes
    kept = {path.stem for path in (tmp_path / "clean" / "images").iterdir()}
    gone = {path.name for path in (root / "images").iterdir() if path.stem not in kept}
    gone |= {path.name for path in (root / "masks").iterdir() if path.stem not in kept and path.suffix == ".jpg"}
    assert gone <= {name for name, change in logged if change.startswith("left out: ")}
    for kind, name in planter.expected - {("orphan mask", "")}:
        stem = Path(name).stem
        mended = any(Path(file).stem == stem for file, _ in logged)
        assert mended or kind in {"empty mask", "full mask", "tiny object"}, (kind, name)


@pytest.mark.parametrize(("orientation", "store"), [(6, np.rot90), (3, lambda x: np.rot90(x, 2)), (5, np.transpose)])
def test_a_mask_is_turned_with_its_photo(tmp_path, orientation, store):
    root = make_photos(tmp_path / "photos", 4, 160, 128)
    picture, mask = root / "images" / "p001.jpg", root / "masks" / "p001.png"
    upright, values = read(picture), read(mask)
    stored = upright.swapaxes(0, 1) if orientation == 5 else store(upright)
    turn(picture, stored, orientation)
    save(mask, store(values))
    fix_data(check(root, validation_every=2), tmp_path / "clean")
    np.testing.assert_array_equal(read(tmp_path / "clean" / "masks" / "p001.png"), values // 255)
    written = tmp_path / "clean" / "images" / "p001.jpg"
    with Image.open(written) as image:
        assert image.getexif() == {}
    assert np.abs(read(written).astype(int) - upright).mean() < 6
    assert any("turned as its photo" in change for _, change in changes(tmp_path / "clean"))


def test_what_is_right_is_copied_to_the_byte(tmp_path):
    root = make_photos(tmp_path / "photos", 4, 160, 128)
    Image.fromarray(read(root / "images" / "p002.jpg")).save(root / "images" / "p002.jpg", format="PNG")
    Image.fromarray(read(root / "images" / "p003.jpg")).save(root / "images" / "p003.png")
    (root / "images" / "p003.jpg").unlink()
    fix_data(check(root, validation_every=2), tmp_path / "clean")
    assert (tmp_path / "clean" / "images" / "p003.png").read_bytes() == (root / "images" / "p003.png").read_bytes()
    one, two = "images/p001.jpg", "images/p002.jpg"
    assert (tmp_path / "clean" / one).read_bytes() == (root / one).read_bytes()
    assert (tmp_path / "clean" / "images" / "p002.png").read_bytes() == (root / two).read_bytes()
    assert ("p002.jpg", "renamed: is PNG") in changes(tmp_path / "clean")


def test_masks_are_enlarged_and_mapped(tmp_path):
    root = make_photos(tmp_path / "photos", 4)
    for path in (root / "masks").iterdir():
        save(path, np.kron([[10, 20], [30, 20]], np.ones((12, 10))).astype(np.uint8))
    settings = {"classes": ("skin", "hair"), "mask_values": {"10": "hair", "20": "skin", "30": "ignore"}}
    fixed = fix_data(check(root, validation_every=2, **settings), tmp_path / "clean")
    expected = np.kron([[1, 0], [255, 0]], np.ones((24, 20)))
    np.testing.assert_array_equal(read(tmp_path / "clean" / "masks" / "p003.png"), expected)
    assert fixed.mask_values == {}
    assert ("p003.png", "resized from 20 x 24 to 40 x 48") in changes(tmp_path / "clean")


def test_one_class_with_ignored_pixels_needs_a_mapping_that_is_told(tmp_path):
    root = make_photos(tmp_path / "photos", 4)
    for path in (root / "masks").iterdir():
        save(path, np.kron([[10, 20], [30, 20]], np.ones((24, 20))).astype(np.uint8))
    mapping = {"10": "person", "20": "background", "30": "ignore"}
    fixed = fix_data(check(root, validation_every=2, mask_values=mapping), tmp_path / "clean")
    again = check(tmp_path / "clean", validation_every=2, mask_values=fixed.mask_values)
    assert not again.findings
    np.testing.assert_array_equal(np.unique(again.show("clean/p000").mask), [0, 1, 255])


def test_of_the_same_pictures_the_first_stays(tmp_path):
    root = make_photos(tmp_path / "photos", 6)
    for name in ("p003", "p005"):
        shutil.copy(root / "images" / "p001.jpg", root / "images" / f"{name}.jpg")
    shutil.copy(root / "images" / "p000.jpg", root / "images" / "p002.jpg")
    (root / "masks" / "p000.png").write_bytes(b"")  # then its copy is what can be used
    fixed = fix_data(check(root, validation_every=2), tmp_path / "clean")
    assert sorted(path.stem for path in (tmp_path / "clean" / "images").iterdir()) == ["p001", "p002", "p004"]
    assert (fixed.kept, fixed.left_out) == (3, 3)


def test_a_copy_stays_where_the_first_cannot_be_told_from_others(tmp_path):
    root = make_photos(tmp_path / "photos", 6)
    shutil.copy(root / "images" / "p001.jpg", root / "images" / "p003.jpg")
    shutil.copy(root / "images" / "p002.jpg", root / "images" / "p001.jpeg")
    fix_data(check(root, validation_every=2), tmp_path / "clean")
    kept = sorted(path.name for path in (tmp_path / "clean" / "images").iterdir())
    assert kept == ["p000.jpg", "p002.jpg", "p003.jpg", "p004.jpg", "p005.jpg"]
    assert ("p001.jpeg", "left out: same stem") in changes(tmp_path / "clean")


def test_several_roots_stay_apart(tmp_path):
    one = make_photos(tmp_path / "a" / "photos", 3)
    other = make_photos(tmp_path / "b" / "photos", 5)
    for index in range(3):
        (other / "images" / f"p{index:03}.jpg").unlink()
    fixed = fix_data(check(one, other, validation_every=2), tmp_path / "clean")
    assert [root.name for root in fixed.roots] == ["photos-1", "photos-2"]
    assert len(check(*fixed.roots, validation_every=2).samples) == fixed.kept == 5


def test_an_interrupted_fix_is_begun_anew(tmp_path):
    root = make_photos(tmp_path / "photos", 4)
    result = check(root, validation_every=2)

    def interrupted(samples, count):
        yield next(iter(samples))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fix_data(result, tmp_path / "clean", interrupted)
    assert not (tmp_path / "clean").exists()
    left = tmp_path / ".clean.kseg-fix" / "images"
    left.mkdir(parents=True)  # as a killed one leaves it
    (left / "half.jpg").write_bytes(b"x")
    (tmp_path / "clean").mkdir()
    fix_data(result, tmp_path / "clean")
    assert len(list((tmp_path / "clean" / "images").iterdir())) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "photos"]


def test_only_a_new_place_outside_of_the_original_is_written_to(tmp_path):
    root = make_photos(tmp_path / "photos", 4)
    result = check(root, validation_every=2)
    with pytest.raises(ConfigError, match="is there already"):
        fix_data(result, root)
    with pytest.raises(ConfigError, match="lies inside of"):
        fix_data(result, root / "images" / "clean")
    (tmp_path / "file").write_text("")
    with pytest.raises(KsegError, match="clean: cannot be written"):
        fix_data(result, tmp_path / "file" / "clean")
    settings = DataSettings(roots=(root,), also=(SourceSettings(source="synthetic"),), validation_every=2)
    drawn = check_data(settings, SyntheticSettings(scenes=2))
    with pytest.raises(ConfigError, match="kseg-data prepare"):
        fix_data(drawn, tmp_path / "clean")


def test_of_copies_of_what_is_left_out_one_stays(tmp_path):
    root = make_photos(tmp_path / "photos", 7)
    for name in ("p003", "p005"):
        shutil.copy(root / "images" / "p001.jpg", root / "images" / f"{name}.jpg")
    shutil.copy(root / "images" / "p002.jpg", root / "images" / "p001.jpeg")  # so that p001 is left out
    near = root / "images" / "p004.jpg"  # stored anew, and copied to the byte
    Image.fromarray(read(root / "images" / "p000.jpg")).save(near, quality=60)
    shutil.copy(near, root / "images" / "p006.jpg")
    fixed = fix_data(check(root, validation_every=2), tmp_path / "clean")
    assert sorted(path.name for path in (tmp_path / "clean" / "images").iterdir()) == [
        "p000.jpg",
        "p002.jpg",
        "p003.jpg",
    ]
    assert (fixed.kept, fixed.left_out) == (3, 4)
    assert not check(tmp_path / "clean", validation_every=2).failed


def test_roots_stay_apart_whatever_they_are_called(tmp_path):
    one, two, three = (make_photos(tmp_path / name, 5) for name in (Path("1", "a"), Path("2", "a"), Path("3", "a-1")))
    for root, kept in ((one, (0, 1)), (two, (2,)), (three, (3, 4))):
        for number in set(range(5)) - set(kept):
            (root / "images" / f"p00{number}.jpg").unlink()
    fixed = fix_data(check(one, two, three, validation_every=2), tmp_path / "clean")
    assert [root.name for root in fixed.roots] == ["a-2", "a-3", "a-1"]
    assert [len(list((root / "images").iterdir())) for root in fixed.roots] == [2, 1, 2]


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_is_none_is_no_reason_to_compress_anew(tmp_path, orientation):
    root = make_photos(tmp_path / "photos", 2)
    picture = root / "images" / "p000.jpg"
    turn(picture, read(picture), orientation)
    found = check(root, validation_every=2)
    assert not [finding for finding in found.findings if finding.kind == "EXIF orientation"]
    fix_data(found, tmp_path / "clean")
    assert (tmp_path / "clean" / "images" / "p000.jpg").read_bytes() == picture.read_bytes()
