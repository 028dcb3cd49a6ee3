import resource
import subprocess
import sys

import pytest

from kseg.errors import KsegError
from kseg.files import replacing, write_csv, write_text


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "one")
    write_text(path, "two, für alle")
    assert path.read_text(encoding="utf-8") == "two, für alle"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_an_error_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KsegError, match=r"file/a\.txt: cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "text")


def test_a_write_the_system_cuts_off_leaves_the_old_file(tmp_path):
    """RLIMIT_FSIZE makes the system refuse bytes in the middle of a file, as a full disk does."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    script = (
        "import pathlib, sys\nfrom kseg.errors import KsegError\nfrom kseg.files import write_text\n"
        "try: write_text(pathlib.Path(sys.argv[1]), 'new' * 100_000)\n"
        "except KsegError as error: print(error)"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, preexec_fn=limit, check=True
    )
    assert "cannot be written" in done.stdout
    assert "free some space" in done.stdout
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_leaves_missing_values_empty(tmp_path):
    write_csv(tmp_path / "t.csv", ["a", "b"], [{"a": 1, "b": "x, y"}, {"a": 2}])
    assert (tmp_path / "t.csv").read_text() == 'a,b\n1,"x, y"\n2,\n'
