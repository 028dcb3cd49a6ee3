"""Labels: names for versions, so that clients ask for "stable" and need not know its number.

They are kept beside the versions, in ``labels.json``. With each label stands the version it was moved from last: a
server answers with that one until it has read of the move and loaded the new one.
"""

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from kseg.errors import ExportError
from kseg.files import write_text
from kseg.serving.folder import locked, reporting, versions

STABLE = "stable"
CANARY = "canary"

FILE = "labels.json"

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)


def read_labels(model_dir: Path) -> dict[str, int]:
    """Which version each label names; empty before the first export.

    Raises ExportError if the file is broken or names a version that is not there.
    """
    labels = {label: entry["version"] for label, entry in _read(model_dir).items()}
    present = versions(model_dir)
    for label, version in labels.items():
        if version not in present:
            raise ExportError(
                f"{model_dir / FILE}: {label} names version {version}, which is not there; {_there_are(present)}; "
                "name one of them, or take the label out of the file"
            )
    return labels


def labels_in_use(model_dir: Path) -> set[int]:
    """The versions that labels name, and those they were moved from last."""
    entries = _read(model_dir).values()
    return {entry[key] for entry in entries for key in ("version", "before") if entry[key] is not None}


def set_labels(model_dir: Path, labels: Iterable[str], version: int) -> dict[str, int]:
    """Let every one of ``labels`` name ``version``; the others stay. Returns all labels.

    Raises ExportError if a label is none, the version is not there, or the file is broken.
    """
    require_labels(labels := tuple(labels))
    with reporting(model_dir), locked(model_dir):
        return _move(model_dir, dict.fromkeys(labels, version))


def label_export(model_dir: Path, version: int, also: Collection[str] = ()) -> dict[str, int]:
    """Label a version just exported: "canary" names it, and so do the labels ``also``. Returns all labels.

    The first export of a model becomes "stable" as well. "canary" never moves back: of two exports at once, the one
    with the higher number has it, whichever ends last.

    Raises ExportError as ``set_labels`` does.
    """
    require_labels(also)
    with reporting(model_dir), locked(model_dir):
        entries = _read(model_dir)
        moves = dict.fromkeys(also, version)
        if not entries:
            moves |= {STABLE: version, CANARY: version}
        elif CANARY not in entries or entries[CANARY]["version"] < version:
            moves[CANARY] = version
        return _move(model_dir, moves)


def require_labels(labels: Iterable[str]) -> None:
    """Raise ExportError if one of ``labels`` cannot be a label."""
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ExportError(
                f"{label!r} cannot be a label; a letter, then letters, digits, '_' and '-', such as {STABLE}"
            )


def _move(model_dir: Path, moves: dict[str, int]) -> dict[str, int]:
    """Point labels at versions that are there and write the file; the folder must be locked."""
    present = versions(model_dir)
    entries = _read(model_dir)
    for label, version in moves.items():
        if version not in present:
            raise ExportError(
                f"{model_dir}: {label} cannot name version {version}, which is not there; {_there_are(present)}"
            )
        now = entries.get(label)
        if now is None or now["version"] != version:
            entries[label] = {"version": version, "before": now and now["version"]}
    write_text(model_dir / FILE, json.dumps(entries, indent=2, sort_keys=True) + "\n")
    return {label: entries[label]["version"] for label in sorted(entries)}


def _read(model_dir: Path) -> dict[str, dict[str, Any]]:
    """label -> {"version": number, "before": number or None}."""
    file = model_dir / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"an object was expected, not {content!r}")
        return {label: _entry(label, entry) for label, entry in sorted(content.items())}
    except FileNotFoundError:
        return {}
    except ValueError as error:  # broken JSON and broken UTF-8 are ValueErrors, too
        raise ExportError(
            f"{file}: cannot be read as labels: {error}; "
            f'mend it (such as {{"{STABLE}": {{"version": 1}}}}), or remove it to start with new labels'
        ) from None


def _entry(label: str, entry: Any) -> dict[str, Any]:
    if not _LABEL.fullmatch(label):
        raise ValueError(f"{label!r} cannot be a label")
    if not isinstance(entry, dict) or not entry.keys() <= {"version", "before"}:
        raise ValueError(f"{label}: {entry!r} is no label's version")
    version, before = entry.get("version"), entry.get("before")
    if type(version) is not int or (before is not None and type(before) is not int):
        raise ValueError(f"{label}: {entry!r} holds no version number")
    return {"version": version, "before": before}


def _there_are(present: list[int]) -> str:
    return f"there are {', '.join(map(str, present))}" if present else "there are none"
