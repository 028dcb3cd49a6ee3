"""What the README and the settings files tell the reader to type is what the commands take."""

import doctest
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from kseg.cli import data, evaluate, export, predict, train
from kseg.config import load_settings
from kseg.data.synthetic import draw_scene

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


COMMANDS = {
    "kseg-train": train.main,
    "kseg-evaluate": evaluate.main,
    "kseg-predict": predict.main,
    "kseg-export": export.main,
    "kseg-data": data.main,
}


def shown_commands():
    """Every kseg command of the README's shell blocks, of the helps' examples, and of the configs' first lines."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL))
    lines = blocks.splitlines()
    for command in (*COMMANDS.values(), *data.main.commands.values()):
        lines += (command.epilog or "").splitlines()
    lines += [config.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for config in CONFIGS]
    found = (re.search(rf"(?:^|/|\s)({name} .*)", line) for line in lines for name in COMMANDS)
    return sorted({match[1] for match in found if match})


@pytest.mark.parametrize("command", shown_commands())
def test_a_shown_command_parses_and_its_settings_load(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, *arguments = shlex.split(command, comments=True)
    command = COMMANDS[name]
    if command is data.main:
        command = command.commands[arguments.pop(0)]
    parameters = command.make_context(name, arguments).params
    if "config" in parameters:
        load_settings(parameters["config"], parameters["overrides"], parameters["roots"])


def test_enough_commands_are_shown():
    shown = [command.split()[0] for command in shown_commands()]
    assert all(
        shown.count(name) >= least
        for name, least in (
            ("kseg-train", 7),
            ("kseg-evaluate", 4),
            ("kseg-predict", 7),
            ("kseg-export", 5),
            ("kseg-data", 12),
        )
    )


def test_the_notebook_example_does_what_it_shows(trained_run, tmp_path, monkeypatch):
    """The README's Python session, on a run and a photo of these names."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained_run, "runs/people-001")
    Image.fromarray(draw_scene(0, 0, 480, 640)[0]).save("photo.jpg")
    example = doctest.DocTestParser().get_doctest(README, {}, "README", "README.md", 0)
    assert len(example.examples) == 2
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert results.failed == 0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_opens_with_its_command_and_tells_its_score(config):
    text = config.read_text(encoding="utf-8")
    assert text.startswith(f"# kseg-train configs/{config.name}")
    comment = text[: text.index("\nseed")]
    known = re.search(r"Expect.*?0\.\d\d", comment, flags=re.DOTALL) or "not been trained here" in comment.replace(
        "\n# ", " "
    )
    assert known, "the comment should say what score to expect, or that nobody knows it"
    load_settings(config)


@pytest.mark.parametrize("config", sorted((ROOT / "configs/experiments").glob("*.toml")), ids=lambda path: path.stem)
def test_an_experiment_says_what_it_tries_and_loads(config):
    assert re.match(r"# .+\.\n", config.read_text(encoding="utf-8"))
    assert load_settings(config).training.epochs == 10


def test_there_are_exactly_two_setup_commands():
    assert re.findall(r"<!-- (\w+) -->\n```sh\n(python3 -m venv .*)\n```", README) == [
        (
            "quickstart",
            "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/kseg-train configs/quickstart.toml",
        ),
        (
            "test",
            "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest -n 2 --dist loadfile",
        ),
    ]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_link_leads_to_a_file(link):
    assert (ROOT / link).exists()
