"""The built-in people: repeatable, exact masks, bodies that hold together."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from kseg.data.synthetic import PARTS, draw_scene
from kseg.data.synthetic.pose import ARM, LEG, POSES, SPINE, Build, pose_skeleton
from kseg.data.synthetic.scene import LEVELS, Scene, scene_unit

SMALL = (48, 48)
HEAD, LOWER = PARTS.index("head"), PARTS.index("lower clothes")


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(0, index, *SMALL) for index in range(200)]


def grown(mask, pixels=1):
    """The mask and every pixel within ``pixels`` of it."""
    for _ in range(pixels):
        rows = mask.copy()
        rows[1:] |= mask[:-1]
        rows[:-1] |= mask[1:]
        mask = rows.copy()
        mask[:, 1:] |= rows[:, :-1]
        mask[:, :-1] |= rows[:, 1:]
    return mask


def test_import_is_light():
    code = "import sys, kseg.data.synthetic; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_same_numbers_give_same_bytes_in_any_order_and_from_any_thread():
    wanted = [draw_scene(11, index, 48, 64) for index in range(16)]
    order = [int(i) for i in np.random.default_rng(0).permutation(16)]
    with ThreadPoolExecutor(8) as pool:
        drawn = dict(zip(order, pool.map(lambda i: draw_scene(11, i, 48, 64), order), strict=True))
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
    # A large label that is not met again near its place in the small mask would be something that moved.
    for index in range(8):
        _, small = draw_scene(2, index, 64, 96)
        _, large = draw_scene(2, index, 128, 192)
        for part in range(len(PARTS)):
            assert np.sum((large[::2, ::2] == part) & ~grown(small == part)) <= 4


def test_people_cover_as_much_as_in_photographs(scenes):
    cover = np.array([np.mean(parts > 0) for _, parts in scenes])
    assert 0.03 < np.mean(cover == 0) < 0.13  # about every fifteenth is empty
    assert 0.12 < np.median(cover) < 0.3
    assert np.quantile(cover, 0.9) > 0.4
    assert np.quantile(cover, 0.2) < 0.12


def test_all_parts_occur_and_none_dominates(scenes):
    pixels = sum(np.bincount(parts.ravel(), minlength=len(PARTS)) for _, parts in scenes)
    assert len(pixels) == len(PARTS)
    shares = pixels[1:] / pixels[1:].sum()
    assert shares.min() > 0.08
    assert shares.max() < 0.6


def test_heads_are_above_lower_clothes(scenes):
    above = []
    for _, parts in scenes:
        head, lower = np.nonzero(parts == HEAD)[0], np.nonzero(parts == LOWER)[0]
        if len(head) and len(lower):
            above.append(head.mean() < lower.mean())
    assert len(above) > 80
    assert np.mean(above) > 0.9


@pytest.mark.parametrize("index", range(20))
def test_the_mask_is_what_taking_the_people_away_changes(index):
    """Lighting, blur and noise are not part of ``render``, and shadows on the ground are left out."""
    height, width = 80, 96
    unit = scene_unit(height, width)
    scene = Scene.compose(4, index, width / unit, height / unit, LEVELS["full"])
    with_people, parts = scene.render(height, width, shadows=False)
    without, parts_without = scene.render(height, width, people=False, shadows=False)
    assert not parts_without.any()
    differs = (with_people != without).any(axis=2)
    person = parts > 0
    # An edge changes the pixel it crosses, on whichever side of the mask that falls. Farther off, only slivers
    # thinner than half a pixel remain, as between the bars of a railing: they are seen faintly and not labelled.
    assert np.mean(differs & ~grown(person)) <= 0.005
    # A pixel and its neighbour may happen to have the colour of the ground, but hardly more than a few can.
    assert np.sum(person & ~grown(differs)) <= 0.01 * np.sum(person)
    # Half of the pixels an edge crosses are on the mask's side, so the mask is neither too large nor too small.
    edge = differs & ~person
    assert np.sum(edge) <= 0.5 * np.sum(grown(person) & ~person)


@pytest.mark.parametrize("name", POSES)
def test_bones_keep_their_length_and_joints_bend_the_human_way(name):
    rng = np.random.default_rng(5)
    build = Build.random(rng, child=False)
    for heading in (0.0, 70.0, 200.0):
        bones = pose_skeleton(rng, POSES[name], build, heading)
        lengths = {
            "upper arm": (bones.shoulders, bones.elbows, ARM[0]),
            "forearm": (bones.elbows, bones.wrists, ARM[1]),
            "thigh": (bones.hips, bones.knees, LEG[0] * build.legs),
            "shin": (bones.knees, bones.ankles, LEG[1] * build.legs),
        }
        for start, stop, length in lengths.values():
            np.testing.assert_allclose(np.linalg.norm(stop - start, axis=1), length, rtol=1e-6)
        assert np.linalg.norm(bones.neck - bones.pelvis) <= SPINE + 1e-9
        # Seen from the side, a shin never points farther forward than its thigh.
        forward = np.array([np.sin(bones.heading), 0, np.cos(bones.heading)])
        for hip, knee, ankle in zip(bones.hips, bones.knees, bones.ankles, strict=True):
            thigh, shin = knee - hip, ankle - knee
            bend = np.arctan2(thigh @ forward, thigh[1]) - np.arctan2(shin @ forward, shin[1])
            assert -1e-6 <= bend % (2 * np.pi) <= np.radians(150) or abs(bend) < 1e-6


def test_the_easy_level_shows_people_larger_and_alone():
    easy, full = ([draw_scene(2, index, 48, 48, level)[1] > 0 for index in range(80)] for level in ("easy", "full"))
    assert np.median([mask.mean() for mask in easy]) > 1.3 * np.median([mask.mean() for mask in full])
    assert sum(not mask.any() for mask in easy) <= 10
    # One person is one piece, but for what the frame cuts off.
    pieces = [cv2.connectedComponents(mask.astype(np.uint8))[0] - 1 for mask in easy if mask.any()]
    assert np.mean(pieces) < 1.6
