"""kseg-predict as its users meet it: files, messages, exit statuses; a served model on loopback."""

import shlex
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from fake_serving import Grpc, Rest, expected_mask
from support import PREDICT

from kseg.cli.predict import main
from kseg.inference.outputs import FORMATS, KINDS
from kseg.inference.segmentation import Segmentation


@pytest.fixture
def server(fake):
    rest = Rest(fake)
    yield f"http://127.0.0.1:{rest.server_port}/people"
    rest.shutdown()
    rest.server_close()


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="kseg-predict")


def photo(path, seed=0, height=20, width=30):
    """Write a photo; its pixels (H, W, 3), RGB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())  # whatever it is called
    return pixels


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def written(tmp_path, folder="out"):
    return sorted(path.name for path in (tmp_path / folder).iterdir())


def test_the_examples_parse():
    examples = [line.strip() for line in main.epilog.splitlines() if line.strip().startswith("kseg-predict ")]
    assert len(examples) >= 4
    for example in examples:
        words = shlex.split(example.split("<")[0])[1:]  # the rest is the shell's
        assert main.make_context("kseg-predict", words).params["inputs"]


def test_the_choices_are_all_that_can_be_written():
    """They are declared twice: whoever asks for help does not wait for what writes them."""
    choices = {option.name: tuple(option.type.choices) for option in main.params if hasattr(option.type, "choices")}
    assert (choices["kinds"], choices["file_format"]) == (KINDS, FORMATS)


def test_a_server_is_asked_without_tensorflow(tmp_path, server):
    photo(tmp_path / "a.jpg")
    script = (
        "import sys\nfrom kseg.cli.predict import main\n"
        f"try: main(['{server}', 'a.jpg', '--out', 'out', '--output', 'cutout'], prog_name='kseg-predict')\n"
        "finally: print({'tensorflow', 'keras'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1 of 1 segmented; results are in out\nset()\n"


def test_masks_of_a_folder_and_a_file(tmp_path, server):
    photos = {name: photo(tmp_path / "in" / name, seed) for seed, name in enumerate(["a.jpg", "b.PNG", "c.webp"])}
    photos["d.png"] = photo(tmp_path / "d.png", 9)
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    result = run(server, "in", "d.png", "--out", "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == "4 of 4 segmented; results are in out\n"
    assert written(tmp_path) == ["a_mask.png", "b_mask.png", "c_mask.png", "d_mask.png"]
    for name, pixels in photos.items():
        np.testing.assert_array_equal(read(tmp_path / f"out/{name[0]}_mask.png"), expected_mask(pixels))


def test_results_over_grpc_of_a_labelled_version(tmp_path, fake):
    pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api has the official messages")
    grpc = Grpc(fake)
    pixels = photo(tmp_path / "a.jpg")
    address = f"grpc://127.0.0.1:{grpc.port}/people@stable"
    result = run(address, "a.jpg", "--out", "out", "--output", "mask", "--output", "cutout")
    grpc.server.stop(None)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(read("out/a_mask.png"), expected_mask(pixels, version=1))
    cutout = cv2.cvtColor(read("out/a_cutout.png"), cv2.COLOR_BGRA2RGBA)
    np.testing.assert_array_equal(cutout, np.dstack([pixels, expected_mask(pixels, version=1)]))


def test_overlays_backgrounds_and_cleaning_of_a_servers_answers(tmp_path, server):
    pixels = photo(tmp_path / "a.jpg")
    options = ("--output", "overlay", "--background", "#0a141e", "--output", "mask", "--fill-holes", "1")
    assert run(server, "a.jpg", "--out", "out", *options).exit_code == 0
    assert written(tmp_path) == ["a_background.png", "a_mask.png", "a_overlay.png"]
    mask, raw = read("out/a_mask.png") // 255, expected_mask(pixels) // 255
    assert mask.sum() > raw.sum()
    assert (mask >= raw).all()
    overlay = Segmentation(pixels, mask, None, ("background", "person")).overlay()
    np.testing.assert_array_equal(read("out/a_overlay.png")[..., ::-1], overlay)
    before = np.where(mask[..., None] > 0, pixels, (10, 20, 30))
    np.testing.assert_array_equal(read("out/a_background.png")[..., ::-1], before)


@pytest.mark.parametrize(("model", "classes"), [("street", 3), ("pair", 2)])
def test_several_classes_are_written_as_their_ids(tmp_path, server, model, classes):
    pixels = photo(tmp_path / "a.jpg")
    assert run(server.replace("people", model), "a.jpg", "--out", "out").exit_code == 0
    np.testing.assert_array_equal(read("out/a_mask.png"), pixels[..., :classes].argmax(axis=-1))


def test_equal_stems_do_not_overwrite_one_another(tmp_path, server):
    names = ["a/x.jpg", "b/x.jpg", "b/x.png", "b/x-2.jpg"]
    photos = [photo(tmp_path / name, seed) for seed, name in enumerate(names)]
    result = run(server, *names, "--out", "out")
    assert result.exit_code == 0, result.output
    for stem, pixels in zip(["x", "x-2", "x-3", "x-2-2"], photos, strict=True):
        np.testing.assert_array_equal(read(f"out/{stem}_mask.png"), expected_mask(pixels))
    assert "b/x.jpg: as x-2, since x is another's" in result.stdout
    assert "a/x.jpg:" not in result.stdout


def test_a_photo_that_is_called_like_a_mask_is_not_overwritten(tmp_path, server):
    pixels, other = photo(tmp_path / "x.jpg", 1), photo(tmp_path / "x_mask.png", 2)
    before = (tmp_path / "x_mask.png").read_bytes()
    result = run(server, "x.jpg", "x_mask.png", "--out", ".", "--overwrite")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "x_mask.png").read_bytes() == before
    np.testing.assert_array_equal(read("x-2_mask.png"), expected_mask(pixels))
    np.testing.assert_array_equal(read("x_mask_mask.png"), expected_mask(other))


def test_results_beside_the_photos_are_no_photos_the_next_time(tmp_path, server):
    photo(tmp_path / "in" / "x.jpg")
    for kinds in (("--output", "mask", "--output", "cutout"), ("--output", "overlay"), ()):
        assert "1 of 1" in run(server, "in", "in/*", "--out", "in", *kinds).stdout
    assert written(tmp_path, "in") == ["x.jpg", "x_cutout.png", "x_mask.png", "x_overlay.png"]


def test_a_photo_named_twice_is_sent_once(tmp_path, server, fake):
    photo(tmp_path / "in" / "x.jpg")
    assert "1 of 1" in run(server, "in", "in/x.jpg", "in/../in/x.jpg", "--out", "out").stdout
    assert written(tmp_path) == ["x_mask.png"]
    assert sum(rows for *_, rows in fake.seen) == 1


def test_what_is_there_already_is_not_asked_for_again(tmp_path, server, fake):
    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / name)
    assert run(server, "a.jpg", "--out", "out").exit_code == 0
    result = run(server, "a.jpg", "b.jpg", "--out", "out")
    assert "2 of 2 segmented (1 were there already; --overwrite makes them anew)" in result.stdout
    assert sum(rows for *_, rows in fake.seen) == 2
    assert run(server, "a.jpg", "b.jpg", "--out", "out", "--overwrite").exit_code == 0
    assert sum(rows for *_, rows in fake.seen) == 4


def test_bad_photos_stop_no_others_and_are_listed(tmp_path, server, fake):
    for seed, name in enumerate(["a.jpg", "c.jpg", "e.jpg"]):
        photo(tmp_path / name, seed)
    (tmp_path / "b.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    names = ["a.jpg", "b.jpg", "c.jpg", "gone.jpg", "empty.jpg", "e.jpg"]
    result = run(server, *names, "--out", "out", "--batch-size", "2", "--output", "mask", "--output", "cutout")
    assert result.exit_code == 3
    assert result.stdout == "3 of 6 segmented; results are in out\n"
    assert result.stderr.endswith(
        "3 failed:\n  b.jpg: not a picture — é\n  gone.jpg: No such file or directory\n  empty.jpg: not a picture — é\n"
    )
    assert written(tmp_path) == [f"{name}_{kind}.png" for name in "ace" for kind in ("cutout", "mask")]
    assert max(rows for *_, rows in fake.seen) == 2


def test_a_photo_that_cannot_be_cut_out_has_no_files(tmp_path, server, fake):
    photo(tmp_path / "a.jpg")
    fake.tamper = lambda outputs: outputs if "mask_bytes" in outputs else {**outputs, "status": np.array([9], np.int32)}
    result = run(server, "a.jpg", "--out", "out", "--output", "mask", "--output", "cutout")
    assert result.exit_code == 3
    assert "0 of 1 segmented" in result.stdout
    assert "a.jpg: the server gave it status 9, without a reason" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_not_there(tmp_path):
    photo(tmp_path / "a.jpg")
    result = run("http://127.0.0.1:1/people", "a.jpg", "--out", "out")
    assert result.exit_code == 1
    assert "kseg-predict: http://127.0.0.1:1/people: no connection: " in result.stderr
    assert "is the server running" in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_server_that_goes_leaves_the_masks_made_before(tmp_path, server, fake):
    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / name)
    fake.faults = [None, "INTERNAL"]
    result = run(server, "a.jpg", "b.jpg", "--out", "out", "--batch-size", "1")
    assert result.exit_code == 1
    assert "the server answered 500" in result.stderr
    assert written(tmp_path) == ["a_mask.png"]


def test_a_slow_server_is_waited_for_as_long_as_was_said(tmp_path, server, fake):
    photo(tmp_path / "a.jpg")
    fake.faults = ["slow"]
    result = run(server, "a.jpg", "--out", "out", "--timeout", "0.3")
    assert result.exit_code == 1
    assert "no whole answer within 0.3 s" in result.stderr


@pytest.mark.parametrize("kind", ["cutout", "background"])
def test_a_server_of_several_classes_has_no_cut_outs(kind, tmp_path, server):
    photo(tmp_path / "a.jpg")
    result = run(server.replace("people", "street"), "a.jpg", "--out", "out", "--output", "mask", "--output", kind)
    assert result.exit_code == 1
    assert "cut-outs only for one class" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to(tmp_path, server):
    photo(tmp_path / "a.jpg")
    (tmp_path / "file").write_text("")
    result = run(server, "a.jpg", "--out", "file/out")
    assert result.exit_code == 1
    assert "file/out/a_mask.png: cannot be written" in result.stderr
    assert "Traceback" not in result.output


def test_a_film_is_nothing_for_a_server(tmp_path, server):
    photo(tmp_path / "a.jpg")
    (tmp_path / "film.mp4").touch()
    result = run(server, "a.jpg", "film.mp4", "--out", "out")
    assert result.exit_code == 3
    assert "film.mp4: a server takes photos only; name a run or an export for films" in result.stderr
    assert written(tmp_path) == ["a_mask.png"]


def test_standard_input_to_standard_output_of_a_server(server, tmp_path):
    pixels = photo(tmp_path / "a.png")
    words = [server, "-", "--out", "-"]
    result = CliRunner().invoke(main, words, prog_name="kseg-predict", input=(tmp_path / "a.png").read_bytes())
    assert result.exit_code == 0, result.stderr
    found = cv2.imdecode(np.frombuffer(result.stdout_bytes, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, expected_mask(pixels))
    result = CliRunner().invoke(main, words, prog_name="kseg-predict", input=b"no picture")
    assert result.exit_code == 1
    assert result.stdout_bytes == b""
    assert result.stderr == "kseg-predict: standard input: not a picture — é\n"


URL = "http://h/people"


@pytest.mark.parametrize(
    ("arguments", "status", "seen"),
    [
        ([URL, "empty", "--out", "out"], 1, "empty: no photos or films in this folder"),
        ([URL, "*.tif", "--out", "out"], 1, "*.tif: no file matches this pattern"),
        (["ftp://h/people", "a.jpg", "--out", "out"], 1, "grpc://HOST:8500/MODEL"),
        ([URL, "a.jpg", "--out", "out", "--output", "probabilities"], 1, "for probabilities name a run"),
        ([URL, "a.jpg", "--out", "out", "--flip"], 1, "--flip: a server's model is as it was exported"),
        ([URL, "a.jpg", "--out", "out", "--threshold", "0.4"], 1, "--threshold: a server's model"),
        ([URL, "a.jpg", "--out", "out", "--resolution", "full"], 1, "--resolution: a server's model"),
        ([URL, "a.jpg", "--out", "out", "--format", "jpg"], 1, "jpg would change the values of a mask; use png, webp"),
        ([URL, "a.jpg"], 2, "--out"),
        ([URL, "--out", "out"], 2, "INPUT"),
        ([URL, "a.jpg", "--out", "out", "--timeout", "0"], 2, "--timeout"),
        ([URL, "a.jpg", "--out", "out", "--batch-size", "0"], 2, "--batch-size"),
        ([URL, "a.jpg", "--out", "out", "--threshold", "1"], 2, "--threshold"),
        ([URL, "a.jpg", "--out", "out", "--resolution", "31"], 2, "31: use trained, full, or the longer side"),
        ([URL, "a.jpg", "--out", "out", "--background", "beach.jpg"], 2, "beach.jpg: no picture, and no colour"),
        ([URL, "a.jpg", "--out", "out", "--background", "1,2,256"], 2, "1,2,256: no picture, and no colour"),
        ([URL, "a.jpg", "--out", "out", "--background", "notes.jpg"], 1, "notes.jpg: not a picture"),
        ([URL, "-", "--out", "out"], 2, "kseg-predict MODEL - --out -"),
        ([URL, "a.jpg", "--out", "-"], 2, "kseg-predict MODEL - --out -"),
        ([URL, "-", "--out", "-", "--output", "mask", "--output", "overlay"], 2, "kseg-predict MODEL - --out -"),
    ],
)
def test_what_cannot_be_meant_is_told(arguments, status, seen, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.jpg").write_text("no picture")
    photo(tmp_path / "a.jpg")
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert seen in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_ctrl_c_says_how_far_it_came(tmp_path, server, fake):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photo(tmp_path / name)
    fake.faults = [None, "slow"]
    command = [*PREDICT, server, "a.jpg", "b.jpg", "c.jpg", "--out", "out", "--batch-size", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while fake.faults:
            time.sleep(0.05)
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:  # Python drops what is raised in a destructor; one presses the keys again
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted after 1 of 3 photos; what is done is in out; call again to go on" in errors
    assert "Traceback" not in errors
    assert written(tmp_path) == ["a_mask.png"]
