"""Tiles: weights that add up to one, no seam, and the answer of one pass where the network only looks nearby."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.errors import DataError
from kseg.inference.tiles import Cover, continued, judge_in_tiles


def pixelwise(pictures):
    """A network that looks at single pixels: two channels, float32."""
    assert all(side % 32 == 0 for side in pictures.shape[1:3])
    return np.stack([pictures[..., 0] - 2.0 * pictures[..., 1], pictures[..., 2]], axis=-1).astype(np.float32)


def blurred(pictures):
    """A network that sees 5 pixels around each, and zeros beyond the edges, as convolutions do."""
    padded = np.pad(pictures[..., :1].astype(np.float32), ((0, 0), (5, 5), (5, 5), (0, 0)))
    height, width = pictures.shape[1:3]
    shifted = [padded[:, y : y + height, x : x + width] for y in range(11) for x in range(11)]
    return np.mean(shifted, axis=0)


@given(sides=st.integers(1, 60), tiles=st.integers(3, 9), overlaps=st.integers(0, 3))
@settings(deadline=None)
def test_weights_add_up_to_one_everywhere(sides, tiles, overlaps):
    side, overlap = 32 * sides, 32 * min(overlaps, tiles // 3)
    cover = Cover(side, 32 * tiles, overlap)
    assert all(later + overlap <= earlier + cover.tile for earlier, later in pairwise(cover.starts))
    total, seen = np.zeros(side), np.zeros(side, int)
    for number, start in enumerate(cover.starts):
        weights = cover.weights(number)
        assert 0 <= start <= start + cover.tile <= side
        assert start % 32 == 0
        total[start : start + cover.tile] += weights
        used = np.arange(start, start + cover.tile)[weights > 0]
        assert cover.begins[number] <= used.min()
        assert used.max() < cover.ends[number]
        seen[used] += 1
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert seen.max() <= 2


@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_a_network_of_single_pixels_says_the_same_in_tiles(height, width, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    bands = list(judge_in_tiles(pixelwise, picture, tile=96, overlap=32))
    found = np.concatenate(bands)
    expected = np.stack([picture[..., 0] - 2.0 * picture[..., 1], picture[..., 2]], axis=-1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_what_the_edges_of_tiles_spoil_is_not_used():
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    found = np.concatenate(list(judge_in_tiles(blurred, picture, tile=128, overlap=32)))
    np.testing.assert_allclose(found, blurred(picture[None])[0], rtol=1e-5)
    spoilt = np.concatenate(list(judge_in_tiles(blurred, picture, tile=128, overlap=0)))
    assert np.abs(spoilt - blurred(picture[None])[0]).max() > 10


def test_what_fits_a_tile_is_judged_once():
    calls = []

    def network(pictures):
        calls.append(pictures.shape)
        return pixelwise(pictures)

    (band,) = judge_in_tiles(network, np.zeros((50, 70, 3), np.uint8), tile=96, overlap=32)
    assert band.shape == (50, 70, 2)
    assert calls == [(1, 64, 96, 3)]


def test_rows_come_as_they_are_done():
    picture = np.zeros((960, 64, 3), np.uint8)
    bands = judge_in_tiles(pixelwise, picture, tile=96, overlap=32)
    assert len(next(bands)) < 96
    assert len(next(bands)) < 96


@pytest.mark.parametrize(("side", "expected"), [(32, 32), (33, 64), (1, 32)])
def test_sides_are_continued_by_the_last_row_and_column(side, expected):
    picture = np.random.default_rng(1).integers(0, 256, (side, 32, 3), np.uint8)
    grown = continued(picture)
    assert grown.shape == (expected, 32, 3)
    np.testing.assert_array_equal(grown[:side], picture)
    assert (grown[side:] == picture[-1]).all()


@pytest.mark.parametrize(("tile", "overlap"), [(128, 128), (16, 0), (100, 30), (128, 96), (96, 16), (0, 0), (96, -32)])
def test_tiles_that_cannot_be_are_refused(tile, overlap):
    with pytest.raises(DataError, match=f"tiles of {tile} pixels that share {overlap}: both have to be"):
        judge_in_tiles(pixelwise, np.zeros((200, 200, 3), np.uint8), tile, overlap)
