import numpy as np
import pytest

from kseg.palette import OKABE_ITO, Palette
from kseg.pictures import error_map, overlay, with_legend

GREY = np.full((8, 8, 3), 100, np.uint8)


def test_the_background_is_not_drawn_and_the_others_have_distinct_colours():
    palette = Palette.of(["background", *(f"class {number}" for number in range(254))])
    assert palette.colours[0] is None
    assert palette.colours[1:4] == OKABE_ITO[:3]
    assert len(set(palette.colours)) == 255
    assert palette.background == 0


def test_given_colours_replace_only_their_own():
    palette = Palette.of(["background", "skin", "hair"], {"hair": "#0A0bff"})
    assert palette.colours == (None, OKABE_ITO[0], (10, 11, 255))
    assert palette.legend == {"skin": OKABE_ITO[0], "hair": (10, 11, 255)}
    black = Palette.of(["background", "skin"], {"background": "#000000"})
    assert (black.background, black.colours, black.foreground) == (0, (None, OKABE_ITO[0]), {1: "skin"})
    assert Palette.of(["sky", "skin"]).foreground == {0: "sky", 1: "skin"}


@pytest.mark.parametrize(("names", "tinted"), [(("background", "a"), False), (("sky", "a"), True)])
def test_a_first_class_that_is_no_background_is_drawn(names, tinted):
    mask = np.zeros((8, 8), np.uint8)
    shown = overlay(GREY, mask, Palette.of(names))
    assert (shown != GREY).any() == tinted
    named = with_legend(np.zeros((60, 90, 3), np.uint8), np.zeros((60, 90), np.uint8), Palette.of(names))
    assert named.any() == tinted


def test_errors_without_a_background_are_right_or_confused():
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 0, 0]], np.uint8)
    picture = np.full((1, 4, 3), 100, np.uint8)
    plain = error_map(picture, truth, prediction, Palette.of(["sky", "road"]))[0]
    # right is greener than the grey of 140, confused yellow (red and green over blue), ignored grey
    assert plain[0, 1] > plain[0, 0]
    np.testing.assert_array_equal(plain[1], plain[2])
    assert plain[1, 0] > plain[1, 2] + 60
    assert plain[3, 0] == plain[3, 1] == plain[3, 2]
    with_background = error_map(picture, truth, prediction, Palette.of(["background", "road"]))[0]
    assert len({tuple(pixel) for pixel in with_background}) == 4  # nothing, invented, missed, ignored
