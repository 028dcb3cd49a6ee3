"""Does an exported network stand up to strangers? A minute of load, one picture in five broken or hostile.

    python benchmarks/serving_soak.py [--version DIR] [--seconds 60] [--warm-up 20] [--threads 4] [--bound 0.05]

One process loads the version as TensorFlow Serving does, several threads ask it without rest. Every good picture's
answer is compared with what the version says of that picture alone; every broken one must have its status. Printed are
requests, pictures per second, and the resident memory of the first and the last sixth of the time. The exit status is
1 after a wrong answer or where memory grew by more than the bound. Without --version, a small random network is
exported first, as kseg-export does it.
"""

import argparse
import io
import multiprocessing
import random
import statistics
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from kseg.data.synthetic import draw_scene
from kseg.serving.photo.header import Status

SIZES = (64, 64), (240, 320), (333, 500), (480, 360), (600, 800), (1080, 1440)
FORMATS = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "WEBP": {"quality": 90},
    "BMP": {},
    "GIF": {},
}
CHANGED = 1e-3
"""The share of a mask's pixels that may differ: the order of a sum depends on how many photos are judged together."""


class Picture(NamedTuple):
    """A file's bytes, and the status it must get; None: any, as long as it gets one."""

    content: bytes
    status: int | None


def good_pictures() -> list[Picture]:
    """Scenes of several sizes in every format, and what looks odd but must be answered all the same."""
    pictures = []
    for index, (file_format, options) in enumerate((f, o) for f, o in FORMATS.items() for _ in range(2)):
        scene = Image.fromarray(draw_scene(11, index, *SIZES[index % len(SIZES)])[0])
        exif = Image.Exif()
        exif[0x0112] = 1 + index % 8
        turned = {"exif": exif} if file_format in ("JPEG", "PNG", "WEBP") else {}
        pictures.append(_saved(scene, file_format, **options, **turned))
    scenes = [Image.fromarray(draw_scene(12, index, 200, 300)[0]) for index in range(3)]
    for file_format in ("WEBP", "GIF"):
        pictures.append(_saved(scenes[0], file_format, save_all=True, append_images=scenes[1:]))
    plain = _saved(scenes[1], "PNG")
    pictures.append(plain[:33] + _chunk(b"teSt", b"") * 20_000 + plain[33:])
    pictures.append(_saved(Image.new("L", (3000, 2000)), "PNG"))  # 6 megapixels in 6 kB
    return [Picture(content, int(Status.OK)) for content in pictures]


def hostile_pictures(good: list[Picture]) -> list[Picture]:
    """What must get a status: nothing, junk, truncations, monstrous claims, endless chunks."""
    scene = Image.fromarray(draw_scene(13, 0, 64, 64)[0])
    jpeg, png, gif, bmp = (_saved(scene, name) for name in ("JPEG", "PNG", "GIF", "BMP"))
    webp = _saved(scene, "WEBP", save_all=True, append_images=[Image.new("RGB", scene.size)])
    frame = jpeg.index(b"\xff\xc0") + 5
    side = struct.pack("<HH", 60_000, 60_000)
    claims = [
        png[:16] + struct.pack(">II", 60_000, 60_000) + png[24:],
        jpeg[:frame] + side[1::-1] + side[1::-1] + jpeg[frame + 4 :],
        gif[:6] + side + gif[10:],
        bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:],
        webp[:24] + (59_999).to_bytes(3, "little") * 2 + webp[30:],
    ]
    first = gif.index(b",", 13 + 3 * 2 ** (1 + gif[10] % 8))
    corrupt = [
        b"\xff\xd8" + b"\xff\xe0\0\2" * 200_000,
        b"\xff\xd8" + b"\xff" * 1_000_000,
        gif[:first] + b"!\xfe\1x\0" * 100_000,
        gif[:first] + b"!\xfe" + b"\1x\2xx" * 100_000,
        *(picture.content[: len(picture.content) // 2] for picture in good),
    ]
    junk = [np.random.default_rng(i).integers(0, 256, 1000 * 4**i, np.uint8).tobytes() for i in range(6)]
    return [
        Picture(b"", int(Status.EMPTY)),
        *(Picture(content, int(Status.TOO_LARGE)) for content in claims),
        *(Picture(content, int(Status.CORRUPT)) for content in corrupt),
        *(Picture(b"no picture" + content, int(Status.NOT_A_PICTURE)) for content in junk),
    ]


def damaged(picture: Picture, dice: random.Random) -> Picture:
    """A good picture with some bytes changed: it may still be one."""
    content = bytearray(picture.content)
    for _ in range(dice.choice((1, 2, 10))):
        content[dice.randrange(min(len(content), dice.choice((40, 10_000))))] = dice.randrange(256)
    return Picture(bytes(content), None)


class Version:
    """A version in the Session loader; any number of threads may ask at once."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(folder))
        signature = loaded.signature_def["serving_default"]
        self._input = signature.inputs["image_bytes"].name
        self._outputs = {name: signature.outputs[name].name for name in ("mask_bytes", "status", "message_bytes")}

    def masks(self, contents: list[bytes]) -> dict[str, Any]:
        """What ``serving_default`` answers."""
        return self._session.run(self._outputs, {self._input: contents})


class Load:
    """The threads that ask, and what came of it."""

    def __init__(self, version: Version, threads: int) -> None:
        self.version = version
        self.good = good_pictures()
        self.hostile = hostile_pictures(self.good)
        self.expected = [version.masks([picture.content])["mask_bytes"][0] for picture in self.good]
        self.requests, self.pictures, self.bad = 0, 0, 0
        self.wrong: list[str] = []
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        """Batches of 1 to 8 until the end, every fifth picture broken or hostile."""
        dice, asked = random.Random(seed), seed
        while not self._ended.is_set():
            batch: list[tuple[Picture, bytes | None]] = []
            for _ in range(dice.randint(1, 8)):
                asked += 1
                batch.append(self._next(dice, hostile=asked % 5 == 0))
            try:
                problems = list(self._problems(batch))
            except Exception as error:  # whatever it is, the request has failed
                problems = [f"{type(error).__name__}: {error}"]
            with self._lock:
                self.requests += 1
                self.pictures += len(batch)
                self.bad += sum(mask is None for _, mask in batch)
                self.wrong += problems

    def _next(self, dice: random.Random, *, hostile: bool) -> tuple[Picture, bytes | None]:
        """A picture and its mask; no mask where there is none, or none known."""
        index = dice.randrange(len(self.good))
        if not hostile:
            return self.good[index], self.expected[index]
        return (damaged(self.good[index], dice) if dice.random() < 0.3 else dice.choice(self.hostile)), None

    def _problems(self, batch: list[tuple[Picture, bytes | None]]) -> Iterator[str]:
        answers = self.version.masks([picture.content for picture, _ in batch])
        for (picture, expected), mask, status, message in zip(batch, *_columns(answers), strict=True):
            if picture.status not in (None, status):
                yield f"status {status} and not {picture.status} ({message!r}) for {picture.content[:20]!r}..."
            elif (status == Status.OK) != bool(mask) or (status == Status.OK) == bool(message):
                yield f"status {status} with a mask of {len(mask)} bytes and the message {message!r}"
            elif expected is not None and mask != expected and _changed(mask, expected) > CHANGED:
                yield f"another mask than that of the photo alone for {picture.content[:20]!r}..."


def write_version(folder: Path) -> None:
    """Export a small random network."""
    import keras

    from kseg.models.segmenter import build_segmenter
    from kseg.serving.export import export
    from kseg.serving.graph import Contract
    from kseg.serving.verify import Sample

    keras.utils.set_random_seed(0)
    model = build_segmenter(encoder="resnet18", widths=(16, 16, 16, 16, 16))
    head = model.get_layer("head")
    kernel, _ = head.get_weights()
    scene = draw_scene(11, 0, 128, 128)[0]
    logits = model.predict_on_batch(scene[None].astype(np.float32))
    head.set_weights([kernel, -np.median(logits, keepdims=True).reshape(1)])  # both classes occur
    content = cv2.imencode(".png", scene[..., ::-1])[1].tobytes()
    export(folder, model, Contract(("background", "person"), (128, 128)), [Sample(content, scene)])


def soak(load: Load, seconds: float, warm_up: float, bound: float) -> bool:
    """Watch the memory for some seconds, and say whether all was well."""
    with load:
        time.sleep(warm_up)
        began, before = time.monotonic(), (load.requests, load.pictures, load.bad)
        resident = []
        while time.monotonic() < began + seconds:
            time.sleep(0.05)
            resident.append(_resident())
        requests, pictures, bad = (
            now - then for now, then in zip((load.requests, load.pictures, load.bad), before, strict=True)
        )
    part = max(1, len(resident) // 6)
    first, last = statistics.median(resident[:part]), statistics.median(resident[-part:])
    print(f"{seconds:g} s: {requests} requests, {pictures} pictures ({pictures / seconds:.1f}/s), {bad} of them bad")
    print(
        f"resident memory, median of the first {seconds / 6:g} s {first / 2**20:.0f} MiB, "
        f"of the last {last / 2**20:.0f} MiB: {last / first - 1:+.1%}"
    )
    print(f"{len(load.wrong)} wrong answers", *load.wrong[:10], sep="\n  ")
    return not load.wrong and requests > 0 and last <= first * (1 + bound)


def _columns(answers: dict[str, Any]) -> tuple[Any, ...]:
    return answers["mask_bytes"], answers["status"].tolist(), answers["message_bytes"]


def _changed(mask: bytes, expected: bytes) -> float:
    one, other = (cv2.imdecode(np.frombuffer(m, np.uint8), cv2.IMREAD_UNCHANGED) for m in (mask, expected))
    return float((one != other).mean()) if one is not None and one.shape == other.shape else 1.0


def _saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", type=Path, help="a published version, such as models/people/1")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=20, help="seconds of load before the clock starts")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--bound", type=float, default=0.05, help="growth of memory that is accepted")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.version or Path(scratch) / "1"
        if chosen.version is None:
            # in a process of its own, so that this one is no larger than a server's
            writing = multiprocessing.get_context("spawn").Process(target=write_version, args=(folder,))
            writing.start()
            writing.join()
        load = Load(Version(folder), chosen.threads)
        sys.exit(0 if soak(load, chosen.seconds, chosen.warm_up, chosen.bound) else 1)


if __name__ == "__main__":
    main()
