"""Cache folder for results that are computed once, such as features of real images."""

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
    """Return the cache folder, which may be deleted at any time.

    It is `KDDIM_CACHE` if this environment variable is set, else `kddim` in the cache folder of
    the platform.
    """
    chosen = os.environ.get("KDDIM_CACHE")
    return Path(chosen) if chosen else _platform_folder() / "kddim"


def _platform_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def cached_path(kind: str, key: Any, suffix: str) -> Path:
    """Return the path of the cache entry for `key`.

    Args:
        kind: Name of a folder in the cache.
        key: JSON values. Different keys have different paths.
        suffix: Suffix of the file, such as ".json".
    """
    text = json.dumps(key, sort_keys=True, default=str)
    return cache_folder() / kind / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}{suffix}"


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file in the cache. A cache that cannot be written to is only logged."""
    try:
        files.write_json(path, content)
    except OSError as error:
        log.info("nothing is cached: %s", error)


def file_hash(path: str | os.PathLike) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
