"""A short version of benchmarks/serving_soak.py: the exported graph under load, one picture in five bad."""

import re
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[2] / "benchmarks" / "serving_soak.py"


def test_bad_pictures_under_load_neither_spoil_answers_nor_fill_the_memory(exact):
    options = ("--version", exact.folder, "--seconds", 5, "--warm-up", 8, "--bound", 0.2)
    done = subprocess.run(
        list(map(str, [sys.executable, SOAK, *options])), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "0 wrong answers" in done.stdout
    requests, pictures, bad = map(
        int, re.search(r"(\d+) requests, (\d+) pictures .* (\d+) of them", done.stdout).groups()
    )
    assert requests > 5
    assert 0.1 * pictures < bad < 0.3 * pictures
