"""kseg-predict killed half way through a folder of 500 photos, twenty of them broken, and called again."""

import io
import os
import re
import signal
import struct
import subprocess
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from support import PREDICT

from kseg.data.synthetic import draw_scene

PHOTOS = 500
SCENES = [draw_scene(5, index, 100, 100)[0] for index in range(12)]
FOLDERS = ("", "holidays 2019", "日本/京都", "Ünïcödé/über alles/снимки")


def encoded(index, ending, height=None, width=None):
    """The content of a photo: some part of a scene, 30 to 48 pixels high and 40 to 64 wide."""
    top, left = index % 50, index % 35
    height, width = height or 30 + index % 19, width or 40 + index % 25
    content = io.BytesIO()
    part = SCENES[index % len(SCENES)][top : top + height, left : left + width]
    Image.fromarray(part).save(content, Image.registered_extensions()[ending])
    return content.getvalue()


def claiming(height, width):
    """The beginning of a PNG of this size, which is in order so far (ISO/IEC 15948, 11.2.2)."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">2I", zlib.crc32(header), 900) + b"IDAT"


def broken(index, ending):
    """The content of a bad photo, and what is to be said of it."""
    whole = encoded(index, ending)
    junk = np.random.default_rng(index).bytes(900)
    return [
        (b"", r"the file is empty"),
        (junk, r"not a picture"),
        (whole[: len(whole) // 2], r"cannot be decoded \("),
        (b"<html>404 Not Found</html>", r"not a picture"),
        (claiming(60_000, 60_000), r"claims 3,600,000,000 pixels; the limit is 175,000,000"),
        (encoded(index, ending, 1, 1), r"only 1 x 1 pixels"),
    ][index // 25 % 6]


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """The photos' folder, and name -> reason of the broken ones."""
    root, reasons = tmp_path_factory.mktemp("killed") / "my photos", {}
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(PHOTOS):
        ending = (".jpg", ".png")[index % 2]
        path = root / FOLDERS[index % 3 + index % 2] / f"фото {index:03}{ending}"
        content = encoded(index, ending)
        if index % 25 == 7:
            content, reasons[str(path.relative_to(root.parent))] = broken(index, ending)
        path.write_bytes(content)
    return root, reasons


def finished(out):
    """The files in ``out`` that somebody would take for results."""
    return {path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")}


def decoded(path):
    """All pixels of a file, which a half one does not give."""
    with Image.open(path) as image:
        return np.asarray(image)


def test_half_way_killed_and_resumed_all_results_are_right(trained_run, predictor, album):
    root, reasons = album
    assert len(reasons) == 20
    out = root.parent / "masks"
    command = [*PREDICT, trained_run, root.name, "--out", out.name, "--precision", "float32", "--output", "mask"]
    log = root.parent / "log"
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=root.parent, stdout=said, stderr=said)
        while len(finished(out)) < PHOTOS // 2 - 20:
            assert process.poll() is None, log.read_text()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    half = {path: path.stat().st_ino for path in finished(out)}
    assert PHOTOS // 3 < len(half) < PHOTOS * 2 // 3
    for path in half:
        decoded(path)
    left = set(out.rglob(".*"))
    # who is killed cannot tidy up: each thread may leave one hidden file, which nothing takes for a photo
    assert len(left) <= (os.cpu_count() or 1)
    assert all(re.match(r"\.[0-9a-f]{8}-фото ", path.name) for path in left)

    done = subprocess.run(command, cwd=root.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout == (
        f"480 of 500 segmented ({len(half)} were there already; --overwrite makes them anew); results are in masks\n"
    )
    assert "Traceback" not in done.stderr
    _, _, listed = done.stderr.partition("20 failed:\n")
    found = dict(re.fullmatch(r"  (.*?\.(?:jpg|png)): (.*)", line).groups() for line in listed.splitlines())
    assert found.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert re.match(reason, found[name]), (name, found[name])
    assert {path: path.stat().st_ino for path in half} == half

    photos = [path for path in root.rglob("*.*") if str(path.relative_to(root.parent)) not in reasons]
    results = {out / path.relative_to(root).with_name(f"{path.stem}_mask.png"): path for path in photos}
    assert len(results) == 480
    assert finished(out) == results.keys()
    shares = []
    for result, photo in results.items():
        expected = predictor.predict(photo, soft=False).mask
        mask = decoded(result)
        assert mask.shape == expected.shape
        assert (mask != expected * 255).sum() <= 2, result  # batches of other sizes are summed in another order
        shares.append(expected.mean())
    assert np.std(shares) > 0.02  # they are not all the same
