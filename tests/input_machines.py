"""Machines of an input service: kseg-data serve as processes of their own, on loopback."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SERVE = [sys.executable, "-c", "from kseg.cli.data import main; main(prog_name='kseg-data')", "serve"]
"""kseg-data serve of the kseg under test, whether or not its script is on the PATH."""


def two_free_ports() -> int:
    """A port that is free now, as the one after it is."""
    while True:
        with socket.create_server(("", 0)) as first, contextlib.suppress(OSError, OverflowError):
            port = first.getsockname()[1]
            with socket.create_server(("", port + 1)):
                return port


@contextlib.contextmanager
def machine(home: Path, *arguments: object, dispatcher: str | None = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """A machine that is starting, as ``kseg-data serve`` with these arguments in ``home``: its address and process."""
    port = two_free_ports()
    further = ["--dispatcher", dispatcher] if dispatcher else []
    command = [*SERVE, *map(str, arguments), "--host", "localhost", "--port", str(port), *further]
    quiet = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}  # as users have it
    process = subprocess.Popen(
        command, cwd=home, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield dispatcher or f"grpc://localhost:{port}", process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def two_machines(home: Path, *arguments: object) -> Iterator[str]:
    """The address of a service of two machines that are ready. They start at the same time, in whatever order."""
    with (
        machine(home, *arguments) as (address, first),
        machine(home, *arguments, dispatcher=address) as (_, second),
    ):
        for process in (first, second):
            said = process.stdout.readline()
            assert f"samples at {address}" in said, said
        yield address
