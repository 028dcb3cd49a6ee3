"""kseg-export killed at random moments, while somebody does what TensorFlow Serving does: nothing half is ever seen.

KSEG_EXPORT_KILLS says how often (default 6).
"""

import contextlib
import os
import queue
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import tensorflow as tf
from served import Loaded
from tensorflow_serving.apis import prediction_log_pb2

from kseg.serving.versions import publish, versions
from kseg.serving.warmup import WARMUP_FILE

KILLS = int(os.environ.get("KSEG_EXPORT_KILLS", "6"))
AT_ONCE = 2
TRIES = 3

FILES = {
    "saved_model.pb", "fingerprint.pb", "variables/variables.index", "variables/variables.data-00000-of-00001",
    "assets.extra/tf_serving_warmup_requests", "assets.extra/model_card.json", "assets.extra/model_card.md",
}  # fmt: skip

# Loading TensorFlow takes as long as an export and writes nothing, so it is done once for many exports, each of which
# is a fork. That is safe only as long as there is a single thread: nothing is run before, and it is checked.
FORKS = """
import os, sys, time
from kseg.cli.export import main
import keras, tensorflow
import kseg.cli.card, kseg.data.sources, kseg.models.segmenter, kseg.serving.export
assert len(os.listdir("/proc/self/task")) == 1, "a process with threads must not fork"
log, *arguments = sys.argv[1:]
print("ready", flush=True)
for _ in sys.stdin:
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.write(1, f"{os.getpid()}\\n".encode())
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        try:
            main(arguments, prog_name="kseg-export")
        except SystemExit as end:
            os._exit(end.code or 0)
        os._exit(70)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - began, flush=True)
"""


class Exporter:
    """Does exports one after the other, each in a process group of its own that can be killed."""

    def __init__(self, run, model_dir, log):
        self.log = log
        arguments = [str(run), "--to", str(model_dir), "--keep", "3"]
        # the libraries' own pools of threads would be there from the start
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS, log, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.said()  # it is ready

    def said(self):
        line = self.process.stdout.readline().strip()
        assert line, "the exporting process ended"
        return line

    def export(self, killed_after=None):
        """The exit status and the seconds of an export; killed, with all that it has started, after so many seconds."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        group = int(self.said())
        if killed_after is not None:
            time.sleep(killed_after)
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.killpg(group, signal.SIGKILL)
        status, seconds = self.said().split()
        return int(status), float(seconds)

    def end(self):
        self.process.communicate(timeout=60)


class Server(threading.Thread):
    """Lists the folder without rest; a name that is an integer is a version, to be whole at first sight."""

    def __init__(self, model_dir):
        super().__init__()
        self.model_dir, self.ended = model_dir, threading.Event()
        self.seen, self.problems, self.loaded = {}, [], []
        self.to_load = queue.SimpleQueue()
        self.loader = threading.Thread(target=self.load)

    def __enter__(self):
        self.start()
        self.loader.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        self.to_load.put(None)
        self.loader.join()

    def run(self):
        while not self.ended.is_set():
            for name in os.listdir(self.model_dir) if self.model_dir.exists() else ():
                if re.fullmatch(r"-?\d+", name) and name not in self.seen:
                    self.seen[name] = sizes(self.model_dir / name)
                    if self.seen[name].keys() != FILES:
                        self.problems.append((name, "at first sight", self.seen[name]))
                    self.to_load.put(name)
            time.sleep(0.001)

    def load(self):
        while name := self.to_load.get():
            folder = self.model_dir / name
            try:
                loaded = Loaded(folder)
                answer = loaded("serving_default", [b"no picture"])
                assert answer["status"].tolist() == [2]
                count = 0
                for record in tf.data.TFRecordDataset(str(folder / WARMUP_FILE)):
                    prediction_log_pb2.PredictionLog().ParseFromString(record.numpy())
                    count += 1
                assert count == 8
                assert sizes(folder) == self.seen[name], "it changed after its publication"
                self.loaded.append(name)
            except Exception as error:  # whatever it is, it is for the test to show
                if folder.exists():  # it was not removed meanwhile
                    self.problems.append((name, "when loaded", error))


def sizes(folder):
    """The sizes of all files."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def kill(exporter, moments, statuses):
    """Export once undisturbed, then once per moment, a fraction of an export's duration, and kill it there.

    How long an export takes changes with what else the machine does: one that ends before its moment is the new
    measure, and its moment is tried again.
    """
    status, duration = exporter.export()
    statuses.append(status)
    for moment in moments:
        for _ in range(TRIES):
            status, seconds = exporter.export(moment * duration)
            statuses.append(status)
            if status != 0:
                break
            duration = seconds


def at_once(function, arguments):
    threads = [threading.Thread(target=function, args=one) for one in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_export_killed_at_any_moment_shows_no_half_version(trained_run, tmp_path):
    model_dir = tmp_path / "models" / "people"
    exporters = [Exporter(trained_run, model_dir, tmp_path / f"log-{index}") for index in range(AT_ONCE)]
    with Server(model_dir) as server:
        dice = random.Random(8)
        moments = [(index + dice.random()) / KILLS for index in range(KILLS)]  # spread evenly over an export
        dice.shuffle(moments)
        statuses = []
        at_once(kill, [(exporter, moments[i::AT_ONCE], statuses) for i, exporter in enumerate(exporters)])
        for exporter in exporters:
            exporter.end()
    assert server.problems == []
    logs = "".join(exporter.log.read_text() for exporter in exporters)
    assert set(statuses) == {0, -signal.SIGKILL}, f"an export failed by itself: {logs}"
    assert statuses.count(-signal.SIGKILL) >= KILLS * 9 // 10
    assert len(server.loaded) >= AT_ONCE
    assert set(map(str, versions(model_dir))) <= server.seen.keys()

    def small(folder):
        Path(folder, "saved_model.pb").write_bytes(b"graph")

    last = publish(model_dir, small)
    assert int(last.name) == max(map(int, server.seen)) + 1
    assert not [path for path in model_dir.iterdir() if path.name.startswith((".new", ".old"))]
