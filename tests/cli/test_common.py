"""What commands share, as it is met through each of them."""

import os
import resource

import pytest
from click.testing import CliRunner

from kseg.cli import evaluate, export, predict, train

TERABYTE = 1 << 40


@pytest.fixture
def run_too_large(tmp_path):
    """A run whose settings need more memory than this process may have: a file of holes, which takes no room."""
    (tmp_path / "best.keras").touch()
    (tmp_path / "settings.toml").touch()
    os.truncate(tmp_path / "settings.toml", 4 * TERABYTE)
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (TERABYTE, before[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("command", "words", "advice"),
    [
        (train.main, ["settings.toml"], "lower training.batch_size or data.image_size, or set data.cache=false"),
        (evaluate.main, ["."], "use --batch-size 1"),
        (predict.main, [".", "photo.jpg", "--out", "out"], "use --batch-size 1, or a smaller --resolution"),
        (export.main, [".", "--to", "models/people"], "end other programs, or use a machine that has more"),
    ],
)
def test_who_has_not_enough_memory_is_told_what_this_command_can_save(
    command, words, advice, run_too_large, monkeypatch
):
    monkeypatch.chdir(run_too_large)
    (run_too_large / "photo.jpg").touch()
    result = CliRunner().invoke(command, words, prog_name="kseg")
    assert result.exit_code == 1, result.output
    assert result.stderr.strip().splitlines()[-1] == f"kseg: not enough memory; {advice}"
