"""The in-graph photo decoder against Pillow: the same pixels for good files, a status for every other."""

import io
import json
import random
import resource
import struct
import subprocess
import sys
import warnings
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from kseg.data.images import read_photo
from kseg.data.samples import View
from kseg.serving.photo.decode import decode_photo
from kseg.serving.photo.header import Kind, Status, read_header

MAX_PIXELS = 50_000_000
ORIENTATIONS = range(1, 9)


def decoder(view=None):
    content = tf.TensorSpec([], tf.string)
    return tf.function(lambda content: decode_photo(content, MAX_PIXELS, view), input_signature=[content])


decode = decoder()
VIEWS = (View((32, 64)), View((64, 64), "pad"), View((160, 96)))
decode_for = {view: decoder(view) for view in VIEWS}
header = tf.function(read_header, input_signature=[tf.TensorSpec([], tf.string)])


def exif_block(orientation, order="<", *, tag=0x0112, kind=3, count=1, offset=8):
    value = struct.pack(order + ("H2x" if kind == 3 else "I"), orientation)
    entry = struct.pack(order + "HHI", tag, kind, count) + value
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "IH", offset, 1) + entry + bytes(4)


def noise(height, width, channels=3, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return values[..., 0] if channels == 1 else values


def photo_like(height, width, channels=3):
    small = noise(max(1, height // 4), max(1, width // 4), 4 if channels == 2 else channels)
    if channels == 2:
        small = small[..., :2]
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return smooth.reshape(height, width) if channels == 1 else smooth.reshape(height, width, channels)


def saved(image, file_format, exif=None, **options):
    buffer = io.BytesIO()
    if exif is not None:
        options["exif"] = b"Exif\0\0" + exif
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_16(height, width, exif=None, channels=3):
    values = np.random.default_rng(1).integers(0, 65536, (height, width, channels), np.uint16)
    content = cv2.imencode(".png", values)[1].tobytes()
    return content[:33] + (chunk(b"eXIf", exif) if exif else b"") + content[33:]


def adam7(height, width, exif=None):
    pixels = noise(height, width)
    lines = b""
    for top, left, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        part = pixels[top::down, left::right]
        if part.size:
            lines += b"".join(b"\0" + row.tobytes() for row in part)
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)),
        chunk(b"IDAT", zlib.compress(lines)),
    ]
    if exif:
        parts.append(chunk(b"eXIf", exif))  # behind the pixels, where it may stand too
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def palette_image(height, width):
    return Image.fromarray(noise(height, width)).quantize(16)


def transparent_palette(height, width, exif=None):
    return saved(palette_image(height, width), "PNG", exif, transparency=3)


def animated(height, width, exif=None, channels=4, **options):
    frames = [Image.fromarray(noise(height, width, channels, seed)) for seed in range(3)]
    return saved(frames[0], "WEBP", exif, save_all=True, append_images=frames[1:], **options)


def mode_saved(mode, file_format, **options):
    channels = {"1": 1, "L": 1, "LA": 2, "CMYK": 4, "RGBA": 4}.get(mode, 3)

    def build(height, width, exif=None):
        pixels = (
            photo_like(height, width, channels) if options.get("quality") else noise(height, width, max(channels, 1))
        )
        image = Image.fromarray(pixels, "CMYK") if mode == "CMYK" else Image.fromarray(pixels)
        return saved(image.convert(mode), file_format, exif, **options)

    return build


LOSSLESS = {
    "png rgb": mode_saved("RGB", "PNG"),
    "png rgba": mode_saved("RGBA", "PNG"),
    "png grey": mode_saved("L", "PNG"),
    "png grey alpha": mode_saved("LA", "PNG"),
    "png 1 bit": mode_saved("1", "PNG"),
    "png palette": lambda h, w, exif=None: saved(palette_image(h, w), "PNG", exif),
    "png palette transparent": transparent_palette,
    "png 16 bit rgb": png_16,
    "png 16 bit grey": lambda h, w, exif=None: png_16(h, w, exif, channels=1),
    "png interlaced": adam7,
    "webp lossless": mode_saved("RGB", "WEBP", lossless=True),
    "webp lossless rgba": mode_saved("RGBA", "WEBP", lossless=True, exact=True),
    "webp lossy": mode_saved("RGB", "WEBP", quality=80),
    "webp lossy rgba": mode_saved("RGBA", "WEBP", quality=80),
    "webp animated": animated,
    "webp animated opaque": lambda h, w, exif=None: animated(h, w, exif, channels=3, lossless=True),
}
JPEG = {
    "jpeg": mode_saved("RGB", "JPEG", quality=90),
    "jpeg 4:4:4": mode_saved("RGB", "JPEG", quality=90, subsampling=0),
    "jpeg 4:2:2": mode_saved("RGB", "JPEG", quality=90, subsampling=1),
    "jpeg progressive": mode_saved("RGB", "JPEG", quality=90, progressive=True),
    "jpeg restarts": mode_saved("RGB", "JPEG", quality=90, restart_marker_blocks=1),
    "jpeg grey": mode_saved("L", "JPEG", quality=90),
    "jpeg cmyk": mode_saved("CMYK", "JPEG", quality=90),
}
UNTURNED = {
    "gif": lambda h, w: saved(palette_image(h, w), "GIF"),
    "gif grey": lambda h, w: saved(Image.fromarray(noise(h, w, 1)), "GIF"),
    "gif transparent": lambda h, w: saved(palette_image(h, w), "GIF", transparency=2),
    "gif animated": lambda h, w: saved(
        palette_image(h, w),
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(noise(h, w, 3, 5))],
        loop=0,
        comment=b"x" * 700,
    ),
    "bmp": mode_saved("RGB", "BMP"),
    "bmp 32 bit": mode_saved("RGBA", "BMP"),
    "bmp grey": mode_saved("L", "BMP"),
    "bmp 1 bit": mode_saved("1", "BMP"),
    "bmp palette": lambda h, w: saved(palette_image(h, w), "BMP"),
    "bmp trailing bytes": lambda h, w: saved(Image.fromarray(noise(h, w)), "BMP") + b"\0\0\0",
}
FORMATS = LOSSLESS | JPEG | UNTURNED
SMALL = {name: build(6, 9) for name, build in FORMATS.items()}


def by_pillow(content):
    """What the training side reads; None where Pillow cannot."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
            warnings.simplefilter("ignore")
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):
                return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except Exception:  # Pillow raises many kinds on damage
        return None


def largest_difference(content):
    photo = decode(content)
    assert photo.status == Status.OK, photo.message.numpy()
    assert photo.message == b""
    expected = by_pillow(content)
    assert photo.pixels.shape == expected.shape
    return int(np.abs(photo.pixels.numpy().astype(int) - expected).max())


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("order", "<>")
def test_every_orientation_of_a_format_whose_decoder_is_exact(name, order):
    for orientation in ORIENTATIONS:
        assert largest_difference(LOSSLESS[name](9, 14, exif_block(orientation, order))) == 0, orientation


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", [*JPEG, "png rgb", "webp lossless", "bmp"])
def test_what_a_view_needs_is_what_training_reads(name, view, tmp_path):
    reduced = 0
    for number, sides in enumerate([(64, 128), (127, 255), (321, 641), (512, 300), (300, 1024), (640, 480), (20, 30)]):
        orientation = 1 + 5 * number % 8
        content = FORMATS[name](*sides, *([] if name in UNTURNED else [exif_block(orientation)]))
        (tmp_path / "photo").write_bytes(content)
        expected, photo = read_photo(tmp_path / "photo", view), decode_for[view](content)
        assert photo.status == Status.OK
        assert tuple(photo.size.numpy()) == expected.size
        tolerance = {"jpeg cmyk": 1}.get(name, 0)
        np.testing.assert_allclose(photo.pixels.numpy().astype(int), expected.pixels, atol=tolerance)
        reduced += photo.pixels.shape[0] < expected.size[0] / 1.9
    assert (reduced > 1) == (name in JPEG)


@pytest.mark.parametrize("content", [b"", b"no picture", JPEG["jpeg"](300, 400)[:900], SMALL["png rgb"][:40]])
def test_for_a_view_too_what_cannot_be_read_has_no_pixels_and_no_size(content):
    photo = decode_for[VIEWS[0]](content)
    assert photo.status != Status.OK
    assert photo.pixels.shape == (0, 0, 3)
    assert photo.size.numpy().tolist() == [0, 0]


@pytest.mark.parametrize("name", JPEG)
def test_every_orientation_of_jpeg(name):
    for orientation in ORIENTATIONS:
        content = JPEG[name](33, 46, exif_block(orientation, "<>"[orientation % 2]))
        assert largest_difference(content) <= (1 if name == "jpeg cmyk" else 0), orientation


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (17, 3), (64, 65)])
def test_sizes(name, size):
    content = FORMATS[name](*size)
    assert largest_difference(content) <= (1 if name == "jpeg cmyk" else 0)
    claims = header(content)
    assert (int(claims.height), int(claims.width)) == size
    assert claims.orientation == 1
    assert claims.status == Status.OK


def test_formats_by_their_bytes():
    for name, content in SMALL.items():
        assert header(content).kind == Kind[name.split()[0].upper()], name
    assert header(b"II*\0" + bytes(60)).kind == Kind.NONE


def test_jpeg_behind_large_segments_fill_bytes_and_rubbish():
    plain = JPEG["jpeg progressive"](40, 50, None)
    large = (b"\xff\xe2\xff\xff" + b"\xff\xc0" * 32766 + b"\0") * 20
    exif = exif_block(6, ">")
    app1 = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
    for filling in (b"", b"\xff" * 200, b"\0" * 200, b"\xff" * 62, b"\xff" * 63, b"\xff" * 64):
        content = plain[:2] + large + filling + app1 + filling + plain[2:]
        assert largest_difference(content) == 0
        assert header(content).orientation == 6
    assert header(plain[:2] + b"\xff\x01" + app1 + plain[2:]).orientation == 6  # TEM has no length


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        exif_block(6)[:12],
        exif_block(6)[:20],
        exif_block(6, offset=2**32 - 1),
        exif_block(6, offset=1000),
        exif_block(0),
        exif_block(9),
        exif_block(6, tag=0x0113),
        exif_block(6, count=2),
        exif_block(6, kind=7),
        b"II\0*" + exif_block(6)[4:],
        b"XX" + exif_block(6)[2:],
    ],
)
def test_exif_that_is_nonsense_leaves_the_picture_as_it_is(block):
    for content in (
        JPEG["jpeg"](8, 12, block),
        LOSSLESS["png rgb"](8, 12)[:33] + chunk(b"eXIf", block) + LOSSLESS["png rgb"](8, 12)[33:],
    ):
        photo = decode(content)
        assert photo.status == Status.OK
        assert photo.pixels.shape == (8, 12, 3)


def test_exif_of_other_shapes():
    for block in (exif_block(6, kind=4), exif_block(6, ">", kind=4), b"Exif\0\0" + exif_block(6)):
        assert header(LOSSLESS["webp lossless"](8, 12, block)).orientation == 6
    padded = exif_block(6, offset=30)[:8] + bytes(22) + exif_block(6)[8:]
    assert largest_difference(JPEG["jpeg"](8, 12, padded)) == 0
    assert header(JPEG["jpeg"](8, 12, padded)).orientation == 6


def test_first_frame_of_a_gif_smaller_than_its_screen_or_beyond_it():
    content = SMALL["gif"]
    at = content.index(b",", 13 + 3 * 16)
    for left, top, screen in ((2, 3, (20, 15)), (0, 0, (12, 9)), (5, 1, (9, 6)), (0, 0, (1, 1))):
        moved = (
            content[:6]
            + struct.pack("<HH", *screen)
            + content[10 : at + 1]
            + struct.pack("<HH", left, top)
            + content[at + 5 :]
        )
        assert largest_difference(moved) == 0
        for source in ("gif transparent", "gif animated"):
            other = SMALL[source]
            assert largest_difference(other[:6] + struct.pack("<HH", *screen) + other[10:]) == 0


def bmp(bits, compression, body, masks=b"", *, header_size=40, height=2, width=3):
    start = 14 + header_size + len(masks)
    core = struct.pack("<HHHH", width, abs(height), 1, bits)
    info = struct.pack("<iiHHIIiiII", width, height, 1, bits, compression, len(body), 0, 0, 0, 0)
    dib = struct.pack("<I", header_size) + (core if header_size == 12 else info)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + dib + masks + body


def test_rarer_bmp():
    body = noise(1, 16, 1).tobytes()
    masks_565 = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    assert largest_difference(bmp(16, 0, body)) == 0
    assert largest_difference(bmp(16, 3, body, masks_565)) == 0
    assert largest_difference(bmp(16, 0, body, height=-2)) == 0
    assert (
        largest_difference(bmp(32, 3, noise(1, 24, 1).tobytes(), struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00)))
        == 0
    )
    assert largest_difference(bmp(24, 0, noise(1, 24, 1).tobytes(), header_size=12)) == 0
    for bits in (1, 4, 8):
        palette = noise(1, 4 * 2**bits, 1).tobytes()
        content = bmp(bits, 0, noise(1, 8, 1, 3).tobytes(), palette)
        assert largest_difference(content) == 0
    assert decode(bmp(16, 3, body, struct.pack("<III", 0xF00, 0xF0, 0xF))).status == Status.CORRUPT


def claims(name, width, height):
    content = bytearray(SMALL[name])
    if name == "webp animated":
        content[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif name == "gif":
        content[6:10] = struct.pack("<HH", width, height)
    elif name == "bmp":
        content[18:26] = struct.pack("<ii", width, height)
    elif name == "png rgb":
        content[16:24] = struct.pack(">II", width, height)
    else:
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("name", ["jpeg", "png rgb", "gif", "bmp", "webp animated"])
def test_a_claim_beyond_the_limit_is_refused_before_anything_is_allocated(name):
    decode(SMALL[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    photo = decode(claims(name, 60000, 60000))
    assert photo.status == Status.TOO_LARGE
    assert photo.message == b"the picture claims 60000 x 60000 pixels; at most 50000000 are accepted"
    assert photo.pixels.shape == (0, 0, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # kB
    if name not in ("webp animated", "gif"):  # the one stores sides less one, the other's frame enlarges its screen
        photo = decode(claims(name, 0, 5))
        assert photo.status == Status.TOO_LARGE
        assert photo.message == b"the picture claims 0 x 5 pixels; each side must have at least 1"


def test_the_largest_claims():
    assert decode(claims("png rgb", 2**32 - 1, 2**32 - 1)).status == Status.TOO_LARGE
    assert decode(claims("bmp", 2**31 - 1, -(2**31))).status == Status.TOO_LARGE
    frame = SMALL["gif"].index(b",", 13 + 3 * 16)
    large = SMALL["gif"][: frame + 5] + struct.pack("<HH", 60000, 60000) + SMALL["gif"][frame + 9 :]
    assert decode(large).status == Status.TOO_LARGE  # the screen is small, the frame is not
    assert decode(claims("jpeg", 7000, 7000)).status == Status.CORRUPT  # allowed, but not there


def test_a_jpeg_cut_short_but_properly_ended_is_padded_by_libjpeg_for_pillow_too():
    content = JPEG["jpeg"](40, 50)[:-300] + b"\xff\xd9"
    assert by_pillow(content) is not None
    assert largest_difference(content) <= 1


def test_what_is_no_picture():
    assert decode(b"").status == Status.EMPTY
    assert decode(b"").message == b"the picture is empty: 0 bytes"
    for content in (b"\xff", b"G", b"BM"[:1], b"hello", bytes(1000), b"RIFF\0\0\0\0WAVE", b"GIF88a" + bytes(90)):
        photo = decode(content)
        assert photo.status == Status.NOT_A_PICTURE
        assert photo.message.numpy().startswith(b"the %d bytes are no picture in a known format" % len(content))


def test_endless_segments():
    photo = decode(b"\xff\xd8" + b"\xff\xe0\0\2" * 200_000)
    assert photo.status == Status.CORRUPT
    assert photo.message.numpy().startswith(b"the JPEG picture of 800002 bytes is truncated, broken or")
    assert decode(b"\xff\xd8" + b"\xff" * 1_000_000).status == Status.CORRUPT
    gif = SMALL["gif"][: SMALL["gif"].index(b",", 13 + 3 * 16)]
    assert decode(gif + b"!\xfe\1x\0" * 100_000).status == Status.CORRUPT
    assert decode(gif + b"!\xfe" + b"\1x\2xx" * 100_000).status == Status.CORRUPT
    one = b"!\xfe" + b"\1x\2xx" * 1000 + b"\0"
    assert decode(gif + one * 100).status == Status.CORRUPT  # each run is short enough, all together are not
    png = SMALL["png rgb"]
    assert decode(png[:33] + chunk(b"teSt", b"") * 20_000 + png[33:]).status == Status.OK


@pytest.mark.parametrize("name", SMALL)
def test_every_truncation(name):
    content = SMALL[name]
    for length in range(len(content)):
        photo = decode(content[:length])
        if photo.status == Status.OK:
            expected = by_pillow(content[:length])
            assert expected is not None, length
            np.testing.assert_allclose(photo.pixels, expected, atol=1)


@pytest.mark.parametrize("name", SMALL)
def test_random_damage_never_raises(name):
    dice = random.Random(name)
    for _ in range(300):
        content = bytearray(SMALL[name])
        for _ in range(dice.choice((1, 1, 2, 5))):
            at = dice.randrange(min(len(content), dice.choice((40, 10_000))))
            content[at] = dice.choice((0, 1, 255, dice.randrange(256), content[at] ^ (1 << dice.randrange(8))))
        photo = decode(bytes(content))
        assert (photo.status == Status.OK) == (photo.message == b"") == (photo.pixels.shape[0] > 0)


SERVED = """
import json, sys
import tensorflow as tf
folder, batch = sys.argv[1], [bytes.fromhex(line) for line in sys.stdin.read().split("\\n")]
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    model = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
    signature = model.signature_def["serving_default"]
    names = {key: value.name for key, value in signature.outputs.items()}
    answers = session.run(names, {signature.inputs["image_bytes"].name: batch})
print(json.dumps({key: value.tolist() for key, value in answers.items() if key != "message_bytes"}))
"""


class Served(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes):
        def one(content):
            photo = decode_photo(content, MAX_PIXELS)
            values = tf.cast(tf.reshape(photo.pixels, [-1]), tf.int64)
            checksum = tf.reduce_sum(values * (tf.range(tf.size(values), dtype=tf.int64) % 8191 + 1))
            return {
                "status": photo.status,
                "size": tf.shape(photo.pixels)[:2],
                "checksum": checksum,
                "message_bytes": photo.message,
            }

        outputs = {
            "status": tf.TensorSpec([], tf.int32),
            "size": tf.TensorSpec([2], tf.int32),
            "checksum": tf.TensorSpec([], tf.int64),
            "message_bytes": tf.TensorSpec([], tf.string),
        }
        return tf.map_fn(one, image_bytes, fn_output_signature=outputs)


def test_a_saved_model_in_a_process_that_knows_only_tensorflow(tmp_path):
    module = Served()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    good = [*SMALL.values(), *(JPEG["jpeg"](33, 46, exif_block(o)) for o in ORIENTATIONS)]
    bad = [b"", b"x", claims("png rgb", 60000, 60000), SMALL["jpeg"][:-30], SMALL["webp lossy"][:-3], SMALL["gif"][:-9]]
    refused = [Status.EMPTY, Status.NOT_A_PICTURE, Status.TOO_LARGE, *[Status.CORRUPT] * 3]
    batch, expected = [], []
    for i, content in enumerate(good):
        batch += [content, bad[i % len(bad)]]
        expected += [Status.OK, refused[i % len(bad)]]
    lines = "\n".join(content.hex() for content in batch)
    command = [sys.executable, "-c", SERVED, str(tmp_path)]
    answer = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    there = json.loads(answer.stdout.splitlines()[-1])
    assert there["status"] == expected
    here = module.serve(tf.constant(batch))
    assert {key: here[key].numpy().tolist() for key in there} == there
    for content, size, checksum in zip(batch, there["size"], there["checksum"], strict=True):
        pixels = by_pillow(content) if checksum else np.zeros((0, 0, 3), np.uint8)
        assert size == [*pixels.shape[:2]]
        if checksum and content[:2] != b"\xff\xd8":
            weights = np.arange(pixels.size, dtype=np.int64) % 8191 + 1
            assert checksum == int((pixels.ravel().astype(np.int64) * weights).sum())
