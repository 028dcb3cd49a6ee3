import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.data.fitting import Box, fit_mask, fit_photo, fit_picture, place, reduction, restore, shrunk
from kseg.data.samples import View

SIDE = st.integers(1, 40)


def whole(height, width):
    return Box(0, 0, height, width)


def grey(values):
    return np.array(values, np.uint8)[..., None].repeat(3, axis=2)


def test_a_side_that_shrinks_is_averaged_over_areas():
    picture = grey([[0, 100], [200, 40]])
    np.testing.assert_array_equal(fit_picture(picture, (1, 1), whole(1, 1)), grey([[85]]))  # (0 + 100 + 200 + 40) / 4


def test_each_side_goes_its_own_way():
    # Four columns become two by averages of pairs, two rows become four by lines.
    picture = grey([[0, 40, 100, 100], [80, 120, 0, 200]])
    rows = [[20, 100], [40, 100], [80, 100], [100, 100]]  # 20 and 100 in steps of (1/4, 3/4)
    np.testing.assert_array_equal(fit_picture(picture, (4, 2), whole(4, 2)), grey(rows))


@given(height=SIDE, width=SIDE, to_height=SIDE, to_width=SIDE)
@settings(deadline=None, max_examples=50)
def test_a_mask_takes_the_nearest_pixel_by_centres(height, width, to_height, to_width):
    mask = np.random.default_rng(height * 41 + width).integers(0, 5, (height, width), np.uint8)
    fitted = fit_mask(mask, (to_height, to_width), whole(to_height, to_width))
    for row in range(to_height):
        for column in range(to_width):
            y, x = (row + 0.5) * height / to_height, (column + 0.5) * width / to_width
            # On a border between two pixels, either is nearest.
            rows = {min(int(y), height - 1), min(int(np.ceil(y)) - 1, height - 1)}
            columns = {min(int(x), width - 1), min(int(np.ceil(x)) - 1, width - 1)}
            assert fitted[row, column] in {mask[r, c] for r in rows for c in columns}


def test_a_mask_enlarged_and_reduced_again_is_the_same():
    mask = np.random.default_rng(1).integers(0, 7, (30, 22), np.uint8)
    enlarged = fit_mask(mask, (90, 66), whole(90, 66))
    np.testing.assert_array_equal(fit_mask(enlarged, (30, 22), whole(30, 22)), mask)


@given(height=st.integers(1, 300), width=st.integers(1, 300), most=st.integers(1, 5000))
@settings(deadline=None, max_examples=100)
def test_a_shrunk_picture_has_no_more_pixels_than_asked_for(height, width, most):
    picture = np.zeros((height, width, 3), np.uint8)
    rows, columns, _ = shrunk(picture, most).shape
    assert rows * columns <= max(1, most)
    if height * width <= most:
        assert (rows, columns) == (height, width)
    elif min(rows, columns) > 1:  # each side is cut off to a whole number
        factor = (most / (height * width)) ** 0.5
        assert height * factor - 1 <= rows <= height * factor + 1e-9
        assert width * factor - 1 <= columns <= width * factor + 1e-9


def test_a_shrunk_picture_is_averaged_over_areas():
    np.testing.assert_array_equal(shrunk(grey([[0, 100], [200, 40]]), 1), grey([[85]]))  # (0 + 100 + 200 + 40) / 4
    assert shrunk(np.zeros((1, 9000, 3), np.uint8), 60).shape == (1, 60, 3)
    assert shrunk(np.zeros((9000, 1, 3), np.uint8), 60).shape == (60, 1, 3)


def test_a_jpeg_is_reduced_as_far_as_the_view_allows():
    assert reduction((3000, 4000), View((256, 256))) == 8  # 375 x 500
    assert reduction((480, 640), View((256, 256), "pad")) == 2  # 240 x 320 for 192 x 256
    assert reduction((480, 640), View((256, 256))) == 1  # 240 rows were fewer than 256
    assert reduction((513, 512), View((256, 256))) == 1  # 257 rows would hold half a row too many
    assert reduction((515, 512), View((64, 64))) == 4  # 129 rows for 64 hold a quarter of a row too many
    assert reduction((513, 512), View((64, 64))) == 2  # three quarters of a row; 257 at 2 hold a half
    assert reduction((20, 4000), View((32, 32))) == 1


@given(
    st.tuples(*[st.integers(1, 5000)] * 2), st.tuples(*[st.integers(1, 600)] * 2), st.sampled_from(["stretch", "pad"])
)
@settings(deadline=None, max_examples=200)
def test_no_more_is_lost_than_the_network_sees(photo, size, resize):
    view = View(size, resize)
    box = place(photo, *view)

    def enough(divisor):
        sizes = zip(photo, (box.height, box.width), strict=True)
        moves = [np.ceil(side / divisor) * divisor * inner / side - inner for side, inner in sizes]
        return photo[0] / divisor >= box.height and photo[1] / divisor >= box.width and max(moves) <= 1 / 8 + 1e-9

    divisor = reduction(photo, view)
    assert divisor == max([1, *(one for one in (2, 4, 8) if enough(one))])


def test_a_reduced_photo_comes_into_the_box_of_the_whole():
    picture, box = fit_photo(np.full((38, 75, 3), 9, np.uint8), (299, 600), View((64, 64), "pad"))
    assert box == place((299, 600), (64, 64), "pad")
    assert (picture[box.slices] == 9).all()


def test_padding_keeps_the_aspect_and_is_ignored():
    box = place((40, 20), (64, 64), "pad")
    assert box == Box(0, 16, 64, 32)  # 40 x 20 becomes 64 x 32, centred
    picture = fit_picture(np.full((40, 20, 3), 200, np.uint8), (64, 64), box)
    mask = fit_mask(np.ones((20, 10), np.uint8), (64, 64), box)
    np.testing.assert_array_equal(mask[:, 16:48], 1)
    assert (mask[:, :16] == 255).all()
    assert (mask[:, 48:] == 255).all()
    assert (picture[:, 16:48] == 200).all()
    assert not picture[:, :16].any()


def test_a_mask_of_the_whole_size_comes_into_its_box_too():
    mask = fit_mask(np.ones((8, 6), np.uint8), (8, 6), Box(2, 1, 4, 3), 255)
    expected = np.full((8, 6), 255, np.uint8)
    expected[2:6, 1:4] = 1
    np.testing.assert_array_equal(mask, expected)


def test_stretching_fills_all():
    box = place((10, 20), (32, 64), "stretch")
    assert box == whole(32, 64)
    assert (fit_mask(np.ones((5, 10), np.uint8), (32, 64), box) == 1).all()


@given(height=st.integers(1, 300), width=st.integers(1, 300), to_height=SIDE, to_width=SIDE)
@settings(deadline=None, max_examples=100)
def test_a_box_lies_on_the_picture_and_touches_its_sides(height, width, to_height, to_width):
    box = place((height, width), (to_height, to_width), "pad")
    assert box.height >= 1
    assert box.width >= 1
    assert box.top + box.height <= to_height
    assert box.left + box.width <= to_width
    assert box.height == to_height or box.width == to_width


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_logits_come_back_linearly(channels, resize):
    logits = np.random.default_rng(2).normal(size=(8, 12, channels)).astype(np.float32)
    photo = 21, 17
    box = place(photo, (8, 12), resize)
    inner = logits[box.slices]
    restored = restore(logits, photo, box)
    assert restored.shape == (*photo, channels)
    for row in range(photo[0]):
        for column in range(photo[1]):
            y = np.clip((row + 0.5) * box.height / photo[0] - 0.5, 0, box.height - 1)
            x = np.clip((column + 0.5) * box.width / photo[1] - 0.5, 0, box.width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, box.height - 1), min(left + 1, box.width - 1)
            upper = inner[top, left] * (1 - x + left) + inner[top, right] * (x - left)
            lower = inner[bottom, left] * (1 - x + left) + inner[bottom, right] * (x - left)
            np.testing.assert_allclose(restored[row, column], upper * (1 - y + top) + lower * (y - top), atol=1e-5)
