"""kseg-predict with a network in its own process: its files are what ``kseg.load`` says of the same photos."""

import io
import os
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support import EXPORT, SMALL, kseg_train, make_photos

import kseg
from kseg.cli.answering import require_background
from kseg.cli.predict import main
from kseg.data.fitting import Box, restore
from kseg.data.synthetic import draw_scene
from kseg.errors import ConfigError
from kseg.inference.cleaning import Cleaning
from kseg.inference.film import FilmWriter, open_film
from kseg.inference.outputs import Outputs
from kseg.logits import as_logits

EXACT = ("--precision", "float32")
ALL = ("mask", "probabilities", "overlay", "cutout", "background")


@pytest.fixture
def album(tmp_path, monkeypatch):
    """Photos of several sizes and formats in folders; what is no photo, or hidden, beside them."""
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(PHOTOS):
        draw(f"album/{name}", 4 + index, 60 + 7 * index, 90 - 5 * index)
    draw("album/.hidden.jpg", 9)
    draw("album/.thumbnails/x.jpg", 9)
    (tmp_path / "album" / "notes.txt").write_text("no photo")
    return tmp_path / "album"


PHOTOS = ("one photo.jpg", "日本/снимок.png", "日本/deep/er/ü.webp", os.fsdecode(b"\xe9t\xe9.jpg"))
"""The last name is in Latin-1, as on old disks: no UTF-8."""


def draw(path, index=0, height=60, width=80):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:  # Pillow would make UTF-8 of the name
        ending = os.path.splitext(path)[1]
        Image.fromarray(draw_scene(3, index, height, width)[0]).save(file, Image.registered_extensions()[ending])


def run(*arguments, **options):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="kseg-predict", **options)


def segmented(*arguments):
    """Run the command, with success; what it says."""
    result = run(*arguments, *EXACT)
    assert result.exit_code == 0, result.output
    return result.stdout


def read(path):
    """The pixels of a file, as Pillow has them."""
    with Image.open(path) as image:
        return np.asarray(image)


def all_files(folder):
    return {os.path.relpath(os.path.join(here, name), folder) for here, _, names in os.walk(folder) for name in names}


def assert_nearly_equal(found, expected):
    """But for a pixel of a thousand: batches of other sizes may be summed in another order."""
    assert found.shape == expected.shape
    assert (np.abs(found.astype(int) - expected.astype(int)) > 1).mean() <= 1e-3


def assert_mask(path, expected):
    """A mask's file, where the ``expected`` class ids have something to say."""
    assert 0.02 < expected.mean() < 0.98
    assert_nearly_equal(read(path), expected * np.uint8(255))


def test_every_kind_has_the_photos_size_and_values(trained_run, predictor, album):
    kinds = [word for kind in ALL for word in ("--output", kind)]
    assert segmented(trained_run, "album", "--out", "out", *kinds, "--batch-size", 3) == (
        "4 of 4 segmented; results are in out\n"
    )
    stems = {name: name.rpartition(".")[0] for name in PHOTOS}
    assert all_files("out") == {f"{stem}_{kind}.png" for stem in stems.values() for kind in ALL}
    for name, stem in stems.items():
        expected = predictor.predict(album / name)
        assert expected.mask.shape == read(album / name).shape[:2]
        assert_mask(f"out/{stem}_mask.png", expected.mask)
        share = expected.probabilities[..., 0].astype(np.float64) * 255
        assert np.abs(read(f"out/{stem}_probabilities.png") - share).max() < 0.51
        assert_nearly_equal(read(f"out/{stem}_overlay.png"), expected.overlay())
        assert_nearly_equal(read(f"out/{stem}_cutout.png"), expected.cutout())
        assert_nearly_equal(read(f"out/{stem}_background.png"), expected.on_background("blur"))


def test_a_large_jpeg_is_seen_as_in_training_with_and_without_the_photo_itself(trained_run, predictor, tmp_path):
    draw(tmp_path / "large.jpg", 1, 328, 464)
    found = predictor.predict(tmp_path / "large.jpg")
    reduced = cv2.imread(str(tmp_path / "large.jpg"), cv2.IMREAD_REDUCED_COLOR_8)[..., ::-1]
    assert reduced.shape == (41, 58, 3)
    assert predictor.view.size == (32, 32)
    picture = cv2.resize(reduced, (32, 32), interpolation=cv2.INTER_AREA)
    (logits,) = predictor.judge([picture])
    np.testing.assert_allclose(
        restore(logits, (328, 464), Box(0, 0, 32, 32)), as_logits(found.probabilities), atol=1e-3
    )
    np.testing.assert_array_equal(found.picture, read(tmp_path / "large.jpg"))
    segmented(trained_run, tmp_path / "large.jpg", "--out", tmp_path / "masks", "--output", "mask")
    segmented(trained_run, tmp_path / "large.jpg", "--out", tmp_path / "both", "--output", "mask", "--output", "cutout")
    for folder in ("masks", "both"):
        assert_mask(tmp_path / folder / "large_mask.png", found.mask)
    assert_nearly_equal(read(tmp_path / "both" / "large_cutout.png"), found.cutout())


def test_patterns_and_a_colour_behind(trained_run, predictor, album):
    draw("album/[1].jpg", 5)
    options = ("--format", "tif", "--output", "mask", "--background", "0,128,255")
    said = segmented(trained_run, "album/**/*.webp", "album/[1].jpg", "album/*.jp*g", "--out", "out", *options)
    assert said.startswith("4 of 4 segmented")
    stems = ("ü", "[1]", "one photo", PHOTOS[3].removesuffix(".jpg"))
    assert all_files("out") == {f"{stem}_{kind}.tif" for stem in stems for kind in ("mask", "background")}
    expected = predictor.predict(album / PHOTOS[2])
    assert_mask("out/ü_mask.tif", expected.mask)
    assert_nearly_equal(read("out/ü_background.tif"), expected.on_background((0, 128, 255)))


def test_a_picture_behind_and_jpg(trained_run, predictor, album):
    behind = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[:, None], (48, 1, 3))
    Image.fromarray(behind).save("behind.png")
    segmented(trained_run, "album/one photo.jpg", "--out", "out", "--background", "behind.png", "--format", "jpg")
    assert all_files("out") == {"one photo_background.jpg"}
    expected = predictor.predict(album / "one photo.jpg").on_background(behind)
    found = read("out/one photo_background.jpg")
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 8


def test_threshold_and_flip(trained_run, predictor, album):
    segmented(trained_run, "album/one photo.jpg", "--out", "out", "--threshold", 0.53, "--flip")
    found, plain = (
        predictor.predict(album / "one photo.jpg", flip=flip).probabilities[..., 0] for flip in (True, False)
    )
    assert_mask("out/one photo_mask.png", found > 0.53)
    assert ((plain > 0.53) != (found > 0.53)).mean() > 0.01
    assert ((found > 0.5) != (found > 0.53)).mean() > 0.01


@pytest.mark.parametrize("resolution", ["full", 96])
def test_resolution(resolution, trained_run, predictor, album):
    segmented(trained_run, "album/one photo.jpg", "--out", "out", "--resolution", resolution)
    expected = predictor.predict(album / "one photo.jpg", resolution=resolution).mask
    assert_mask("out/one photo_mask.png", expected)
    assert (expected != predictor.predict(album / "one photo.jpg").mask).mean() > 0.01


def test_cleaning(trained_run, predictor, album):
    options = ("--threshold", 0.53, "--largest", "--min-region", 0.002, "--fill-holes", 0.5, "--smooth", 2)
    segmented(trained_run, "album", "--out", "out", *options)
    changed = 0
    for name in PHOTOS:
        raw = (predictor.predict(album / name).probabilities[..., 0] > 0.53).astype(np.uint8)
        expected = Cleaning(largest=True, min_region=0.002, fill_holes=0.5, smooth=2)(raw)
        assert_nearly_equal(read(f"out/{name.rpartition('.')[0]}_mask.png"), expected * np.uint8(255))
        changed += (raw != expected).mean()
    assert changed > 0.01


def test_a_second_call_makes_what_is_missing_and_goes_over_no_results(trained_run, album):
    """The results' folder lies among the photos, and a file in it is no result of ours any more."""
    out = album / "results"
    call = (trained_run, "album", "--out", "album/results", "--output", "mask", "--output", "overlay")
    assert segmented(*call) == "4 of 4 segmented; results are in album/results\n"
    files = all_files(out)
    assert len(files) == 8
    (out / "one photo_overlay.png").unlink()
    (out / "日本" / "снимок_mask.png").write_text("mine")
    before = {name: (out / name).stat().st_ino for name in all_files(out)}
    assert segmented(*call) == (
        "4 of 4 segmented (3 were there already; --overwrite makes them anew); results are in album/results\n"
    )
    assert all_files(out) == files
    anew = {name for name, number in before.items() if (out / name).stat().st_ino != number}
    assert anew <= {"one photo_mask.png"}
    assert (out / "日本" / "снимок_mask.png").read_text() == "mine"


def test_standard_input_to_standard_output(trained_run, predictor, album):
    content = (album / "one photo.jpg").read_bytes()
    result = run(trained_run, "-", "--out", "-", "--output", "cutout", *EXACT, input=content)
    assert result.exit_code == 0, result.stderr
    expected = predictor.predict(album / "one photo.jpg").cutout()
    assert_nearly_equal(read(io.BytesIO(result.stdout_bytes)), expected)


def test_films_photos_and_cameras_in_one_call(trained_run, predictor, album):
    with FilmWriter(album / "ein film.avi", 25, (64, 96)) as writer:
        for index in range(5):
            writer.write(draw_scene(3, index, 64, 96)[0])
    shutil.copy(album / "ein film.avi", album / os.fsdecode(b"\xe9.avi"))
    (album / "broken.mp4").write_bytes((album / "ein film.avi").read_bytes()[:300])
    kinds = ("--output", "mask", "--output", "overlay")
    result = run(trained_run, "album", "camera:9", "camera:²", "--out", "out", *kinds, *EXACT)
    assert result.exit_code == 3
    assert "5 of 9 segmented; results are in out" in result.stdout
    assert "4 failed:\n  album/broken.mp4: cannot be opened: it is no film" in result.stderr
    assert ".avi: its name, or that of a folder, is not UTF-8" in result.stderr
    assert "camera:9: camera 9: gives no picture; is it plugged in" in result.stderr
    assert "camera:²: cameras are called by their number, such as camera:0" in result.stderr
    films = {name for name in all_files("out") if not name.endswith(".png")}
    assert films == {"ein film_mask.avi", "ein film_overlay.avi"}
    with open_film(album / "ein film.avi") as film, open_film(album.parent / "out" / "ein film_mask.avi") as masks:
        pairs = list(zip(film, masks, strict=True))
    assert len(pairs) == 5
    for frame, mask in pairs:
        expected = predictor.predict(frame).mask
        assert ((mask[..., 0] > 127) != expected).mean() < 0.02  # blocks of an encoder along the edges


def test_films_have_a_resolution_too(trained_run, predictor, album):
    with FilmWriter(album / "film.avi", 25, (64, 96)) as writer:
        writer.write(draw_scene(3, 0, 64, 96)[0])
    segmented(trained_run, "album/film.avi", "--out", "out", "--resolution", "full")
    with open_film(album / "film.avi") as film, open_film(album.parent / "out" / "film_mask.avi") as masks:
        (frame,), (mask,) = film, masks
    expected = predictor.predict(frame, resolution="full").mask
    assert ((mask[..., 0] > 127) != expected).mean() < 0.02
    assert (expected != predictor.predict(frame).mask).mean() > 0.05


def test_an_exported_model_says_the_same_as_its_run(exported, predictor, album):
    _, model_dir = exported
    segmented(model_dir, "album", "--out", "versions")
    differ = np.concatenate(
        [
            (
                read(f"versions/{name.rpartition('.')[0]}_mask.png") // 255 != predictor.predict(album / name).mask
            ).ravel()
            for name in PHOTOS
        ]
    )
    assert differ.mean() <= 1e-3


def test_what_is_no_model_gets_one_clear_line(trained_run, album):
    os.mkdir("empty")
    for model in ("nowhere", "empty", "album", "album/one photo.jpg"):
        result = run(model, "album", "--out", "out")
        assert result.exit_code == 1
        assert result.stderr == (
            f"kseg-predict: {model}: holds neither a run nor an exported model; name a folder that kseg-train or "
            "kseg-export has written, such as runs/people-001 or models/people\n"
        )
    assert not os.path.exists("out")


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A run of two classes with a logit each, of which neither is the background."""
    home = tmp_path_factory.mktemp("street")
    make_photos(home / "photos", 12)
    (home / "street.toml").write_text('[data]\nclasses = ["sky", "person"]\nmask_values = { "0" = 0, "255" = 1 }\n')
    options = ("--set", "training.epochs=1", "--set", "training.loss=ce", "--set", "data.validation_every=4")
    done = kseg_train("street.toml", "--data", "photos", *SMALL, *options, "--run", "run", cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "run"


def test_two_classes_with_a_logit_each_give_ids_from_their_run_and_its_export(street, album):
    model_dir = street.parent / "models" / "street"
    done = subprocess.run([*EXPORT, street, "--to", model_dir], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = kseg.load(street, "float32").predict(album / PHOTOS[0])
    assert set(np.unique(expected.mask)) == {0, 1}
    for model in (street, model_dir):
        segmented(model, "album/one photo.jpg", "--out", model.name, "--output", "mask", "--output", "probabilities")
        assert all_files(model.name) == {"one photo_mask.png", "one photo_probabilities.npy"}
        assert_nearly_equal(read(f"{model.name}/one photo_mask.png"), expected.mask)
        probabilities = np.load(f"{model.name}/one photo_probabilities.npy")
        np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threshold", 0.4), "--threshold: belongs to models of one class"),
        (("--output", "cutout"), "--output cutout: needs a background, and class 0 of this network is sky"),
        (("--background", "blur"), "--output background: needs a background"),
        (("--fill-holes", 0.1), "--fill-holes: needs a background"),
    ],
)
def test_what_a_network_cannot_give_is_said_before_any_photo_is_read(street, album, options, message):
    (album / "broken.jpg").write_bytes(b"")
    result = run(street, "album", "--out", "out", *options, *EXACT)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not os.path.exists("out")


@pytest.mark.parametrize(
    ("outputs", "cleaning", "named"),
    [
        (Outputs(kinds=("mask", "cutout")), None, "--output cutout"),
        (Outputs(kinds=("background",)), None, "--output background"),
        (Outputs(), Cleaning(largest=True), "--largest, --min-region and --fill-holes"),
    ],
)
def test_what_needs_a_background_is_refused_where_there_is_none(outputs, cleaning, named):
    require_background(("background", "road"), outputs, cleaning)
    require_background(("sky", "road"), Outputs(kinds=("mask", "overlay")), Cleaning(smooth=2))
    with pytest.raises(ConfigError, match=f"{named}: needs a background, and class 0 of this network is sky"):
        require_background(("sky", "road"), outputs, cleaning)
