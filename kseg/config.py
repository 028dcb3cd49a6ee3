"""Reading settings: a TOML file, changed from the command line; and writing and comparing them.

Every error names the file or the ``--set`` it came from, the key, the value and what would be right.
"""

import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from kseg.errors import ConfigError, did_you_mean
from kseg.settings import Settings

MACHINE_ONLY = {"roots", "data_dir", "verify", "cache", "input_service"}
"""Settings of the data that machines may have otherwise: they say where it is, not what it is."""


def load_settings(path: Path, overrides: Sequence[str] = (), roots: Sequence[Path] = ()) -> Settings:
    """Settings from a TOML file, changed by ``section.key=value`` texts and, if any are given, by ``roots``.

    Raises ConfigError if the file cannot be read or a setting is unknown, of a wrong type, or impossible.
    """
    values = _read_toml(path)
    overridden: dict[str, str] = {}
    for text in overrides:
        key, value = _parse_override(text)
        _insert(values, key, value)
        overridden[key] = text
    if roots:
        _insert(values, "data.roots", [str(root.absolute()) for root in roots])
        overridden["data.roots"] = "data"
    return _validated(values, path, overridden)


def parse_settings(text: str, path: Path) -> Settings:
    """Settings from what ``dump_settings`` made, found in ``path``. Raises ConfigError as ``load_settings``."""
    try:
        return _validated(tomllib.loads(text), path, {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _validated(values: dict[str, Any], path: Path, overridden: dict[str, str]) -> Settings:
    try:
        # Through JSON: there, strict types take an array for a tuple and a string for a path.
        return Settings.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, overridden, problem) for problem in error.errors())) from None


def dump_settings(settings: Settings) -> str:
    """All settings, defaults included, as TOML that ``load_settings`` reads back to an equal object."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))


def flatten(settings: Settings) -> dict[str, Any]:
    """``{"training.epochs": 20, ...}``: every setting under its full key."""
    flat: dict[str, Any] = {}
    for section, values in settings.model_dump(mode="json").items():
        if isinstance(values, dict):
            flat |= {f"{section}.{key}": value for key, value in values.items()}
        else:
            flat[section] = values
    return flat


def wherever(value: Any) -> Any:
    """A setting's value, as ``flatten`` gives it, without what is ``MACHINE_ONLY`` however deep inside."""
    if isinstance(value, dict):
        return {key: wherever(inner) for key, inner in value.items() if key not in MACHINE_ONLY}
    return [wherever(inner) for inner in value] if isinstance(value, list) else value


def difference(settings: Settings, other: Settings | None = None) -> dict[str, Any]:
    """The settings, under their full keys, whose values are not those of ``other`` (default: the defaults)."""
    reference = flatten(other or Settings())
    return {key: value for key, value in flatten(settings).items() if value != reference[key]}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such settings file{did_you_mean(str(path), _siblings(path))}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a settings file: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _siblings(path: Path) -> list[str]:
    return [str(file) for file in sorted(path.parent.glob("*.toml"))] if path.parent.is_dir() else []


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write it as section.key=value, for example training.epochs=5")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()  # a bare word, as the shell leaves it


def _insert(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: {section} is a value, not a section")
    values[last] = value


def _explain(path: Path, overridden: dict[str, str], problem: ErrorDetails) -> str:
    """One line for one of pydantic's findings: origin, key, value, and what would be right."""
    location = [part for part in problem["loc"] if isinstance(part, str) and part not in {"str", "int", "bool"}]
    location = [part for part in location if not part.startswith(("literal[", "function-"))]
    key = ".".join(location)
    override = next((text for name, text in overridden.items() if _related(name, key)), None)
    origin = f"--{'' if override == 'data' else 'set '}{override}" if override else str(path)
    if problem["type"] == "extra_forbidden":
        known = _keys_of(location[:-1])
        return (
            f"{origin}: unknown setting {key}{did_you_mean(location[-1], known)}; "
            f"known here: {', '.join(sorted(known))}"
        )
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if problem["type"] == "value_error" and not isinstance(problem["input"], list | str | int | float):
        return f"{origin}: {key + '.' if key else ''}{message}"
    return f"{origin}: {key} = {json.dumps(problem['input'], default=str)}: {message}"


def _related(one: str, other: str) -> bool:
    """Whether one key is the other or stands inside it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _keys_of(sections: Iterable[str]) -> list[str]:
    model: Any = Settings
    for section in sections:
        model = model.model_fields[section].annotation
    return list(model.model_fields)
