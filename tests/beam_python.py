"""A Python with Apache Beam, whose pins do not go with all that kseg's tests have, and kseg's commands run in it."""

import configparser
import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPT = """
import json, sys
from click.testing import CliRunner
from kseg.cli.data import main as data
from kseg.cli.predict import main as predict

for words in map(json.loads, sys.stdin):
    main = {"kseg-data": data, "kseg-predict": predict}[words[0]]
    done = CliRunner().invoke(main, words[1:], prog_name=words[0])
    unforeseen = None if isinstance(done.exception, SystemExit) else done.exception
    stderr = done.stderr + (f"{unforeseen!r}" if unforeseen else "")
    print(json.dumps([done.exit_code, done.stdout, stderr]), flush=True)
"""


class Said(NamedTuple):
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


def install(home: Path) -> str:
    """Make an environment in ``home`` of what the extra ``beam`` asks for, over the tests' own; its Python."""
    if importlib.util.find_spec("apache_beam"):
        return sys.executable
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    wanted = setup["options.extras_require"]["beam"].split()
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    own = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    for number, folder in enumerate(sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})):
        # what is not in this environment comes from the tests' own, editable installations included
        (own / f"tests{number}.pth").write_text(f"import site; site.addsitedir({folder!r})\n")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"Apache Beam cannot be installed here: {done.stderr[-500:]}"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return str(python)


class Shell:
    """Runs commands of kseg one after the other in one process, which loads TensorFlow once."""

    def __init__(self, python: str, home: Path, log: Path) -> None:
        """``home``: where the commands are called; ``log``: what their workers say, and the process where it dies."""
        self._log = log
        with log.open("w") as said:
            command = [python, "-c", SCRIPT]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, cwd=home, text=True)

    def run(self, *commands: str) -> list[Said]:
        """How each ended."""
        assert self._process.stdin
        assert self._process.stdout
        ended = []
        for command in commands:
            print(json.dumps(command.split()), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
            assert line, self._log.read_text()
            ended.append(Said(*json.loads(line)))
        return ended

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)
