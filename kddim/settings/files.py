"""Files of settings: TOML, YAML and JSON, and the `config.json` of a run."""

import dataclasses
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kddim.settings.declared import RunSettings
from kddim.settings.validation import received, unknown_setting, validate
from kddim.settings.yaml_files import UniqueKeys, parse_yaml

CONFIG = "config.json"
_LARGEST = 1_000_000  # bytes


@dataclasses.dataclass(frozen=True)
class SettingsFile:
    """Settings that were read from a file.

    Attributes:
        path: The file.
        values: Valid settings by name, only those that the file has.
        record: Whole content of the `config.json` of a run. None for a file written by hand.
        notes: Lines to tell the user.
    """

    path: Path
    values: dict[str, Any]
    record: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def read_settings(path: str | os.PathLike) -> SettingsFile:
    """Read the settings of a training run from a file.

    A file written by hand has the settings at its top level or under `training`. The
    `config.json` of a run has them under `training`, beside what was found out in the run.
    Settings that it has from another version of kddim are left out, with a note.

    Args:
        path: A .toml, .yaml, .yml or .json file, or a run folder.

    Raises:
        ValueError: If the file cannot be read, or if a setting is unknown, of another type or
            out of range.

    Example:
        >>> read_settings("run.toml").values
    """
    path = Path(path)
    if path.is_dir():
        path = path / CONFIG
    content = _read(path)
    if "training" in content and "versions" in content:
        return _of_run(path, content)
    training = content.pop("training", {})
    _check_table(training, "training", path)
    if twice := sorted(set(training) & set(content), key=str):
        raise ValueError(
            f"Expected each setting once. Received: {received(twice[0])} twice in {path}, at the "
            "top level and under training"
        )
    return SettingsFile(path, validate(RunSettings, content | training, str(path)))


def _of_run(path: Path, record: dict[str, Any]) -> SettingsFile:
    """Return the settings of a run, with the framework that it was computed with."""
    for name in ("training", "versions"):
        _check_table(record[name], name, path)
    known = {field.name for field in dataclasses.fields(RunSettings)} - {"output"}
    others = [name for name in record["training"] if name not in known]
    notes = tuple(f"note: {unknown_setting(name, known, str(path))} It is left out." for name in others)  # fmt: skip
    values = {name: value for name, value in record["training"].items() if name in known}
    if "backend" in record["versions"]:
        values["backend"] = record["versions"]["backend"]
    return SettingsFile(path, validate(RunSettings, values, str(path)), record, notes)


def _check_table(value: Any, name: str, path: Path) -> None:
    if not isinstance(value, dict):
        raise ValueError(
            f"Expected {name} as a table of settings in {path}. Received: {received(value)}"
        )


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a file, which is a table."""
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ValueError(
            f"Expected settings in a .toml, .yaml or .json file. Received: {path}. Give the file "
            "one of these endings."
        )
    data = _bytes(path)
    try:
        content = parse(data.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError(f"Expected settings in {path}. Received: too many nested levels") from None
    except ValueError as error:  # of the parser, or of bytes that are not UTF-8
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected a valid {path.suffix} file. Received: {path} ({reason})"
        ) from error
    _check_table({} if content is None else content, "the content", path)
    return content or {}


def _bytes(path: Path) -> bytes:
    if not path.is_file():  # a pipe would wait for ever
        found = "no regular file" if path.exists() else "nothing"
        raise ValueError(f"Expected a file of settings. Received: {path}, where there is {found}")
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(
            f"Expected a file of settings of at most {_LARGEST:,} bytes. Received: {path}, which "
            "is larger"
        )
    return data


def _parse_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=UniqueKeys.of_pairs)


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".toml": tomllib.loads,
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
    ".json": _parse_json,
}
