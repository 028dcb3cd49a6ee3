"""A process that stays, with its network loaded, and answers a line on stdin with a line of JSON on stdout."""

import json
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any


class Contender:
    """A script in a Python of its own, killed when ``stack`` ends; it hears nothing of this one's ``PYTHONPATH``."""

    def __init__(self, stack: ExitStack, python: str, script: Path, *arguments: Any) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = stack.enter_context(
            subprocess.Popen(
                list(map(str, (python, script, *arguments))),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        )
        stack.callback(self._process.kill)

    def ask(self, line: str) -> dict[str, float]:
        """What it answers to a line."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, float]:
        """The next it has to say; the first says that it is ready."""
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it ended: {' '.join(self._process.args)}")
        return json.loads(line)
