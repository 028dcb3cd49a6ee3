import io
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

from kseg.errors import ConfigError, DataError, KsegError
from kseg.inference.outputs import KINDS, Outputs
from kseg.inference.segmentation import Segmentation

PERSON = ("background", "person")
CLASSES = ("background", "cat", "dog")


def made(classes=PERSON, height=23, width=31):
    """A photo of noise with probabilities of noise."""
    dice = np.random.default_rng(len(classes))
    picture = dice.integers(0, 256, (height, width, 3), np.uint8)
    probabilities = dice.dirichlet([0.3] * len(classes), (height, width)).astype(np.float32)
    mask = probabilities.argmax(axis=-1).astype(np.uint8)
    several = classes != PERSON
    return Segmentation(picture, mask, probabilities[..., 0 if several else 1 :], classes, several=several)


def decoded(content):
    """The pixels of a picture file, as Pillow has them."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def grey(pixels):
    """One channel; WebP has no others than three equal ones."""
    if pixels.ndim == 3:
        assert (pixels == pixels[..., :1]).all()
        return pixels[..., 0]
    return pixels


@pytest.mark.parametrize("file_format", ["png", "webp", "tif"])
def test_every_kind_comes_back_without_loss(file_format):
    found, outputs = made(), Outputs(kinds=KINDS, format=file_format, background=(9, 99, 199))
    content = {kind: decoded(outputs.encode(kind, found)) for kind in KINDS}
    np.testing.assert_array_equal(grey(content["mask"]), found.mask * 255)
    share = found.probabilities[..., 0].astype(np.float64) * 255
    assert np.abs(grey(content["probabilities"]) - share).max() <= 0.5
    np.testing.assert_array_equal(content["overlay"], found.overlay())
    np.testing.assert_array_equal(content["background"], found.on_background((9, 99, 199)))
    cutout, opacity = content["cutout"], found.cutout()[..., 3]
    np.testing.assert_array_equal(cutout[..., 3], opacity)
    assert 0 < (opacity == 0).mean() < 1
    seen = opacity > 0 if file_format == "webp" else np.ones_like(opacity, bool)
    np.testing.assert_array_equal(cutout[seen, :3], found.picture[seen])


def test_masks_of_several_classes_are_ids_and_probabilities_an_array():
    found, outputs = made(CLASSES), Outputs(kinds=("mask", "probabilities"))
    np.testing.assert_array_equal(decoded(outputs.encode("mask", found)), found.mask)
    array = np.load(io.BytesIO(outputs.encode("probabilities", found)), allow_pickle=False)
    assert array.dtype == np.float16
    np.testing.assert_allclose(array, found.probabilities, atol=2**-11)


def test_jpeg_of_what_is_looked_at():
    found, outputs = made(), Outputs(kinds=("overlay", "background"), format="jpg", background=(0, 0, 0))
    smooth = Segmentation(np.full_like(found.picture, 120), np.zeros_like(found.mask), found.probabilities * 0, PERSON)
    np.testing.assert_allclose(decoded(outputs.encode("overlay", smooth)).astype(int), 120, atol=2)
    assert decoded(outputs.encode("background", smooth)).max() <= 2


@pytest.mark.parametrize("kind", ["mask", "probabilities", "cutout"])
def test_jpeg_of_what_is_computed_with_is_refused(kind):
    with pytest.raises(ConfigError, match=f"jpg would change the values of a {kind}; use png, webp or tif"):
        Outputs(kinds=("overlay", kind), format="jpg")


def test_unknown_kinds_and_formats_are_named():
    with pytest.raises(ConfigError, match="output masks is unknown; there are mask, probabilities"):
        Outputs(kinds=("masks",))
    with pytest.raises(ConfigError, match="format bmp is unknown; there are png"):
        Outputs(format="bmp")


def test_a_legend_is_drawn_if_wished_for():
    found = made(CLASSES, 120, 160)
    with_legend = decoded(Outputs(kinds=("overlay",), legend=True).encode("overlay", found))
    np.testing.assert_array_equal(with_legend, found.overlay(legend=True))
    assert (with_legend != found.overlay()).any()


def test_names_of_files():
    outputs = Outputs(kinds=("mask", "probabilities"), format="tif")
    place = PurePath("日本/a.b")
    assert outputs.files(Path("out"), place, False) == {
        "mask": Path("out/日本/a.b_mask.tif"),
        "probabilities": Path("out/日本/a.b_probabilities.tif"),
    }
    assert outputs.files(Path("out"), place, True)["probabilities"] == Path("out/日本/a.b_probabilities.npy")


@pytest.mark.parametrize(
    ("kinds", "soft", "photo"),
    [
        (("mask",), False, False),
        (("probabilities",), True, False),
        (("mask", "overlay"), False, True),
        (("mask", "cutout"), True, True),
        (("background",), True, True),
    ],
)
def test_what_is_needed(kinds, soft, photo):
    outputs = Outputs(kinds=kinds)
    assert (outputs.soft, outputs.need_photo) == (soft, photo)
    found = made()
    given = Segmentation(found.picture, found.mask, found.probabilities if soft else None, PERSON)
    for kind in kinds:
        outputs.encode(kind, given)


def test_files_are_written_into_new_folders_and_nothing_else(tmp_path):
    outputs, found = Outputs(kinds=("mask", "overlay")), made()
    files = outputs.files(tmp_path / "new", PurePath("deep/er/a"), False)
    outputs.write(found, files)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(files.values())
    np.testing.assert_array_equal(decoded(files["mask"].read_bytes()), found.mask * 255)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KsegError, match=r"file/a_mask\.png: cannot be written"):
        Outputs().write(made(), Outputs().files(tmp_path / "file", PurePath("a"), False))


def test_a_photo_that_a_format_has_no_room_for_is_refused(tmp_path):
    """WebP stores sides in 14 bits; OpenCV only says that it did not work."""
    found = made(height=2, width=1 << 14)
    files = Outputs(format="webp").files(tmp_path, PurePath("a"), False)
    with pytest.raises(DataError, match="16384 x 2 pixels are too many for webp; use tif or png"):
        Outputs(format="webp").write(found, files)
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(decoded(Outputs().encode("mask", found)), found.mask * 255)
