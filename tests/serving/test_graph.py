"""The served signatures against the Keras network and slow NumPy: masks, numbers, statuses, sizes and order."""

import dataclasses
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from served import BINARY, SEVERAL, SMALL, blobs, pixels_of, png, trained, upright

from kseg.data.fitting import fit_photo, fit_picture, place, restore
from kseg.data.images import read_photo
from kseg.errors import ExportError
from kseg.logits import SOFT, decide
from kseg.models.constants import as_constants
from kseg.serving.graph import JUDGED_AT_ONCE, Contract, ServedNetwork
from kseg.serving.photo.header import Status
from kseg.serving.verify import expected_logits, expected_mask

CONTRACTS = {
    "stretch": BINARY,
    "pad": dataclasses.replace(BINARY, resize="pad"),
    "sure": dataclasses.replace(BINARY, threshold=0.97),
    "unsure": dataclasses.replace(BINARY, resize="pad", threshold=0.02),
    "several": SEVERAL,
    "several stretch": dataclasses.replace(SEVERAL, resize="stretch"),
}
SIZES = (64, 64), (48, 40), (97, 33), (30, 141), (333, 250), (20, 25)


@pytest.fixture(scope="session", params=CONTRACTS)
def served(request, network_of):
    contract = CONTRACTS[request.param]
    return ServedNetwork(as_constants(network_of(contract)), contract), network_of(contract), contract


@pytest.fixture(scope="session")
def segmented(served):
    """The pictures, the network and contract that saw them, and what the default signature answers."""
    signatures, model, contract = served
    pictures = [blobs(300 + i, *size, len(contract.classes))[0] for i, size in enumerate(SIZES)]
    answers = tf.function(signatures.segment, autograph=False)(tf.constant([png(picture) for picture in pictures]))
    return pictures, model, contract, {name: value.numpy() for name, value in answers.items()}


def changed(mask, expected):
    """The share of the pixels that differ."""
    assert mask.shape == expected.shape
    return (mask != expected).mean()


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_masks_are_those_of_the_network_at_the_photos_size(segmented):
    pictures, model, contract, answers = segmented
    ids_seen, differing, count = set(), 0, 0
    for picture, content in zip(pictures, answers["mask_bytes"], strict=True):
        mask, expected = pixels_of(content), expected_mask(model, contract, picture)
        assert mask.shape == expected.shape == picture.shape[:2]
        ids_seen |= set(np.unique(mask))
        differing += (mask != expected).sum()
        count += mask.size
    assert differing <= 1e-3 * count
    assert ids_seen == ({0, 255} if contract.binary else {0, 1, 2, 3})
    assert answers["status"].tolist() == [Status.OK] * len(pictures)
    assert answers["message_bytes"].tolist() == [b""] * len(pictures)


def test_the_threshold_moves_the_mask(network_of):
    picture = blobs(300, 333, 250)[0]
    shares = [
        (expected_mask(network_of(BINARY), dataclasses.replace(BINARY, threshold=threshold), picture) > 0).mean()
        for threshold in (0.02, 0.5, 0.97)
    ]
    assert shares[0] > shares[1] + 0.005 > shares[2] + 0.01  # so that a threshold that is ignored is seen above


def test_score_and_coverage_by_slow_numpy(segmented):
    pictures, model, contract, answers = segmented
    for index, picture in enumerate(pictures):
        box = place(picture.shape[:2], contract.image_size, contract.resize)
        fitted = fit_picture(picture, contract.image_size, box)[None].astype(np.float32)
        inner = model.predict_on_batch(fitted)[0][box.slices]
        sure = []
        for values in inner.reshape(-1, inner.shape[-1]):
            if contract.binary:
                there = float(sigmoid(values)[0])
                sure.append(there if there > contract.threshold else 1 - there)
            else:
                sure.append(softmax(values).max())
        assert answers["score"][index] == pytest.approx(np.mean(sure), abs=2e-3)
        mask = pixels_of(answers["mask_bytes"][index])
        ids = [0, 255] if contract.binary else range(len(contract.classes))
        shares = [(mask == value).sum() / mask.size for value in ids]
        np.testing.assert_allclose(answers["coverage"][index], shares, atol=1e-6)
    assert np.ptp(answers["score"]) > 1e-3
    assert answers["score"].dtype == answers["coverage"].dtype == np.float32


def test_a_cutout_is_the_photo_with_the_probability_for_alpha(loaded, exact):
    pictures = [blobs(400 + i, *size)[0] for i, size in enumerate(SIZES)]
    answers = loaded("cutout", [png(picture) for picture in pictures])
    for picture, content in zip(pictures, answers["cutout_bytes"], strict=True):
        cut = pixels_of(content)
        np.testing.assert_array_equal(cut[..., :3], picture)
        there = sigmoid(expected_logits(exact.model, BINARY, picture)[..., 0])
        expected = 255 * np.clip((there - SOFT) / (1 - 2 * SOFT), 0, 1)
        difference = np.abs(cut[..., 3] - expected)
        assert difference.mean() < 0.5
        assert np.quantile(difference, 0.99) < 4
        assert {0, 255} < set(np.unique(cut[..., 3])), "no pixel of the edge is half transparent"


def test_a_cutout_is_upright(loaded):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(blobs(5, 40, 70)[0]).save(buffer, "PNG", exif=exif)
    cut = pixels_of(loaded("cutout", [buffer.getvalue()])["cutout_bytes"][0])
    np.testing.assert_array_equal(cut[..., :3], upright(buffer.getvalue()))
    assert cut.shape == (70, 40, 4)


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 96)])
@pytest.mark.parametrize("signature", ["probabilities", "probabilities_uint8"])
def test_probabilities_of_pixels_of_any_size(loaded, exact, size, signature):
    batch = np.stack([blobs(500 + i, *size)[0] for i in range(2)])
    fed = batch if signature == "probabilities_uint8" else batch + np.float32(0.25)
    found = loaded(signature, fed)["probabilities"]
    # continued by its last row and column, one pixel after the other
    height, width = (-(-side // 32) * 32 for side in size)
    continued = np.zeros((2, height, width, 3), np.float32)
    for row in range(height):
        for column in range(width):
            continued[:, row, column] = fed[:, min(row, size[0] - 1), min(column, size[1] - 1)]
    expected = sigmoid(exact.model.predict_on_batch(continued))[:, : size[0], : size[1]]
    assert found.shape == (2, *size, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_probabilities_of_several_classes_add_up_to_one(network_of):
    served = ServedNetwork(as_constants(network_of(SEVERAL)), SEVERAL)
    batch = np.stack([blobs(600 + i, 50, 70, 4)[0] for i in range(2)])
    found = tf.function(served.probabilities, autograph=False)(batch)["probabilities"].numpy()
    continued = np.pad(batch, ((0, 0), (0, 14), (0, 26), (0, 0)), "edge").astype(np.float32)
    expected = softmax(network_of(SEVERAL).predict_on_batch(continued))[:, :50, :70]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)


def test_names_types_and_shapes_of_all_that_goes_in_and_comes_out(loaded):
    found = {
        name: [
            {key: (tf.as_dtype(value.dtype).name, tf.TensorShape(value.tensor_shape).as_list())
             for key, value in side.items()}
            for side in (signature.inputs, signature.outputs)
        ]
        for name, signature in loaded.signatures.items()
    }  # fmt: skip
    strings, numbers = ("string", [None]), ("float32", [None])
    photos, verdict = {"image_bytes": strings}, {"status": ("int32", [None]), "message_bytes": strings}
    assert found == {
        "serving_default": [
            photos,
            {"mask_bytes": strings, "score": numbers, "coverage": ("float32", [None, 2]), **verdict},
        ],
        "cutout": [photos, {"cutout_bytes": strings, **verdict}],
        "probabilities": [
            {"pixels": ("float32", [None, None, None, 3])}, {"probabilities": ("float32", [None, None, None, 1])}
        ],
        "probabilities_uint8": [
            {"pixels": ("uint8", [None, None, None, 3])}, {"probabilities": ("float32", [None, None, None, 1])}
        ],
    }  # fmt: skip


def test_several_classes_have_no_cutout(network_of):
    assert "cutout" not in ServedNetwork(as_constants(network_of(SEVERAL)), SEVERAL).signatures()


def test_no_photos_get_no_answers(loaded):
    answers = loaded("serving_default", np.zeros([0], object))
    assert {name: value.shape for name, value in answers.items()} == {
        "mask_bytes": (0,), "score": (0,), "coverage": (0, 2), "status": (0,), "message_bytes": (0,)
    }  # fmt: skip
    assert loaded("cutout", np.zeros([0], object))["cutout_bytes"].shape == (0,)


def test_only_broken_photos_get_only_statuses(loaded):
    answers = loaded("serving_default", [b"", b"junk"])
    assert answers["status"].tolist() == [Status.EMPTY, Status.NOT_A_PICTURE]
    assert answers["mask_bytes"].tolist() == [b"", b""]
    assert answers["coverage"].tolist() == [[0, 0], [0, 0]]
    assert loaded("cutout", [b"", b"junk"])["cutout_bytes"].tolist() == [b"", b""]


def test_more_photos_than_are_judged_at_once_keep_their_order(loaded, exact):
    count = 40
    assert count > 2 * JUDGED_AT_ONCE
    pictures = [blobs(700 + i, 40 + i, 90 - i)[0] for i in range(count)]
    contents = [b"broken" if i % 7 == 3 else png(picture) for i, picture in enumerate(pictures)]
    answers = loaded("serving_default", contents)
    for index, picture in enumerate(pictures):
        if index % 7 == 3:
            assert answers["status"][index] == Status.NOT_A_PICTURE
            continue
        mask = pixels_of(answers["mask_bytes"][index])
        assert changed(mask, expected_mask(exact.model, BINARY, picture)) <= 3e-3, index


def saved(image, file_format, orientation=1, **options):
    """The bytes of a file whose picture is ``image`` once it is turned as its EXIF says."""
    buffer = io.BytesIO()
    if orientation > 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def every_format(photo):
    """45 files of ``photo(index)``s: every format, its variants, and every EXIF orientation where there is EXIF."""
    image = lambda index, mode="RGB": Image.fromarray(photo(index)).convert(mode)  # noqa: E731
    files = [saved(image(i), "JPEG", 1 + i, quality=92) for i in range(8)]
    files += [saved(image(8 + i), "PNG", 1 + i) for i in range(8)]
    files += [saved(image(16 + i), "WEBP", 1 + i, lossless=True) for i in range(8)]
    files += [
        saved(image(24), "JPEG", progressive=True, quality=90),
        saved(image(25, "L"), "JPEG", quality=95),
        saved(image(26, "CMYK"), "JPEG", quality=95),
        saved(image(27).quantize(64), "PNG"),
        saved(image(28, "L"), "PNG"),
        saved(image(29, "RGBA"), "PNG"),
        cv2.imencode(".png", photo(30)[..., ::-1].astype(np.uint16) * 257)[1].tobytes(),
        saved(image(31), "WEBP", quality=90),
        saved(image(32, "RGBA"), "WEBP", lossless=True),
        *(
            saved(image(i), "WEBP", save_all=True, append_images=[Image.fromarray(255 - photo(i))], lossless=True)
            for i in (33, 34)
        ),
        saved(image(35), "BMP"),
        saved(image(36, "RGBA"), "BMP"),
        saved(image(37, "L"), "BMP"),
        saved(image(38).quantize(16), "BMP"),
        saved(image(39).quantize(64), "GIF"),
        saved(image(40, "L"), "GIF"),
        saved(image(41).quantize(64), "GIF", transparency=5),
        *(
            saved(
                image(i).quantize(64),
                "GIF",
                save_all=True,
                append_images=[Image.fromarray(255 - photo(i)).quantize(64)],
            )
            for i in (42, 43, 44)
        ),
    ]
    return files


def test_large_jpegs_are_seen_reduced_as_in_training(loaded, exact, tmp_path):
    files = [saved(Image.fromarray(blobs(900, *size)[0]), "JPEG") for size in ((384, 520), (640, 480), (131, 128))]
    answers = loaded("serving_default", files)
    for content, mask, divisor in zip(files, answers["mask_bytes"], (4, 4, 1), strict=True):
        (tmp_path / "photo").write_bytes(content)
        seen = read_photo(tmp_path / "photo", BINARY.view)
        assert seen.pixels.shape[0] == seen.size[0] / divisor
        picture, box = fit_photo(*seen, BINARY.view)
        logits = exact.model.predict_on_batch(picture[None].astype(np.float32))[0]
        expected = decide(restore(logits, seen.size, box), BINARY.threshold) * 255
        assert 0.02 < (expected > 0).mean() < 0.9
        assert changed(pixels_of(mask), expected) <= 1e-3
    cuts = loaded("cutout", files)
    for content, cut in zip(files, cuts["cutout_bytes"], strict=True):
        np.testing.assert_array_equal(pixels_of(cut)[..., :3], upright(content))


def five_ways_to_be_broken(photo):
    claims = b"IHDR" + struct.pack(">II", 60_000, 60_000) + b"\x08\x02\0\0\0"
    huge = png(photo(45))[:8] + struct.pack(">I", 13) + claims + struct.pack(">I", zlib.crc32(claims))
    whole, damaged = saved(Image.fromarray(photo(46)), "JPEG"), bytearray(png(photo(47)))
    damaged[len(damaged) // 2] ^= 0xFF
    return {
        b"": (Status.EMPTY, b"the picture is empty: 0 bytes"),
        bytes(range(256)) * 40: (Status.NOT_A_PICTURE, b"no picture in a known format"),
        whole[: len(whole) // 2]: (Status.CORRUPT, b"the JPEG picture of"),
        huge + bytes(100): (Status.TOO_LARGE, b"claims 60000 x 60000 pixels"),
        bytes(damaged): (Status.CORRUPT, b"the PNG picture of"),
    }


def test_fifty_photos_of_every_format_and_size_five_of_them_broken(loaded, exact):
    def photo(index):
        return blobs(800 + index, 60 + 7 * index, 371 - 6 * index)[0]

    good, broken = every_format(photo), five_ways_to_be_broken(photo)
    batch = list(good)
    for place_, content in enumerate(broken):
        batch.insert(11 * place_, content)
    assert len(batch) == len(set(batch)) == 50
    answers = loaded("serving_default", batch)
    sizes, with_people = set(), 0
    for index, content in enumerate(batch):
        status, message = answers["status"][index], answers["message_bytes"][index]
        if content in broken:
            wanted, words = broken[content]
            assert status == wanted, message
            assert words in message
            assert answers["mask_bytes"][index] == b""
            continue
        assert status == Status.OK, message
        assert message == b""
        picture = upright(content)
        sizes.add(picture.shape[:2])
        mask = pixels_of(answers["mask_bytes"][index])
        assert changed(mask, expected_mask(exact.model, BINARY, picture)) <= 1e-3, index
        with_people += 0.02 < (mask > 0).mean() < 0.9
    assert len(sizes) == 45
    assert with_people > 35  # what is grey shows none


def test_two_classes_with_a_logit_each_are_ids_and_no_cutout():
    contract = Contract(("background", "person"), (64, 64), several=True)
    model = trained(**SMALL, num_classes=2)
    signatures = ServedNetwork(as_constants(model), contract).signatures()
    assert signatures.keys() == {"serving_default", "probabilities", "probabilities_uint8"}
    picture, _ = blobs(3, 70, 90)
    answer = signatures["serving_default"](image_bytes=tf.constant([png(picture)]))
    mask = pixels_of(answer["mask_bytes"].numpy()[0])
    assert mask.max() == 1
    assert (mask != expected_mask(model, contract, picture)).mean() <= 1e-3
    pixels = tf.constant(picture[None, :64, :64], tf.float32)
    assert signatures["probabilities"](pixels=pixels)["probabilities"].shape[-1] == 2


def test_one_logit_tells_two_classes_apart_and_no_more():
    with pytest.raises(ExportError, match="3 classes, and only one logit"):
        Contract(("ground", "red", "blue"), (64, 64))
