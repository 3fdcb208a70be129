"""The folder of what is computed once: features of reference images, scores of floors."""

import hashlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from kddim import files

log = logging.getLogger("kddim")


def cache_folder() -> Path:
    """`KDDIM_CACHE`, or `kddim` in the platform's usual folder. It may be deleted at any time."""
    chosen = os.environ.get("KDDIM_CACHE")
    return Path(chosen) if chosen else _platform_folder() / "kddim"


def _platform_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def cached_path(kind: str, key: Any, suffix: str) -> Path:
    """Where the cache holds what JSON values `key` decide.

    Args:
        kind: a folder of the cache.
        key: JSON values; each other key has another path.
        suffix: of the file.
    """
    text = json.dumps(key, sort_keys=True, default=str)
    return cache_folder() / kind / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}{suffix}"


def make_folder_of(path: Path) -> bool:
    """Makes the folder of a file of the cache; False, after a line, where it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.info("nothing is cached: %s", error)
        return False
    return True


def read_json(path: Path) -> Any:
    """The content of a JSON file of the cache; None where there is none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file of the cache, if the cache can be written to."""
    if not make_folder_of(path):
        return
    try:
        files.write_json(path, content)
    except OSError as error:
        log.info("nothing is cached: %s", error)


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file, 16 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
