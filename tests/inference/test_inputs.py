import os
from pathlib import Path, PurePath

import pytest

from kseg.errors import DataError
from kseg.inference.inputs import Input, find_inputs, with_own_places

WRITTEN = ("_mask", "_overlay")


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def places(*names, out="out"):
    """Path -> place, as text."""
    return {str(path): str(place) for path, place in find_inputs(names, Path(out), WRITTEN)}


def test_a_folder_keeps_its_structure():
    make("in/a.JPG", "in/two words/日本/b.webp", "in/c.d.png", "in/film.MOV", "in/notes.txt", "in/none")
    assert places("in") == {
        "in/a.JPG": "a",
        "in/c.d.png": "c.d",
        "in/film.MOV": "film",
        "in/two words/日本/b.webp": "two words/日本/b",
    }
    assert [item.is_film for item in find_inputs(["in"], Path("out"), WRITTEN)] == [False, False, True, False]


def test_hidden_files_are_left_out_unless_they_are_named():
    make("in/a.jpg", "in/.b.jpg", "in/.thumbnails/c.jpg", "in/d/.e/f.jpg")
    assert places("in") == places("in/**/*.jpg") == {"in/a.jpg": "a"}
    assert places("in/.b.jpg", "in/.thumbnails") == {"in/.b.jpg": ".b", "in/.thumbnails/c.jpg": "c"}


def test_a_hidden_folder_on_the_way_hides_nothing():
    make(".home/in/a.jpg")
    assert places(".home/in") == {".home/in/a.jpg": "a"}


def test_patterns():
    make("in/a.jpg", "in/b/c.jpg", "in/b/d/e.jpg", "in/b/f.png", "in/g[1].jpg")
    assert places("in/*.jpg") == {"in/a.jpg": "a", "in/g[1].jpg": "g[1]"}
    assert places("in/**/*.jpg") == {
        "in/a.jpg": "a", "in/b/c.jpg": "c", "in/b/d/e.jpg": "e", "in/g[1].jpg": "g[1]"
    }  # fmt: skip
    assert places("in/g[1].jpg") == {"in/g[1].jpg": "g[1]"}  # a file's name before a pattern
    assert places("in/[ab].jpg") == {"in/a.jpg": "a"}


def test_folders_that_match_are_walked_and_may_be_empty():
    make("in/a/x.jpg", "in/b/notes.txt")
    assert places("in/*") == {"in/a/x.jpg": "x"}


def test_every_file_once_where_it_is_first_named():
    make("in/b/a.jpg")
    os.symlink("in", "link")
    assert places("in/b/a.jpg", "in", "link", "in/**/*.jpg", "in/../in/b/a.jpg") == {"in/b/a.jpg": "a"}


def test_what_is_not_there_is_left_for_those_who_read():
    assert places("gone.jpg") == {"gone.jpg": "gone"}


@pytest.mark.parametrize("name", ["in", "in/"])
def test_a_folder_without_photos_is_named(name):
    make("in/notes.txt", "in/.hidden.jpg")
    with pytest.raises(DataError, match=r"in: no photos or films in this folder; \.jpg .* are read"):
        places(name)


def test_a_pattern_that_matches_nothing_is_named():
    make("in/a.jpg")
    with pytest.raises(DataError, match=r"in/\*\.png: no file matches this pattern"):
        places("in/*.png")


@pytest.mark.parametrize("out", ["in", "in/results", ".", "in/../in/deep/er"])
@pytest.mark.parametrize("names", [["in"], ["in/**/*.png"], ["."]])
def test_earlier_results_are_no_photos(out, names):
    make("in/a.png", "in/b/c.png")
    before = {str(path) for path in map(Path, places(*names, out=out))}
    make(f"{out}/a_mask.png", f"{out}/b/c_overlay.png", f"{out}/c-2_mask.png")
    assert {str(path) for path in map(Path, places(*names, out=out))} == before
    assert len(before) == 2


def test_what_only_is_called_like_a_result_is_a_photo():
    make("in/gas_mask.png", "out/x_mask.png")
    assert places("in") == {"in/gas_mask.png": "gas_mask"}
    assert places("out/x_mask.png") == {"out/x_mask.png": "x_mask"}  # named itself


def test_photos_inside_the_folder_for_results_are_photos():
    make("out/photos/a.png")
    assert places("out/photos") == places("out/photos", out=".") == {"out/photos/a.png": "a"}


def own_places(*items, folder="out"):
    inputs = [Input(Path(path), PurePath(place)) for path, place in items]

    def files(item):
        return [Path(folder) / item.place.with_name(f"{item.place.name}_{kind}.png") for kind in ("mask", "overlay")]

    return [str(item.place) for item in with_own_places(inputs, files)]


def test_equal_places_get_numbers():
    items = [("a/x.jpg", "x"), ("a/x.png", "x"), ("b/x-2.jpg", "x-2"), ("b/x.jpg", "x"), ("c/x.jpg", "c/x")]
    assert own_places(*items) == ["x", "x-2", "x-2-2", "x-3", "c/x"]


def test_a_place_whose_file_is_an_input_is_taken():
    assert own_places(("x.jpg", "x"), ("x_overlay.png", "x_overlay"), folder=".") == ["x-2", "x_overlay"]


def test_thousands_of_equal_names():
    """Were every number tried for every one of them, this would take minutes."""
    places = own_places(*((f"{number}/x.jpg", "x") for number in range(5000)))
    assert places == ["x", *(f"x-{number}" for number in range(2, 5001))]
