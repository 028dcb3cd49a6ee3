"""Duplicates are found as by comparing every picture with every other one."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from kseg.data.check.duplicates import LEAST_CORRELATION, NEAR, SIDE, Look, Twin, find_twins
from kseg.data.synthetic import draw_scene


def look(grey, content=None):
    return Look.of(grey, grey.tobytes() if content is None else content)


def grey_scene(index, height=120, width=160):
    return cv2.cvtColor(draw_scene(3, index, height, width)[0], cv2.COLOR_RGB2GRAY)


def stored_anew(grey, quality):
    content = io.BytesIO()
    Image.fromarray(grey).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


CHANGES = {
    "smaller": lambda grey: cv2.resize(grey, (70, 52), interpolation=cv2.INTER_AREA),
    "larger": lambda grey: cv2.resize(grey, (400, 300), interpolation=cv2.INTER_CUBIC),
    "compressed": lambda grey: stored_anew(grey, 15),
    "brighter": lambda grey: np.clip(grey.astype(int) + 30, 0, 255).astype(np.uint8),
    "pale": lambda grey: (grey * 0.5 + 64).astype(np.uint8),
    "noisy": lambda grey: np.clip(grey + np.random.default_rng(0).normal(0, 6, grey.shape), 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_same_picture_is_known_again(change, mirrored):
    scenes = [grey_scene(index) for index in range(6)]
    copy = CHANGES[change](scenes[2])
    looks = [look(scene) for scene in (*scenes, np.ascontiguousarray(copy[:, ::-1]) if mirrored else copy)]
    assert find_twins(looks) == [Twin(6, 2, mirrored=mirrored)]


def test_the_same_file_is_an_exact_copy_of_the_first():
    scenes = [grey_scene(index) for index in (0, 1, 0, 1, 0)]
    exact = [Twin(2, 0, exact=True), Twin(3, 1, exact=True), Twin(4, 0, exact=True)]
    assert find_twins([look(scene) for scene in scenes]) == exact


def test_nothing_is_like_what_shows_nothing():
    blank = np.full((40, 40), 200, np.uint8)
    brighter = np.full((40, 40), 201, np.uint8)
    assert find_twins([look(blank), None, look(brighter), None]) == []
    assert find_twins([look(blank), look(blank)]) == [Twin(1, 0, exact=True)]
    assert find_twins([]) == []


def test_a_like_picture_is_not_the_same_though_its_hash_is():
    scene = cv2.resize(grey_scene(1), (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(float)
    board = np.where(np.indices(scene.shape).sum(axis=0) % 2, 1, -1)  # far above the frequencies of the hash

    def disturbed(correlation):
        """Pearson's correlation of x and x + n, with n apart from x, is s / sqrt(s * s + n * n) of the deviations."""
        strength = scene.std() * np.sqrt(1 / correlation**2 - 1)
        seen = look(np.rint(110 + 0.4 * (scene - scene.mean() + strength * board)).astype(np.uint8))
        assert (seen.bits ^ look(scene.astype(np.uint8)).bits).bit_count() <= NEAR
        return seen._replace(bits=0)  # so that they meet at once

    looks = [disturbed(0.8), disturbed(0.99), disturbed(0.999)]
    assert find_twins(looks) == [Twin(2, 1)]  # the first is looked at and left, the second is the same


def by_hand(looks):
    """Every pair, one after the other: the sign of each frequency, then Pearson's correlation of the grey copies."""

    def bits(copy):
        waves = cv2.dct(copy.astype(np.float32))[:8, :8].ravel()
        return waves[1:] > 0

    def same(one, other):
        near = (bits(one) != bits(other)).sum() <= NEAR
        return near and np.corrcoef(one.ravel(), other.ravel())[0, 1] >= LEAST_CORRELATION

    twins = []
    for later in range(len(looks)):
        for earlier in range(later):
            plain = same(looks[earlier].copy, looks[later].copy)
            if plain or same(np.ascontiguousarray(looks[earlier].copy[:, ::-1]), looks[later].copy):
                twins.append(Twin(later, earlier, mirrored=not plain))
                break
    return twins


def test_none_is_missed_and_none_invented():
    dice = np.random.default_rng(4)
    scenes = [dice.integers(0, 256, (SIDE, SIDE)).astype(float) for _ in range(8)]
    pictures = []
    for number in range(120):  # from all but equal to quite different
        noisy = scenes[number % 8] + dice.normal(0, 4 * (number % 15), (SIDE, SIDE))
        pictures.append(np.clip(noisy[:, ::-1] if number % 3 == 0 else noisy, 0, 255).astype(np.uint8))
    looks = [look(np.ascontiguousarray(picture)) for picture in pictures]
    expected = by_hand(looks)
    assert 20 < len(expected) < 119
    assert {twin.mirrored for twin in expected} == {True, False}
    assert find_twins(looks) == expected


def test_many_pictures_of_one_view_are_all_found():
    scene = grey_scene(1, 64, 64).astype(int)
    dice = np.random.default_rng(5)
    frames = [np.clip(scene + dice.integers(-2, 3, scene.shape), 0, 255).astype(np.uint8) for _ in range(1500)]
    twins = find_twins([look(frame) for frame in frames])
    assert [twin.index for twin in twins] == list(range(1, 1500))
    assert sum(twin.earlier == 0 for twin in twins) > 1400
