import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from kseg.data.images import read_mask, read_photo, read_picture
from kseg.data.samples import View
from kseg.errors import DataError

ORIENTATION = 0x0112
# Colours of the corners of a picture seen upright, top-left first; large blocks, so that JPEG keeps them apart.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
UPRIGHT = CORNERS.repeat(16, axis=0).repeat(24, axis=1)

# How the sensor's rows and columns lie when EXIF gives this orientation (CIPA DC-008, "Orientation").
STORED_AS = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def save(path, array, orientation=None, **options):
    image = Image.fromarray(np.ascontiguousarray(array))
    if orientation:
        image.getexif()[ORIENTATION] = orientation
        options["exif"] = image.getexif()
    image.save(path, **options)
    return path


def corners(picture):
    height, width = picture.shape[:2]
    return picture[[[height // 4], [3 * height // 4]], [[width // 4, 3 * width // 4]]]


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
def test_every_exif_orientation_is_turned_upright(tmp_path, ending, orientation):
    path = save(tmp_path / f"a.{ending}", STORED_AS[orientation](UPRIGHT), orientation)
    picture = read_picture(path)
    assert picture.shape == (32, 48, 3)
    assert np.abs(corners(picture).astype(int) - CORNERS).max() < 40


@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_turned_jpeg_is_reduced_by_its_upright_size(tmp_path, orientation):
    upright = CORNERS.repeat(40, axis=0).repeat(90, axis=1)  # 80 x 180
    path = save(tmp_path / "a.jpg", STORED_AS[orientation](upright), orientation)
    photo = read_photo(path, View((16, 45)))
    assert photo.size == (80, 180)
    assert photo.pixels.shape == (20, 45, 3)
    assert np.abs(corners(photo.pixels).astype(int) - CORNERS).max() < 40


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, orientation):
    photo = read_photo(save(tmp_path / "a.jpg", UPRIGHT, orientation), View((16, 16)))
    assert photo.size == (32, 48)
    assert photo.pixels.shape == (16, 24, 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    ("shape", "size", "divisor"),
    [
        *(((320, 480), size, divisor) for size, divisor in (((160, 240), 2), ((80, 120), 4), ((40, 60), 8))),
        *(((327, 487), size, divisor) for size, divisor in (((32, 48), 8), ((16, 24), 8))),
        ((325, 481), (32, 32), 2),
    ],
)
def test_a_reduced_jpeg_looks_as_the_whole_one_averaged(tmp_path, shape, size, divisor, progressive, mode):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*shape, 3), np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), 3)
    Image.fromarray(picture).convert(mode).save(tmp_path / "a.jpg", quality=95, progressive=progressive)
    whole = read_picture(tmp_path / "a.jpg")
    assert whole.shape[:2] == shape
    reduced = read_photo(tmp_path / "a.jpg", View(size)).pixels
    rows, columns = reduced.shape[:2]
    assert (rows, columns) == tuple(-(-side // divisor) for side in shape)
    room = [(0, rows * divisor - shape[0]), (0, columns * divisor - shape[1]), (0, 0)]
    blocks = np.pad(whole, room, "edge").reshape(rows, divisor, columns, divisor, 3)
    assert np.abs(reduced - blocks.mean(axis=(1, 3))).mean() < 1.5


@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
def test_what_is_no_jpeg_is_read_whole(tmp_path, ending):
    path = save(tmp_path / f"a.{ending}", UPRIGHT)
    photo = read_photo(path, View((2, 2)))
    assert photo.size == (32, 48)
    np.testing.assert_array_equal(photo.pixels, read_picture(path))


@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_mask_is_turned_like_a_picture(tmp_path, orientation):
    upright = np.array([[0, 1], [2, 3]], np.uint8).repeat(2, axis=0).repeat(3, axis=1)
    path = save(tmp_path / "m.png", STORED_AS[orientation](upright), orientation)
    np.testing.assert_array_equal(read_mask(path, colours=False), upright)


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"])
def test_every_format_is_read(tmp_path, ending):
    picture = read_picture(save(tmp_path / f"a.{ending}", UPRIGHT))
    assert picture.dtype == np.uint8
    assert np.abs(corners(picture).astype(int) - CORNERS).max() < 40


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_colour_mode_becomes_rgb(tmp_path, mode):
    ending = "jpg" if mode == "CMYK" else "png"
    path = tmp_path / f"a.{ending}"
    Image.fromarray(UPRIGHT).convert(mode).save(path)
    assert read_picture(path).shape == (32, 48, 3)


def test_sixteen_bit_grey_keeps_its_upper_byte(tmp_path):
    save(tmp_path / "a.png", np.array([[0, 0x1234], [0xFFFF, 0x80FF]], np.uint16))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png")[..., 1], [[0, 0x12], [0xFF, 0x80]])


def test_a_palette_mask_gives_indices_or_its_colours(tmp_path):
    mask = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    mask.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", colours=False), [[0, 1], [2, 1]])
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", colours=True)[0, 1], [128, 0, 0])


def test_grey_saved_as_rgb_is_a_mask_of_values_and_colours_are_not(tmp_path):
    grey = np.array([[0, 255], [255, 0]], np.uint8)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", np.dstack([grey] * 3)), colours=False), grey)
    with pytest.raises(DataError, match=r"c\.png: a coloured mask.*mask_values"):
        read_mask(save(tmp_path / "c.png", UPRIGHT), colours=False)


def broken_files(folder):
    whole = save(folder / "whole.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).read_bytes()
    png = save(folder / "whole.png", UPRIGHT).read_bytes()
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + png[24:29]
    huge = png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:]
    header = header.replace((60_000).to_bytes(4, "big"), (13_300).to_bytes(4, "big"))
    large = png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:]
    return {
        "truncated.jpg": (whole[: len(whole) // 2], "cannot be decoded"),
        "truncated.png": (png[: len(png) // 2], "cannot be decoded"),
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"this is no picture at all", "not a picture"),
        "header.jpg": (whole[:10], "not a picture|cannot be decoded"),
        "huge.png": (huge, "claims 3,600,000,000 pixels; the limit is 175,000,000; reduce it"),
        "large.png": (large, "claims 176,890,000 pixels"),  # Pillow itself would go on
    }


@pytest.mark.parametrize(
    "name",
    ["truncated.jpg", "truncated.png", "empty.jpg", "text.jpg", "header.jpg", "huge.png", "large.png"],
)
def test_a_broken_file_is_named_with_its_reason(tmp_path, name):
    content, reason = broken_files(tmp_path)[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as raised:
        read_picture(path)
    assert str(path) in str(raised.value)


def test_one_pixel_and_missing_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="only 1 x 1 pixels"):
        read_picture(save(tmp_path / "a.png", np.zeros((1, 1, 3), np.uint8)))
    with pytest.raises(DataError, match=r"none\.png: .*No such file"):
        read_picture(tmp_path / "none.png")


READ_IN_THREADS = """
import sys, warnings
from functools import partial
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from PIL import Image
from kseg.data.images import glance, read_mask, read_picture

Image.MAX_IMAGE_PIXELS = 1000  # Pillow remarks on all above, and refuses all above twice as many
before = list(warnings.filters)
paths = sorted(Path(sys.argv[1]).iterdir())
assert len(paths) == 3
with ThreadPoolExecutor(8) as threads:
    for read in (read_picture, partial(read_mask, colours=True), lambda path: glance(path, path.read_bytes(), 8)):
        list(threads.map(read, 100 * paths))
assert warnings.filters == before, warnings.filters
warnings.warn("heard", stacklevel=1)
"""


@pytest.mark.parametrize("option", ["default", "error"])
def test_pillows_remarks_are_not_heard_and_all_others_are(tmp_path, option):
    """In a process of its own, since pytest has its own mind on warnings."""
    save(tmp_path / "large.png", UPRIGHT)  # of 1536 pixels
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    damaged = exif.tobytes()[:-6]  # in the middle of the tag
    for name in ("a.jpg", "b.png"):
        Image.fromarray(UPRIGHT[:20]).save(tmp_path / name, exif=damaged)
    command = [sys.executable, "-W", option, "-c", READ_IN_THREADS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith("UserWarning: heard"), done.stderr
    assert done.returncode == (option == "error")
    assert "PIL" not in done.stderr
