"""The house's one-way order: a module imports only from rows above its own (and from its own package)."""

import ast
from pathlib import Path

import pytest

import kseg

ROOT = Path(kseg.__file__).parent

# From the ground up. What shares a row never imports one another.
ROWS = [
    {"errors"},
    {"ahead", "beam", "files", "logits", "palette", "settings"},
    {"config"},
    {"data", "models", "objectives", "pictures"},
    {"training", "serving", "evaluation", "inference", "report"},
    {"opening"},
    {"cli"},
]
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row}


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_parts(path):
    """Parts of kseg that a module imports anywhere, inside functions as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("kseg.") and name != "kseg.__version__")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_lead_upwards(path):
    part = part_of(path)
    for imported in imported_parts(path):
        assert imported == part or ROW_OF[imported] < ROW_OF[part], f"{part} may not import {imported}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_readable(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 320
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno <= 60, f"{node.name} is too long"


def test_every_part_has_its_row():
    assert {part_of(path) for path in modules()} == set(ROW_OF)
