"""The built-in people: repeatable, exact masks, bodies that hold together."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kseg.data.synthetic import PARTS, draw_scene
from kseg.data.synthetic.scene import Scene, scene_unit

SMALL = (64, 64)


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(0, index, *SMALL) for index in range(200)]


def test_same_numbers_give_same_bytes_in_any_order_and_from_any_thread():
    wanted = [draw_scene(11, index, 48, 64) for index in range(24)]
    order = np.random.default_rng(0).permutation(24)
    with ThreadPoolExecutor(8) as pool:
        drawn = dict(zip(order, pool.map(lambda i: draw_scene(11, int(i), 48, 64), order), strict=True))
    for index, (image, parts) in enumerate(wanted):
        np.testing.assert_array_equal(drawn[index][0], image)
        np.testing.assert_array_equal(drawn[index][1], parts)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (128, 40), (40, 150), (1, 1)])
def test_any_size(size):
    image, parts = draw_scene(1, 2, *size)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert parts.shape == size
    assert parts.dtype == np.uint8
    assert parts.max() < len(PARTS)


def test_seeds_and_indices_differ():
    pictures = {draw_scene(seed, index, *SMALL)[0].tobytes() for seed in (0, 1, 10**9) for index in (0, 1, 10**9)}
    assert len(pictures) == 9


def test_one_scene_at_two_sizes_is_one_scene():
    # Halving the large labels by sampling must agree with the small ones nearly everywhere: only edges may move.
    for index in range(12):
        _, small = draw_scene(2, index, 64, 96)
        _, large = draw_scene(2, index, 128, 192)
        assert np.mean(large[::2, ::2] != small) < 0.12


def test_people_cover_as_much_as_in_photographs(scenes):
    cover = np.array([np.mean(parts > 0) for _, parts in scenes])
    assert 0.03 < np.mean(cover == 0) < 0.13  # about every fifteenth is empty
    assert 0.12 < np.median(cover) < 0.3
    assert np.quantile(cover, 0.9) > 0.4
    assert np.quantile(cover, 0.2) < 0.12


def test_all_parts_occur_and_none_dominates(scenes):
    pixels = sum(np.bincount(parts.ravel(), minlength=len(PARTS)) for _, parts in scenes)
    shares = pixels[1:] / pixels[1:].sum()
    assert len(pixels) == len(PARTS)
    assert shares.min() > 0.08
    assert shares.max() < 0.6


def test_heads_are_above_lower_clothes(scenes):
    above = []
    for _, parts in scenes:
        head, lower = np.nonzero(parts == 1)[0], np.nonzero(parts == 3)[0]
        if len(head) and len(lower):
            above.append(head.mean() < lower.mean())
    assert len(above) > 80
    assert np.mean(above) > 0.95


def test_taking_people_away_changes_only_masked_pixels():
    height, width = 96, 96
    unit = scene_unit(height, width)
    changed = off_mask = on_mask = 0
    for index in range(40):
        scene = Scene.compose(4, index, width / unit, height / unit)
        full, parts = scene.render(height, width, shadows=False)
        empty, _ = scene.render(height, width, people=False, shadows=False)
        differs = np.abs(full.astype(int) - empty).max(axis=2) > 0
        person = parts > 0
        # A pixel that the edge crosses is part person, part ground; it may fall on either side of the mask.
        grown = person.copy()
        grown[1:] |= person[:-1]
        grown[:-1] |= person[1:]
        wide = grown.copy()
        wide[:, 1:] |= grown[:, :-1]
        wide[:, :-1] |= grown[:, 1:]
        assert not (differs & ~wide).any() or np.sum(differs & ~wide) < 8
        changed += np.sum(differs)
        off_mask += np.sum(differs & ~person)
        on_mask += np.sum(person)
    assert on_mask > 0.9 * changed  # what was taken away is what was masked
    assert off_mask < 0.1 * changed
