import contextlib
import itertools
import os
import re
import resource
import signal
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from kseg.errors import DataError, KsegError
from kseg.inference.film import ASSUMED_RATE, FilmWriter, Steady, open_camera, open_film

COLOURS = np.array([(200, 40, 30), (30, 180, 60), (40, 60, 210)], np.uint8)
ENDINGS = (".mp4", ".avi", ".webm")
CLOSE = 12
"""Levels a flat colour may be off after an encoder's YUV."""


def frames_of(count, height=48, width=64):
    """Each of one colour, in turns, with a white upper left corner."""
    for index in range(count):
        frame = np.full((height, width, 3), COLOURS[index % 3], np.uint8)
        frame[: height // 4, : width // 4] = 255
        yield frame


def write(path, count=9, fps=25.0, height=48, width=64):
    with FilmWriter(path, fps, (height, width)) as writer:
        for frame in frames_of(count, height, width):
            writer.write(frame)
    return path


def read(path):
    with open_film(path) as film:
        return list(film)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("fps", [25.0, 29.97, 12.5, 1.0])
def test_a_film_comes_back_as_it_was_written(tmp_path, ending, fps):
    path = write(tmp_path / f"film{ending}", fps=fps)
    with open_film(path) as film:
        assert (film.size, film.count) == ((48, 64), 9)
        assert film.fps == pytest.approx(fps, abs=0.001)
        read = list(film)
        assert (film.given, film.shortfall) == (9, "")
    assert len(read) == 9
    for frame, expected in zip(read, frames_of(9), strict=True):
        assert frame.dtype == np.uint8
        for place in ((40, 50), (40, 5), (3, 50), (4, 4)):  # the white corner is up and left
            np.testing.assert_allclose(frame[place].astype(int), expected[place], atol=CLOSE)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [*ENDINGS, ".MP4"])
@pytest.mark.parametrize(("height", "width"), [(47, 63), (48, 63), (47, 64)])
def test_odd_sides_are_continued(tmp_path, ending, height, width):
    frames = read(write(tmp_path / f"film{ending}", height=height, width=width))
    assert len(frames) == 9
    assert frames[0].shape == (48, 64, 3)
    for place in ((-1, -1), (-2, -2), (-1, 0), (24, -1)):
        np.testing.assert_allclose(frames[0][place].astype(int), COLOURS[0], atol=CLOSE)
    np.testing.assert_allclose(frames[0][2, 2].astype(int), 255, atol=CLOSE)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["two words ü", "a:b", "50%d"])
def test_names_that_are_no_addresses(tmp_path, monkeypatch, ending, name):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path.__class__(f"{name}{ending}"))
    assert len(read(path)) == 9


def rotated(path, angle):
    """The same film with a rotation in its header, as telephones write it: the matrix of ISO 14496-12, 8.3.2."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    one = 1 << 16
    assert struct.unpack(">9i", content[start : start + 36]) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    cosine, sine = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[angle]
    content[start : start + 36] = struct.pack(">9i", cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("angle", "size", "white"), [(90, (64, 48), (4, -4)), (180, (48, 64), (-4, -4)), (270, (64, 48), (-4, 4))]
)
def test_a_film_is_turned_upright(tmp_path, angle, size, white):
    path = write(tmp_path / "film.mp4")
    rotated(path, angle)
    with open_film(path) as film:
        assert film.size == size
        frame = next(film)
    assert frame.shape == (*size, 3)
    np.testing.assert_allclose(frame[white].astype(int), 255, atol=CLOSE)
    np.testing.assert_allclose(frame[size[0] // 2, size[1] // 2].astype(int), COLOURS[0], atol=CLOSE)


def test_frames_come_one_by_one_and_once(tmp_path):
    with open_film(write(tmp_path / "film.avi")) as film:
        first = list(itertools.islice(film, 4))
        assert film.given == 4
        assert len(first + list(film)) == 9
        assert list(film) == []
    with open_film(tmp_path / "film.avi") as film:
        film.close()
        assert list(film) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"not a film " * 100, "is no film, or was cut off"),
        ("empty.mp4", b"", "the file is empty"),
        ("missing.mp4", None, "no such file"),
    ],
)
def test_what_is_no_film_is_named(tmp_path, name, content, message, capfd):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        open_film(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)
    assert "WARN" not in capfd.readouterr().err  # OpenCV's own remarks


def test_a_film_without_frames_is_named(tmp_path):
    path = tmp_path / "none.avi"
    encoder = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    encoder.release()
    assert path.stat().st_size > 0
    with pytest.raises(DataError, match=r"none\.avi: a film of which no frame can be read"):
        open_film(path)


def test_a_film_that_ends_early_gives_what_there_is(tmp_path):
    path = write(tmp_path / "film.avi", count=40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with open_film(path) as film:
        frames = list(film)
        assert film.count == 40
        assert 5 < len(frames) < 25
        assert film.shortfall.startswith(f"{path}: ends early: {len(frames)} of 40 frames")
    np.testing.assert_allclose(frames[1][40, 50].astype(int), COLOURS[1], atol=CLOSE)


def test_an_mp4_cut_off_cannot_be_opened(tmp_path):
    path = write(tmp_path / "film.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="was cut off in writing or copying"):
        open_film(path)


def test_a_missing_camera_is_named():
    with pytest.raises(DataError, match="camera 4242: gives no picture"):
        open_camera(4242)


def test_a_picture_is_a_film_of_one_frame_at_an_assumed_rate(tmp_path):
    """Its count is not known: FFmpeg's answer is below zero."""
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), next(frames_of(1))[..., ::-1])
    with open_film(path) as film:
        assert film.count is None
        (frame,) = film
        assert film.shortfall == ""
    np.testing.assert_array_equal(frame, next(frames_of(1)))


@pytest.mark.parametrize(
    ("name", "fps", "size", "message"),
    [
        ("film.gif", 25, (48, 64), r"film\.gif: no format for films .* use \.mp4, \.avi, \.webm"),
        ("film", 25, (48, 64), "no format"),
        ("film.mp4", 0, (48, 64), "0 frames per second"),
        ("film.mp4", float("nan"), (48, 64), "nan frames per second"),
        ("film.mp4", 1e6, (48, 64), "at most 1000"),
        ("film.mp4", 25, (48, 31), "31 x 48 pixels; a film's sides are 32 at least"),
    ],
)
def test_films_that_cannot_be_are_refused_beforehand(tmp_path, name, fps, size, message):
    with pytest.raises(KsegError, match=message):
        FilmWriter(tmp_path / name, fps, size)
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_the_encoder_refuses_is_named(tmp_path):
    """VP8 stores sides in 14 bits, and VP9 in 16."""
    with (
        pytest.raises(KsegError, match=r"film\.webm: this OpenCV has no encoder for it \(tried VP80, VP90\)"),
        FilmWriter(tmp_path / "film.webm", 25, (32, 70_000)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "frame", [np.zeros((48, 66, 3), np.uint8), np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3), np.float32)]
)
def test_a_frame_that_does_not_fit_ends_the_film(tmp_path, frame):
    path = write(tmp_path / "film.mp4", count=3)
    with pytest.raises(KsegError, match=r"film\.mp4: a frame of shape"), FilmWriter(path, 25, (48, 64)) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.write(frame)
    assert list(tmp_path.iterdir()) == [path]
    assert len(read(path)) == 3


def test_a_film_needs_a_frame(tmp_path):
    with pytest.raises(KsegError, match="no frame was given"), FilmWriter(tmp_path / "film.mp4", 25, (48, 64)):
        pass
    assert list(tmp_path.iterdir()) == []


WRITES = """
import pathlib, sys
import numpy as np
from kseg.errors import KsegError
from kseg.inference.film import FilmWriter
noise = np.random.default_rng(0)
try:
    with FilmWriter(pathlib.Path(sys.argv[1]), 25, (48, 64)) as writer:
        for number in range(int(sys.argv[2])):
            writer.write(noise.integers(0, 256, (48, 64, 3), np.uint8))
            if number == 20:
                print("half way", flush=True)
except KsegError as error:
    print(error)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_half_way_it_leaves_the_old_film(tmp_path, how):
    path = write(tmp_path / "film.mp4", count=3)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(path), "1000000000"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"half way\n"
    process.send_signal(how)
    try:
        process.communicate(timeout=60)
    finally:
        process.kill()  # else its film would fill the disk
    assert process.returncode != 0
    assert len(read(path)) == 3
    left = [file.name for file in tmp_path.iterdir() if file != path]
    # nothing can be removed by who is killed, but it is hidden and not taken for a film
    assert len(left) == (how == signal.SIGKILL)
    assert all(re.fullmatch(r"\.[0-9a-f]{8}-film\.mp4", name) for name in left)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_film_the_system_cuts_off_leaves_the_old_one(tmp_path, ending):
    """RLIMIT_FSIZE makes the system refuse bytes in the middle of a file, as a full disk does; OpenCV says nothing."""
    path = write(tmp_path / f"film{ending}", count=3)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(path), "60"], capture_output=True, text=True, preexec_fn=limit, check=True
    )
    assert "cannot be written" in done.stdout
    assert "of 60 frames arrived" in done.stdout
    assert len(read(path)) == 3
    assert list(tmp_path.iterdir()) == [path]


def resident():
    """The process's memory, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_grow_with_the_film(tmp_path):
    """400 frames of 240 x 320 would be 92 MB."""
    path, frame = tmp_path / "film.mp4", np.zeros((240, 320, 3), np.uint8)
    with FilmWriter(path, 25, (240, 320)) as writer:
        writer.write(frame)
        before = resident()
        for _ in range(399):
            writer.write(frame)
        assert resident() - before < 40_000_000
    with open_film(path) as film:
        next(film)
        before = resident()
        assert sum(1 for _ in film) == 399
        assert resident() - before < 40_000_000


GREY = np.full((48, 64, 3), 90, np.uint8)
"""A scene: what counts in it are the probabilities."""


def test_steady_is_the_weighted_mean_of_what_was():
    """0.5 halves the weight of a frame with each that follows: 1/2, 1/4, and the rest to the first."""
    steady = Steady(0.5)
    given = [np.full((2, 2, 1), value, np.float32) for value in (0.8, 0.4, 0.0)]
    answers = [steady(GREY, one) for one in given]
    np.testing.assert_allclose([a[0, 0, 0] for a in answers], [0.8, 0.6, 0.3], rtol=1e-6)
    assert answers[-1].dtype == np.float32
    np.testing.assert_allclose(given[0], 0.8)  # what was given is left alone
    np.testing.assert_allclose(answers[0], 0.8)  # and what was answered, too


def test_flicker_is_reduced():
    """The variance of an average of independent values falls by (1 - s) / (1 + s): to a ninth at 0.8."""
    noise = np.random.default_rng(3)
    steady = Steady(0.8)
    given = noise.uniform(0.3, 0.7, (60, 40, 40, 1)).astype(np.float32)
    steadied = np.stack([steady(GREY, one) for one in given])
    assert steadied[-1].var() == pytest.approx(given[-1].var() / 9, rel=0.15)
    changes = [np.mean((one[1:] > 0.5) != (one[:-1] > 0.5)) for one in (given, steadied)]
    assert changes[1] < 0.5 * changes[0]


@pytest.mark.parametrize(("strength", "frames"), [(0.0, 1), (0.5, 2), (0.8, 4), (0.9, 7)])
def test_the_lag_is_as_stated(strength, frames):
    """Frames until something that comes at once is above even odds: at 0.5, the first is just at them."""
    steady = Steady(strength)
    steady(GREY, np.zeros((1, 1, 1), np.float32))
    seen = [steady(GREY, np.ones((1, 1, 1), np.float32))[0, 0, 0] > 0.5 for _ in range(10)]
    assert seen.index(True) + 1 == frames


def test_a_cut_is_not_smeared_and_a_slow_change_is_no_cut():
    steady = Steady(0.9)
    probabilities = np.zeros((2, 2, 3), np.float32)
    probabilities[..., 0] = 1
    other = probabilities[..., ::-1].copy()
    steady(GREY, probabilities)
    moved = steady(GREY + np.uint8(20), other)
    np.testing.assert_allclose(moved, 0.9 * probabilities + 0.1 * other, rtol=1e-6)
    np.testing.assert_allclose(moved.sum(axis=-1), 1, rtol=1e-6)
    cut = steady(GREY + np.uint8(60), other)
    np.testing.assert_array_equal(cut, other)


def test_another_size_starts_anew():
    steady = Steady(0.9)
    steady(GREY, np.zeros((2, 2, 1), np.float32))
    np.testing.assert_array_equal(steady(GREY, np.ones((3, 2, 1), np.float32)), 1)


@pytest.mark.parametrize("strength", [-0.1, 1, float("nan")])
def test_a_strength_that_cannot_be(strength):
    with pytest.raises(KsegError, match="strength"):
        Steady(strength)


def test_a_rate_that_cannot_be_is_replaced(tmp_path):
    """The rate in an .avi's header is a fraction: its numerator, put to 0, leaves none."""
    path = write(tmp_path / "film.avi")
    content = bytearray(path.read_bytes())
    start = content.index(b"strh") + 8 + 20
    scale, rate = struct.unpack("<2I", content[start : start + 8])
    assert rate / scale == 25
    content[start : start + 8] = struct.pack("<2I", 1, 100_000)
    path.write_bytes(content)
    with contextlib.closing(open_film(path)) as film:
        assert film.fps == ASSUMED_RATE
        assert len(list(film)) == 9
