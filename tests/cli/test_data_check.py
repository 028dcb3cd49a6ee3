"""kseg-data check as its users meet it: what it prints and writes, and its exit status."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from faults import Planter, save
from support import make_photos

from kseg.cli.data_check import check


def run(*arguments):
    return CliRunner().invoke(check, [str(argument) for argument in arguments], prog_name="kseg-data check")


@pytest.fixture
def good(photos, tmp_path, monkeypatch):
    """Twelve photos without a fault, in the folder the command runs in."""
    values = np.zeros((48, 40), np.uint8)
    values[10:30, 10:30] = 255
    for path in (photos / "masks").iterdir():
        save(path, values)
    monkeypatch.chdir(tmp_path)
    return photos


def test_help_has_examples_and_loads_nothing_heavy():
    script = (
        "import sys\nfrom kseg.cli.data_check import check\n"
        "try: check(['--help'], prog_name='kseg-data check')\n"
        "finally: print({'tensorflow', 'keras', 'numpy', 'cv2', 'pydantic', 'matplotlib'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Examples:" in done.stdout
    assert done.stdout.endswith("set()\n")


def test_good_photos_pass(good, tmp_path):
    result = run("photos")
    assert result.exit_code == 0, result.output
    assert "12 samples, 12 usable: 11 for training, 1 for validation; 0 errors, 0 warnings, 0 notes" in result.output
    assert "report: check/photos/report.html" in result.output
    content = json.loads((tmp_path / "check" / "photos" / "check.json").read_text())
    assert content["findings"] == []
    assert [row["name"] for row in content["classes"]] == ["background", "person"]
    assert (tmp_path / "check" / "photos" / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_errors_are_printed_by_kind_and_are_the_exit_status(tmp_path):
    root = make_photos(tmp_path / "photos", 60, 160, 128)
    planter = Planter(root).plant_all()
    result = run(root, "--out", tmp_path / "out")
    assert result.exit_code == 1
    printed = result.stdout.splitlines()
    assert "wrong type: 3 error, 1 warning" in printed
    assert "  ... and 1 more" in printed
    findings = json.loads((tmp_path / "out" / "check.json").read_text())["findings"]
    kinds = {finding["kind"].removesuffix(" across the split") for finding in findings}
    assert {kind for kind, _ in planter.expected} <= kinds
    assert len(printed) < len(kinds) * 5 + 10
    assert "Traceback" not in result.output


def test_warnings_are_not(good):
    save(good / "masks" / "p003.png", np.zeros((48, 40), np.uint8))
    result = run("photos")
    assert result.exit_code == 0
    assert "empty mask: 1 warning" in result.output


def test_a_settings_file_says_what_masks_mean(good, config):
    for path in (good / "masks").iterdir():
        save(path, np.kron([[7, 9], [9, 7]], np.ones((24, 20))).astype(np.uint8))
    assert run("photos").exit_code == 1
    path = config('[data]\nmask_values = { "7" = "person", "9" = 0 }\n')
    assert run(path, "--data", "photos").exit_code == 0
    assert run("photos", "--set", 'data.mask_values={"7" = 1, "9" = 0}').exit_code == 0


def test_fix_writes_a_copy_that_passes(good, tmp_path):
    (good / "images" / "p004.jpg").write_bytes(b"")
    (good / "masks" / "p005.png").unlink()
    result = run("photos", "--fix", "clean")
    assert result.exit_code == 1
    assert "clean: 10 samples, 2 left out; every change is in clean/changes.csv" in result.stdout
    assert "train on it with: --data clean" in result.stdout
    assert run("clean", "--out", "again").exit_code == 0
    refused = run("photos", "--fix", "clean")
    assert refused.exit_code == 1
    assert "kseg-data check: --fix clean: is there already" in refused.stderr


def test_the_mapping_that_a_copy_needs_is_told_and_right(good):
    for path in (good / "masks").iterdir():
        save(path, np.kron([[7, 9], [3, 9]], np.ones((24, 20))).astype(np.uint8))
    result = run("photos", "--set", 'data.mask_values={"7" = 1, "9" = 0, "3" = "ignore"}', "--fix", "clean")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("train on it with")]
    setting = line.split("--set ")[1].strip("'")
    assert run("clean", "--set", setting).exit_code == 0
    assert run("clean").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml: no such settings file"),
        (["photos", "--set", "data.nothing=1"], "unknown setting data.nothing"),
        (["photos", "--data", "elsewhere"], "elsewhere/images: No such file"),
    ],
)
def test_what_cannot_be_checked_is_said(good, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("kseg-data check: ")
    assert message in result.stderr
    assert "Traceback" not in result.output
