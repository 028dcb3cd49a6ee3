import io

import cv2
import numpy as np
import pytest
from PIL import Image

from kseg.data.images import read_picture
from kseg.data.plain_jpeg import read_plain_jpeg
from kseg.errors import DataError

SAMPLINGS = (0x111111, 0x211111, 0x221111, 0x121111, 0x411111)
"""Of brightness, against colour: 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1."""


def picture(height, width, seed=0):
    """Smooth colours and noise: uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def encoded(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(content, divisor=1):
    """What Pillow makes of it, its sides divided, or None where it refuses."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if divisor > 1:
                image.draft(None, [side // divisor for side in image.size])
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None


@pytest.fixture
def read(tmp_path):
    def read(content, divisor=1):
        path = tmp_path / "photo.jpg"
        path.write_bytes(content)
        found = read_plain_jpeg(path, lambda _: divisor)
        return found and found[0]

    return read


@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(8, 9), (17, 64), (101, 33), (256, 255)])
def test_the_pixels_are_pillows(read, size, sampling, divisor):
    for quality, restarts in ((30, 0), (75, 2), (98, 1)):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        content = cv2.imencode(".jpg", picture(*size), [*options, cv2.IMWRITE_JPEG_RST_INTERVAL, restarts])[1].tobytes()
        found = read(content, divisor)
        assert found.shape == (-(-size[0] // divisor), -(-size[1] // divisor), 3)
        np.testing.assert_array_equal(found, by_pillow(content, divisor), strict=True)


def test_its_own_size_is_told_and_decides(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(encoded(picture(40, 61)))
    pixels, size = read_plain_jpeg(tmp_path / "photo.jpg", {(40, 61): 4}.get)
    assert size == (40, 61)
    assert pixels.shape == (10, 16, 3)


def test_what_is_damaged_is_left_to_pillow_or_gives_its_pixels(read):
    rng = np.random.default_rng(0)
    content = encoded(picture(120, 160), quality=80)
    kinds = {"left": 0, "same": 0}
    for number in range(300):
        damaged = bytearray(content)
        for place in rng.integers(300, len(content), 1 + number % 20):
            damaged[place] = rng.integers(256)
        if number % 3 == 0:
            del damaged[int(rng.integers(300, len(content))) :]
        elif number % 3 == 1:
            damaged[-2:] = b"\xff\xd9"
        divisor = (1, 2, 4, 8)[number // 20 % 4]
        found = read(bytes(damaged), divisor)
        kinds["left" if found is None else "same"] += 1
        if found is not None:
            np.testing.assert_array_equal(found, by_pillow(bytes(damaged), divisor), strict=True)
    assert min(kinds.values()) > 50, kinds


def test_a_marker_among_the_data_at_which_libjpeg_gives_up_is_left_to_pillow(read, tmp_path):
    content = bytearray(encoded(picture(64, 64), quality=90))
    middle = len(content) - 400
    content[middle : middle + 2] = b"\xff\xc0"  # a second header of the frame
    assert by_pillow(bytes(content)) is None
    assert read(bytes(content)) is None
    with pytest.raises(DataError, match=r"photo\.jpg: cannot be decoded"):
        read_picture(tmp_path / "photo.jpg")


def turned(orientation=6):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(32, 48), exif=exif)


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_one_that_turns_nothing_is_plain(read, orientation):
    content = turned(orientation)
    np.testing.assert_array_equal(read(content), by_pillow(content), strict=True)


@pytest.mark.parametrize(
    "content",
    [
        encoded(picture(32, 32), progressive=True),
        encoded(picture(32, 32)[..., 0]),
        turned(),
        encoded(picture(1, 32)),
        encoded(picture(32, 32))[:-2],
        encoded(picture(32, 32)) + b"\0",
        cv2.imencode(".png", picture(32, 32))[1].tobytes(),
        b"",
    ],
    ids=["progressive", "grey", "turned", "one row", "without its end", "with more", "png", "empty"],
)
def test_all_others_are_left_to_pillow(read, content):
    assert read(content) is None


def test_cmyk_is_left_to_pillow(read):
    file = io.BytesIO()
    Image.fromarray(picture(32, 32)).convert("CMYK").save(file, "JPEG")
    assert read(file.getvalue()) is None


def test_a_file_that_is_not_there_is_left_to_pillow(tmp_path):
    assert read_plain_jpeg(tmp_path / "none.jpg") is None
