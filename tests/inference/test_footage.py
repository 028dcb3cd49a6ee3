from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kseg.errors import KsegError
from kseg.inference.cleaning import Cleaning
from kseg.inference.film import FilmWriter, open_film
from kseg.inference.footage import film_files, segment_film
from kseg.inference.outputs import Outputs
from kseg.inference.predictor import Predictor

SIZE = 64, 96
PERSON, ELSE = (130, 100, 100), (100, 100, 100)
CLOSE = 12
"""Levels a flat colour may be off after an encoder's YUV."""


def redness(pixels):
    """Logits by hand: 2 where red is clearly above green, else -10."""
    return tf.where(pixels[..., :1] > pixels[..., 1:2] + 15, 2.0, -10.0)


@pytest.fixture(scope="module")
def predictor():
    return Predictor(redness, classes=("background", "person"), image_size=SIZE)


def frames(count, first=0):
    """Grey, with a person on the left side from the frame ``first`` on, and a reddish speck in the right corner."""
    for index in range(count):
        frame = np.full((*SIZE, 3), ELSE, np.uint8)
        if index >= first:
            frame[:, :48] = PERSON
            frame[-8:, -8:] = PERSON
        yield frame


def film_of(path, shown, fps=12.5):
    with FilmWriter(path, fps, SIZE) as writer:
        for frame in shown:
            writer.write(frame)
    return path


def segment(predictor, path, files, **options):
    outputs = options.pop("outputs", Outputs(kinds=tuple(files), background=(0, 0, 200)))
    with open_film(path) as film:
        segment_film(predictor, film, files, outputs, **options)
    films = {}
    for kind, file in files.items():
        with open_film(file) as film:
            assert film.size == SIZE
            assert film.fps == pytest.approx(12.5, abs=0.001)
            films[kind] = np.stack(list(film)).astype(int)
    return films


def person_seen(film):
    """Whether the mask's left side is white, frame by frame."""
    return (film[:, 20:44, 12:36].mean(axis=(1, 2, 3)) > 127).tolist()


def test_names_of_films():
    made = {"mask": Path("out/a.b_mask.png"), "overlay": Path("out/a.b_overlay.png")}
    assert film_files(made) == {"mask": Path("out/a.b_mask.mp4"), "overlay": Path("out/a.b_overlay.mp4")}
    assert film_files(made, ".WEBM")["mask"] == Path("out/a.b_mask.webm")
    assert film_files(made, ".mov")["mask"] == Path("out/a.b_mask.mp4")  # can be read, not written


def test_every_kind_is_a_film_of_its_own(predictor, tmp_path):
    path = film_of(tmp_path / "film.avi", frames(7))
    kinds = ("mask", "probabilities", "overlay", "background")
    films = segment(predictor, path, {kind: tmp_path / f"{kind}.avi" for kind in kinds}, batch_size=3)
    assert {len(film) for film in films.values()} == {7}
    left, right = (slice(None), 30, 20), (slice(None), 30, 80)
    np.testing.assert_allclose(films["mask"][left], 255, atol=CLOSE)
    np.testing.assert_allclose(films["mask"][right], 0, atol=CLOSE)
    np.testing.assert_allclose(films["probabilities"][left], 255 / (1 + np.exp(-2)), atol=CLOSE)
    np.testing.assert_allclose(films["background"][right], np.tile((0, 0, 200), (7, 1)), atol=CLOSE)
    opacity = (1 / (1 + np.exp(-2)) - 0.1) / 0.8
    mixed = opacity * np.array(PERSON) + (1 - opacity) * np.array((0, 0, 200))
    np.testing.assert_allclose(films["background"][left], np.tile(mixed, (7, 1)), atol=CLOSE)
    np.testing.assert_allclose(films["overlay"][right], np.tile(ELSE, (7, 1)), atol=CLOSE)
    assert np.abs(films["overlay"][left] - PERSON).max() > 2 * CLOSE


@pytest.mark.parametrize("batch_size", [1, 4, 20])
def test_answers_keep_to_their_frames(predictor, tmp_path, batch_size):
    path = film_of(tmp_path / "film.avi", frames(9, first=5))
    film = segment(predictor, path, {"mask": tmp_path / "mask.avi"}, batch_size=batch_size)["mask"]
    assert person_seen(film) == [False] * 5 + [True] * 4


@pytest.mark.parametrize(("resolution", "seen"), [("trained", 0), (48, 0), ("full", 255), (96, 255)])
def test_the_network_sees_a_film_at_the_resolution_asked_for(tmp_path, resolution, seen):
    def has_rows(pixels):
        """Logits by hand: 10 everywhere in a picture of more than 32 rows, else -10."""
        return tf.ones_like(pixels[..., :1]) * tf.where(tf.shape(pixels)[1] > 32, 10.0, -10.0)

    predictor = Predictor(has_rows, classes=("background", "person"), image_size=(32, 32))
    path = film_of(tmp_path / "film.avi", frames(3))
    film = segment(predictor, path, {"mask": tmp_path / "mask.avi"}, resolution=resolution)["mask"]
    assert len(film) == 3
    np.testing.assert_allclose(film, seen, atol=CLOSE)


@pytest.mark.parametrize("resolution", ["trained", "full"])
def test_steadied_films_lag_by_probabilities(predictor, tmp_path, resolution):
    """0.88 (1 - 0.8^n) is above a half from n = 4 on, whatever the logits are; of their mean it would be 9."""
    path = film_of(tmp_path / "film.avi", frames(14, first=2))
    film = segment(predictor, path, {"mask": tmp_path / "mask.avi"}, steady=0.8, resolution=resolution)["mask"]
    assert person_seen(film) == [False] * 5 + [True] * 9


def test_films_are_tidied(predictor, tmp_path):
    path, files = film_of(tmp_path / "film.avi", frames(2)), {"mask": tmp_path / "mask.avi"}
    speck = slice(None), -3, -3
    np.testing.assert_allclose(segment(predictor, path, files)["mask"][speck], 255, atol=CLOSE)
    tidied = segment(predictor, path, files, cleaning=Cleaning(largest=True))["mask"]
    np.testing.assert_allclose(tidied[speck], 0, atol=CLOSE)
    assert person_seen(tidied) == [True, True]


def test_a_film_ends_when_told_and_is_whole(predictor, tmp_path):
    path, answers = film_of(tmp_path / "film.avi", frames(9)), iter([True, True, True, False])
    film = segment(predictor, path, {"mask": tmp_path / "mask.avi"}, seen=lambda: next(answers))["mask"]
    assert len(film) == 4


@pytest.mark.parametrize(
    ("kind", "classes", "message"),
    [
        ("cutout", ("background", "person"), "a film cannot be transparent; ask for background"),
        ("probabilities", ("background", "cat", "dog"), "probabilities of several classes are no film"),
    ],
)
def test_kinds_that_no_film_shows_are_refused(tmp_path, kind, classes, message):
    path = film_of(tmp_path / "film.avi", frames(2))
    channels = 1 if len(classes) == 2 else len(classes)
    of_classes = Predictor(lambda x: tf.repeat(redness(x), channels, -1), classes=classes, image_size=SIZE)
    with pytest.raises(KsegError, match=message):
        segment(of_classes, path, {"mask": tmp_path / "mask.avi", kind: tmp_path / f"{kind}.avi"})
    assert list(tmp_path.iterdir()) == [path]
