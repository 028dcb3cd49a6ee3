"""Apache Beam prepares and predicts the same bytes as the plain path: DirectRunner, and a job server on loopback."""

import importlib.util
import pickle
import shutil
import socket
import subprocess
import time

import pytest
from beam_python import Shell, install
from click.testing import CliRunner
from support import make_photos

from kseg.cli.data import main as data
from kseg.config import load_settings
from kseg.data.tfds.prepare import Chunks
from kseg.errors import DataError

PHOTOS = 300
"""More than a file of the staging folder holds, and than a worker gets at once."""

DAMAGED = {5: b"", 100: b"no picture", 290: b"\x89PNG\r\n\x1a\n cut off"}

PREPARE = "kseg-data prepare small.toml --data photos"
TWO = "--beam-option direct_num_workers=2 --beam-option direct_running_mode=multi_processing"
"""Real processes, which share nothing with the one that starts them."""


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    home = tmp_path_factory.mktemp("beam") / "environment"
    yield install(home)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory, trained_run):
    """Photos, some of them damaged, and a run."""
    home = tmp_path_factory.mktemp("spread")
    photos = make_photos(home / "photos", PHOTOS, 24, 20)
    for index, content in DAMAGED.items():
        (photos / "images" / f"p{index:03}.jpg").write_bytes(content)
    (photos / "masks" / "p270.png").write_bytes(b"no mask")
    (home / "small.toml").write_text('data.image_size = [32, 32]\ndata.on_bad_sample = "skip"\n')
    (home / "run").symlink_to(trained_run)
    return home


@pytest.fixture(scope="module")
def shell(python, home, tmp_path_factory):
    shell = Shell(python, home, tmp_path_factory.mktemp("shell") / "log")
    yield shell
    shell.close()


@pytest.fixture
def job_server(python, tmp_path):
    """The address of Beam's own job server, which is asked as those of Flink and Spark are."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "apache_beam.runners.portability.local_job_service_main", "--port", str(port)]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        address = ("127.0.0.1", port)
        for _ in range(300):
            with socket.socket() as trial:
                if trial.connect_ex(address) == 0:
                    break
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield f"localhost:{port}"
        process.terminate()


def contents(folder):
    """Everything in a folder, hidden files as well."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def of(said, folder):
    """What a command said, whatever its results' folder is called."""
    return said._replace(stdout=said.stdout.replace(folder, "OUT"), stderr=said.stderr.replace(folder, "OUT"))


def test_prepared_sets_are_the_same_to_the_byte(shell, home, job_server):
    ways = {
        "plain": "",
        "within": "--beam-runner",
        "processes": f"--beam-runner directrunner {TWO}",
        "server": f"--beam-runner PortableRunner --beam-option job_endpoint={job_server} "
        "--beam-option environment_type=LOOPBACK",
    }
    said = shell.run(*(f"{PREPARE} --to {name} {options}" for name, options in ways.items()))
    plain, expected = said[0], contents(home / "plain")
    assert plain.status == 0, plain.stderr
    assert plain.stdout.startswith("plain: 267 samples train, 29 validate, 4 were skipped\n")
    assert sum(map(len, expected.values())) > 296 * 32 * 32 * 3
    for name, one in zip(ways, said, strict=True):
        assert of(one, name) == of(plain, "plain")
        assert contents(home / name) == expected
    assert not list(home.glob(".*"))


def test_predicted_files_are_the_same_to_the_byte(shell, home):
    ways = {"plain": "", "within": "--beam-runner DirectRunner", "processes": f"--beam-runner direct {TWO}"}
    kinds = "--output mask --output probabilities --batch-size 3"
    photos = "photos/images/p[01]*.jpg"
    commands = [f"kseg-predict run {photos} --out {name}-out {kinds} {ways[name]}" for name in ways]
    said = shell.run(*commands)
    plain, expected = said[0], contents(home / "plain-out")
    assert plain.status == 3, plain.stderr
    assert plain.stdout == "198 of 200 segmented; results are in plain-out\n"
    assert plain.stderr.count("\n") == 3
    assert len(expected) == 2 * 198
    assert len(set(expected.values())) > 198  # photos are told apart
    for name, one in zip(ways, said, strict=True):
        assert of(one, name) == of(plain, "plain")
        assert contents(home / f"{name}-out") == expected


def test_what_is_done_is_not_done_again(shell, home):
    """A staging folder that was left because of damaged photos, here in the second of its files; photos' results."""
    (home / "strict.toml").write_text("data.image_size = [32, 32]\n")
    shutil.copytree(home / "photos", home / "mended")
    for index in (5, 100):
        shutil.copy(home / "mended/images/p000.jpg", home / f"mended/images/p{index:03}.jpg")
    strict = "kseg-data prepare strict.toml --data mended --to strict"
    photos = "photos/images/p00[0-9].jpg"
    plain, within = shell.run(strict, f"{strict} --beam-runner")
    assert (plain.status, plain.stderr) == (within.status, within.stderr)
    assert plain.status == 1
    assert "p270.png" in plain.stderr
    assert "p290.jpg" in plain.stderr
    assert [path.name for path in (home / ".strict.partial").glob("chunk-*")] == ["chunk-00000"]
    (home / "mended/images/p001.jpg").write_bytes(b"is in that file already, and not read again")
    shutil.copy(home / "mended/masks/p000.png", home / "mended/masks/p270.png")
    shutil.copy(home / "mended/images/p000.jpg", home / "mended/images/p290.jpg")
    done, _, predicted = shell.run(
        f"{strict} --beam-runner",
        f"kseg-predict run {photos} --out again",
        f"kseg-predict run {photos} photos/images/p010.jpg camera:0 --out again --beam-runner",
    )
    assert done.status == 0, done.stderr
    assert done.stdout.startswith("strict: 270 samples train, 30 validate, 0 were skipped\n")
    assert predicted.status == 3
    assert predicted.stdout == (
        "10 of 12 segmented (9 were there already; --overwrite makes them anew); results are in again\n"
    )
    assert "  camera:0: Beam takes photos only; call again without --beam-runner for films\n" in predicted.stderr


def test_what_is_wrong_gets_one_message(shell, home):
    (home / "file").write_text("")
    (home / "blocked" / "p000_mask.png").mkdir(parents=True)
    predict = "kseg-predict run photos/images/p000.jpg --overwrite --out"
    wrong = {
        f"{PREPARE} --to set --beam-runner NoRunner": "--beam-runner NoRunner: Unexpected pipeline runner: NoRunner.",
        f"{PREPARE} --to set --beam-runner DataflowRunner": "--beam-runner DataflowRunner: ",
        f"{PREPARE} --to set --beam-runner direct --beam-option direct_num_worker=2": (
            "--beam-option direct_num_worker: direct has no such option (did you mean direct_num_workers?)"
        ),
        f"{predict} out --beam-runner direct --beam-option direct_num_workers=two": (
            "--beam-option: argument --direct_num_workers: invalid int value: 'two'"
        ),
        f"{predict} file/out --beam-runner": "file/out: cannot be written: Not a directory",
        # what only a worker finds
        f"{predict} blocked --beam-runner": "blocked/p000_mask.png: cannot be written: Is a directory",
    }
    for command, said in zip(wrong, shell.run(*wrong), strict=True):
        assert said.status == 1, (command, said)
        assert said.stderr.partition(": ")[2].startswith(wrong[command])
        assert said.stderr.count("\n") == 1, said.stderr
    assert not (home / "out").exists()


def test_a_worker_that_sees_other_pictures_stops(photos, tmp_path):
    (tmp_path / "small.toml").write_text("")
    settings = load_settings(tmp_path / "small.toml", roots=[photos])
    work = pickle.loads(pickle.dumps(Chunks(settings, tmp_path / "set", "unknown", "another digest")))
    with pytest.raises(DataError, match="photos: 12 samples, others than where the command was called"), work.open():
        pass


def test_without_beam_the_message_says_how_to_get_it(config, photos, tmp_path):
    run = CliRunner().invoke(data, ["prepare", str(config()), "--to", str(tmp_path / "set"), "--beam-option", "x=1"])
    assert run.exit_code == 1
    assert "--beam-option x=1: belongs to --beam-runner, which is not given" in run.stderr
    if importlib.util.find_spec("apache_beam"):
        pytest.skip("Apache Beam is installed")
    run = CliRunner().invoke(data, ["prepare", str(config()), "--to", str(tmp_path / "set"), "--beam-runner"])
    assert run.exit_code == 1
    assert "needs Apache Beam (No module named 'apache_beam'); pip install 'kseg[beam]'" in run.stderr
    assert not (tmp_path / "set").exists()
