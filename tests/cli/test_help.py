"""What every command says of itself, at once: whoever asks for help waits for no library."""

import configparser
import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest

HEAVY = ("tensorflow", "keras", "pydantic", "numpy", "cv2", "matplotlib", "scipy", "grpc", "google.protobuf")

SCRIPT = """
import importlib, sys
name, module, heavy, *words = sys.argv[1:]
main = importlib.import_module(module).main
try: main([*words, "--help"], prog_name=name)
finally: print(sorted(set(heavy.split()) & sys.modules.keys()))
"""


def commands():
    """Name, module, what comes after the name, and command, of all that setup.cfg installs and all commands in them."""
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")
    for line in setup["options.entry_points"]["console_scripts"].strip().splitlines():
        name, place = line.split(" = ")
        module = place.removesuffix(":main")
        main = importlib.import_module(module).main
        inner = main.commands if isinstance(main, click.Group) else {}
        yield from ((name, module, [word], command) for word, command in inner.items())
        if not inner:
            yield name, module, [], main


@pytest.mark.parametrize(
    ("name", "module", "words", "command"), [pytest.param(*one, id=" ".join([one[0], *one[2]])) for one in commands()]
)
def test_help_has_examples_and_every_option_and_loads_nothing_heavy(name, module, words, command):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, module, " ".join(HEAVY), *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"Usage: {' '.join([name, *words])} ")
    assert "Examples:" in done.stdout
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.opts[-1] in done.stdout
    assert done.stdout.endswith("\n[]\n")
