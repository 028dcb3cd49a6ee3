import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from kseg.errors import ExportError
from kseg.files import write_text
from kseg.serving.labels import label_export, labels_in_use, read_labels, set_labels
from kseg.serving.versions import origin_of, prune, publish, rollback, versions

FILES = {"saved_model.pb": 200_000, **{f"variables/part-{index:02}": 100_000 for index in range(24)}}
"""A model of 2.6 MB; what makes a version of a folder is written first, so that its being there says nothing."""

PREPARE = f"""
import os, pathlib, random, signal, sys, time
from kseg.serving.labels import label_export, set_labels
from kseg.serving.versions import prune, publish, rollback
model_dir = pathlib.Path(sys.argv[1])
FILES = {FILES!r}
def write(folder):
    (folder / "variables").mkdir()
    for name, size in FILES.items():
        (folder / name).write_bytes(b"x" * size)
"""


@pytest.fixture
def model_dir(tmp_path):
    return tmp_path / "models" / "people"


def write(folder):
    (folder / "variables").mkdir()
    for name, size in FILES.items():
        (folder / name).write_bytes(b"x" * size)


def small(folder):
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "model_card.json").write_text("{}")


def publish_small(model_dir, count=1):
    return [publish(model_dir, small) for _ in range(count)][-1]


def start(script, model_dir):
    """A process that goes on from ``PREPARE``; it is told things on its input and says things on its output."""
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE + script, model_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def end(process, said=""):
    out, _ = process.communicate(said, timeout=60)
    assert process.returncode == 0
    return out


def hidden(model_dir):
    return sorted(path.name for path in model_dir.iterdir() if path.name.startswith((".new", ".old")))


def visible(model_dir):
    return sorted(path.name for path in model_dir.iterdir() if not path.name.startswith("."))


class Poller(threading.Thread):
    """Does what Serving does, without rest: lists the folder, takes integers for versions, and reads them."""

    def __init__(self, model_dir):
        super().__init__()
        self.model_dir, self.ended = model_dir, threading.Event()
        self.seen, self.incomplete = set(), []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()

    def run(self):
        while not self.ended.is_set():
            for name in os.listdir(self.model_dir) if self.model_dir.exists() else ():
                if re.fullmatch(r"-?\d+", name):
                    self.check(name)

    def check(self, name):
        path = self.model_dir / name
        try:
            now = path.stat().st_ino
            sizes = {file: (path / file).stat().st_size for file in FILES if (path / file).exists()}
            if sizes != FILES and path.stat().st_ino == now:  # it still bears its number: it was not just removed
                self.incomplete.append((name, sizes))
            self.seen.add(name)
        except FileNotFoundError:
            pass


def test_versions_are_numbered_and_whole(model_dir):
    for number in (1, 2):
        assert publish(model_dir, write) == model_dir / str(number)
    assert versions(model_dir) == [1, 2]
    assert visible(model_dir) == ["1", "2"]
    assert hidden(model_dir) == []
    written = [path for path in (model_dir / "2").rglob("*") if path.is_file()]
    assert {str(path.relative_to(model_dir / "2")): path.stat().st_size for path in written} == FILES
    assert versions(model_dir / "nothing") == []


def test_a_version_can_be_read_by_whoever_the_umask_lets(model_dir):
    before = os.umask(0o022)
    try:
        assert publish_small(model_dir).stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(before)


def test_the_next_number_is_above_every_other(model_dir):
    publish_small(model_dir)
    (model_dir / "1").rename(model_dir / "1700000000")
    assert publish_small(model_dir).name == "1700000001"
    (model_dir / "99999999999999999999").touch()  # no number to Serving: more than 64 bits
    assert publish_small(model_dir).name == "1700000002"


def test_an_export_that_fails_publishes_nothing(model_dir):
    def fail(folder):
        small(folder)
        raise RuntimeError("drifts")

    with pytest.raises(RuntimeError, match="drifts"):
        publish(model_dir, fail)
    with pytest.raises(ExportError, match=r"people: nothing was published, since the export made no saved_model\.pb"):
        publish(model_dir, lambda folder: None)
    assert visible(model_dir) == hidden(model_dir) == []
    assert publish_small(model_dir).name == "1"


def test_a_poller_never_sees_half_a_version_whenever_the_export_is_killed(model_dir):
    """Exports, removals and rollbacks, one after the other, until the process is killed at a random moment."""
    moments = random.Random(4)
    cut_off = 0
    script = (
        "print('ready', flush=True)\n"
        "while True:\n"
        "    publish(model_dir, write)\n"
        "    prune(model_dir, 2)\n"
        "    rollback(model_dir)\n"
        "    print('round', flush=True)\n"
    )
    publish(model_dir, write)
    seconds = 0.05
    with Poller(model_dir) as poller:
        for _ in range(20):
            process = start(script, model_dir)
            assert process.stdout.readline() == "ready\n"
            for _ in range(moments.randrange(3)):  # rounds, not seconds: a disk's speed changes from second to second
                began = time.monotonic()
                assert process.stdout.readline() == "round\n"
                seconds = time.monotonic() - began
            time.sleep(moments.uniform(0, seconds))
            process.kill()
            process.communicate()
            cut_off += bool(hidden(model_dir))
    assert poller.incomplete == []
    assert len(poller.seen) > 5
    assert cut_off > 5, "the kills came between exports only"
    publish(model_dir, write)
    assert hidden(model_dir) == []


def test_every_file_is_on_the_disk_before_the_version_has_its_number(model_dir, tmp_path):
    """What the system was asked for, in its order."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "log"
    watch = ["strace", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", str(log)]
    done = subprocess.run(
        [*watch, sys.executable, "-c", PREPARE + "publish(model_dir, write)", model_dir],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"processes cannot be watched here: {done.stderr.decode().strip()[-200:]}")
    calls = [line for line in log.read_text().splitlines() if str(model_dir) in line]
    renamed = next(index for index, line in enumerate(calls) if line.startswith("rename"))
    synced = [re.search(r"<(.*?)>", line)[1] for line in calls if line.startswith("fsync")]
    inside = [re.search(r"/version(?:/(.*))?$", path) for path in synced]
    assert {match[1] for match in inside if match} == {*FILES, "variables", None}
    assert all(line.startswith("fsync") for line in calls[:renamed])
    assert [re.search(r"<(.*?)>", line)[1] for line in calls[renamed + 1 :]] == [str(model_dir)]


def test_removing_shows_no_half_version(model_dir):
    script = "publish(model_dir, write)\nfor _ in range(15):\n    publish(model_dir, write)\n    prune(model_dir, 1)\n"
    with Poller(model_dir) as poller:
        end(start(script, model_dir))
    assert poller.incomplete == []
    assert len(poller.seen) > 5
    assert versions(model_dir) == [16]


def test_exports_at_the_same_time_get_a_number_each(model_dir):
    script = "input()\nfor _ in range(5): print(publish(model_dir, write).name)\n"
    processes = [start(script, model_dir) for _ in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    numbers = [number for process in processes for number in end(process).split()]
    assert sorted(map(int, numbers)) == list(range(1, 21))
    assert versions(model_dir) == list(range(1, 21))
    assert hidden(model_dir) == []


def test_the_folder_of_an_export_at_work_is_left_alone_and_that_of_a_killed_one_is_not(model_dir):
    script = "publish(model_dir, lambda folder: (write(folder), print('at work', flush=True), input()))\n"
    alive, killed = start(script, model_dir), start(script, model_dir)
    for process in (alive, killed):
        assert process.stdout.readline() == "at work\n"
    killed.kill()
    killed.communicate()
    assert len(hidden(model_dir)) == 2
    assert publish_small(model_dir).name == "1"
    assert len(hidden(model_dir)) == 1
    end(alive, "\n")
    assert versions(model_dir) == [1, 2]
    assert {name: (model_dir / "2" / name).stat().st_size for name in FILES} == FILES
    assert hidden(model_dir) == []


def test_what_a_killed_removal_left_goes_with_the_next_export(model_dir):
    publish_small(model_dir)
    (model_dir / "1").rename(model_dir / ".old-0a1b2c3d")
    (model_dir / ".new-0a1b2c3d").mkdir()  # killed before it could lock it
    publish_small(model_dir)
    assert hidden(model_dir) == []


def test_a_target_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "people").touch()
    with pytest.raises(ExportError, match=r"people: is a file; name a folder"):
        publish_small(tmp_path / "people")
    with pytest.raises(ExportError, match=r"people/sub: Not a directory; choose a folder"):
        publish_small(tmp_path / "people" / "sub")


@pytest.mark.parametrize("name", ["7", " 7", "+7", "-1", "007"])
def test_a_file_with_an_integer_for_a_name_is_refused(model_dir, name):
    publish_small(model_dir)
    (model_dir / name).touch()
    with pytest.raises(ExportError, match=f"/{re.escape(name)}: a file whose name is an integer keeps TensorFlow"):
        publish_small(model_dir)
    assert visible(model_dir) == sorted(["1", name])


def test_a_version_without_its_graph_is_refused(model_dir):
    publish_small(model_dir)
    (model_dir / "2" / "variables").mkdir(parents=True)
    with pytest.raises(ExportError, match=r"people/2: holds no saved_model.pb.*if somebody is copying it, wait.*rm -r"):
        publish_small(model_dir)
    assert versions(model_dir) == [1]


def test_a_number_written_otherwise_is_refused(model_dir):
    publish_small(model_dir)
    (model_dir / "1").rename(model_dir / "001")
    with pytest.raises(ExportError, match="001: TensorFlow Serving takes it for version 1; rename it"):
        publish_small(model_dir)


def test_a_name_no_model_can_have_is_refused(tmp_path):
    with pytest.raises(
        ExportError, match=r"1: 1 is the name of a version; name the folder of the model, such as .*people"
    ):
        publish_small(tmp_path / "people" / "1")
    with pytest.raises(ExportError, match=r"'my people' cannot be a model's name"):
        publish_small(tmp_path / "my people")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_to_is_said():
    with tempfile.TemporaryDirectory() as outside:  # pytest's own folders cannot be entered without root's rights
        os.chmod(outside, 0o555)
        with unprivileged(), pytest.raises(ExportError, match=r"Permission denied; choose a folder you may write to"):
            publish_small(Path(outside, "people"))
        os.chmod(outside, 0o755)
        publish_small(Path(outside, "people"))
        os.chmod(Path(outside, "people"), 0o555)
        with unprivileged(), pytest.raises(ExportError, match=r"people: Permission denied; choose a folder you may"):
            publish_small(Path(outside, "people"))
        assert versions(Path(outside, "people")) == [1]


@contextlib.contextmanager
def unprivileged():
    """Root may write anywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def disk(tmp_path):
    """A real, small file system."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_is_said_and_leaves_what_was_there(disk):
    def card(folder):
        small(folder)
        write_text(folder / "card", "x" * 4_000_000)

    def tensorflow(folder):
        small(folder)
        raise RuntimeError(f"{folder}/variables.data; No space left on device")  # ResourceExhaustedError's text

    model_dir = disk / "people"
    publish_small(model_dir)
    for full in (lambda folder: (write(folder), write(folder / "again")), card, tensorflow):
        with pytest.raises(ExportError, match=r"people: No space left on device; free some space there; what was"):
            publish(model_dir, lambda folder, full=full: ((folder / "again").mkdir(), full(folder)))
        assert visible(model_dir) == ["1"]
        assert hidden(model_dir) == []
    assert publish(model_dir, write).name == "2"
    with pytest.raises(ExportError, match="No space left on device"):
        publish(model_dir, write)
    assert versions(model_dir) == [1, 2]


def test_a_file_missing_elsewhere_is_named(model_dir, tmp_path):
    with pytest.raises(ExportError, match=r"/photo\.jpg: No such file or directory; check the path"):
        publish(model_dir, lambda folder: (tmp_path / "photo.jpg").read_bytes())


def test_the_newest_and_the_labelled_stay(model_dir):
    publish_small(model_dir, 8)
    label_export(model_dir, 1)
    set_labels(model_dir, ["canary"], 3)
    set_labels(model_dir, ["canary"], 4)
    assert prune(model_dir, 2) == [2, 5, 6]
    assert versions(model_dir) == [1, 3, 4, 7, 8]  # 3: a server may not have read yet that canary is 4 now
    assert hidden(model_dir) == []
    assert prune(model_dir, 10) == []
    with pytest.raises(ExportError, match="0 versions cannot be kept; keep 1 or more"):
        prune(model_dir, 0)


def test_rollback_repeats_an_earlier_version_by_links(model_dir):
    publish_small(model_dir, 3)
    label_export(model_dir, 1)
    assert rollback(model_dir) == model_dir / "4"
    assert os.path.samefile(model_dir / "4" / "saved_model.pb", model_dir / "2" / "saved_model.pb")
    said = json.loads((model_dir / "4" / "assets.extra" / "republished.json").read_text())
    assert said["version"] == 2
    assert not (model_dir / "2" / "assets.extra" / "republished.json").exists()
    assert read_labels(model_dir) == {"canary": 4, "stable": 4}
    assert rollback(model_dir).name == "5"  # one step further back, not to the bad version 3
    assert origin_of(model_dir, 5) == 1
    with pytest.raises(ExportError, match="there is no version before 1, which is served now; there are 1, 2, 3, 4, 5"):
        rollback(model_dir)
    rollback(model_dir, to=4)
    assert origin_of(model_dir, 6) == 2
    assert json.loads((model_dir / "6" / "assets.extra" / "republished.json").read_text())["version"] == 4
    assert json.loads((model_dir / "4" / "assets.extra" / "republished.json").read_text())["version"] == 2
    assert hidden(model_dir) == []


def test_a_version_rolled_back_to_outlives_the_earlier_one(model_dir):
    publish_small(model_dir, 3)
    path = rollback(model_dir, to=1)
    prune(model_dir, 1)
    assert versions(model_dir) == [4]
    assert (path / "saved_model.pb").read_bytes() == b"graph"


def test_rollback_copies_where_links_end(model_dir, disk):
    """A version whose files are on another file system, as those of a linked-in store are."""
    (disk / "1").mkdir()
    small(disk / "1")
    model_dir.mkdir(parents=True)
    (model_dir / "1").symlink_to(disk / "1")
    path = rollback(model_dir, to=1)
    assert (path / "saved_model.pb").read_bytes() == b"graph"
    assert path.stat().st_dev == model_dir.stat().st_dev != (disk / "1").stat().st_dev


def test_rolling_back_to_what_is_not_there_is_refused(model_dir):
    with pytest.raises(ExportError, match="holds no version to go back to; publish one with kseg-export"):
        rollback(model_dir)
    publish_small(model_dir, 2)
    with pytest.raises(ExportError, match="has no version 7; there are 1, 2"):
        rollback(model_dir, to=7)
    (model_dir / "2" / "assets.extra" / "republished.json").write_text('{"version": 2}')
    with pytest.raises(ExportError, match=r"republished\.json: cannot be read: 2 is no earlier version"):
        rollback(model_dir)


def test_the_first_export_is_stable_and_later_ones_are_canary(model_dir):
    publish_small(model_dir, 4)
    assert read_labels(model_dir) == {}
    assert label_export(model_dir, 1) == {"canary": 1, "stable": 1}
    assert label_export(model_dir, 2) == {"canary": 2, "stable": 1}
    assert label_export(model_dir, 3, also=["stable", "beta-2"]) == {"beta-2": 3, "canary": 3, "stable": 3}
    assert label_export(model_dir, 2) == {"beta-2": 3, "canary": 3, "stable": 3}  # it ended later than export 3
    assert set_labels(model_dir, ["stable"], 4) == read_labels(model_dir) == {"beta-2": 3, "canary": 3, "stable": 4}
    assert labels_in_use(model_dir) == {2, 3, 4}
    assert versions(model_dir) == [1, 2, 3, 4]


def test_labels_need_a_name_and_a_version(model_dir):
    publish_small(model_dir, 2)
    label_export(model_dir, 1)
    for label in ("2", "", "-x", "a b", "ä", "a/b"):
        with pytest.raises(ExportError, match=f"'{label}' cannot be a label"):
            set_labels(model_dir, [label], 1)
        with pytest.raises(ExportError, match=f"'{label}' cannot be a label"):
            label_export(model_dir, 1, also=[label])
    with pytest.raises(ExportError, match="beta cannot name version 3, which is not there; there are 1, 2"):
        set_labels(model_dir, ["beta"], 3)
    assert read_labels(model_dir) == {"canary": 1, "stable": 1}


@pytest.mark.parametrize(
    "content",
    ["{half", "[1]", '{"stable": 1}', '{"stable": {"version": "1"}}', '{"7": {"version": 1}}', b"\xff",
     '{"stable": {"version": true}}', '{"stable": {"version": 1, "befor": 2}}'],
)  # fmt: skip
def test_broken_labels_are_named_before_an_export_begins(model_dir, content):
    publish_small(model_dir)
    (model_dir / "labels.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    for use in (read_labels, publish_small, lambda path: prune(path, 1), lambda path: set_labels(path, ["a"], 1)):
        with pytest.raises(ExportError, match=r"people/labels\.json: cannot be read as labels: .*mend it"):
            use(model_dir)
    assert versions(model_dir) == [1]


def test_a_label_of_a_version_that_went_is_said(model_dir):
    publish_small(model_dir, 2)
    label_export(model_dir, 1)
    (model_dir / "1").rename(model_dir.parent / "elsewhere")
    with pytest.raises(
        ExportError, match=r"labels\.json: canary names version 1, which is not there; there are 2; name"
    ):
        read_labels(model_dir)
    assert set_labels(model_dir, ["stable", "canary"], 2) == read_labels(model_dir)


def test_labels_set_at_the_same_time_are_all_kept(model_dir):
    publish_small(model_dir)
    script = "input()\nfor number in range(20): set_labels(model_dir, [f'L-{os.getpid()}-{number}'], 1)\n"
    processes = [start(script, model_dir) for _ in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        end(process)
    expected = {f"L-{process.pid}-{number}" for process in processes for number in range(20)}
    assert set(read_labels(model_dir)) == expected
