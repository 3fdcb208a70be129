"""Folders of presets with weights, and those in the package, without Keras.

Such a folder holds `config.json`, `weights.npz`, `card.md`, and `network.json` if the network is
not the default one of `DiffusionModel`.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from kddim.budget import size_in_words
from kddim.checks import printable, reason_of

ROOT = Path(__file__).parent
CONFIG, NETWORK, WEIGHTS, CARD = "config.json", "network.json", "weights.npz", "card.md"
FILES = (CONFIG, NETWORK, WEIGHTS, CARD)

_MOST_CONFIG = 2**24  # bytes of a JSON file
_TABLES = ("model", "card")  # parts of config.json that every preset has


def names() -> tuple[str, ...]:
    """Return the names of the presets with weights in the package.

    Each can be given to `DiffusionModel.from_preset` and to every verb that takes a MODEL.
    """
    return tuple(sorted(path.name for path in ROOT.iterdir() if is_preset(path)))


def is_preset(path: str | os.PathLike) -> bool:
    """Return True for a folder that holds a preset with weights."""
    return all((Path(path) / name).is_file() for name in (CONFIG, WEIGHTS))


def read_config(folder: str | os.PathLike) -> dict[str, Any]:
    """Return the content of a preset's `config.json`.

    Args:
        folder: Folder of the preset.

    Returns:
        Values by name, which `kddim.presets.pack` documents. `model` and `card` are dictionaries,
        and so is `training`, which is empty if the preset was packed from a model.

    Raises:
        ValueError: If the file is damaged.
    """
    content = read_table(Path(folder) / CONFIG)
    content["training"] = content.get("training") or {}
    if not all(isinstance(content.get(name), dict) for name in (*_TABLES, "training")):
        raise ValueError(
            f"Expected the tables {', '.join(_TABLES)} in {printable(folder)}/{CONFIG}. Received: "
            "a file without them, or a damaged one. Get the preset anew."
        )
    return content


def read_table(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file, which is a table.

    Args:
        path: The file.

    Raises:
        ValueError: If the file is damaged or is larger than any that kddim writes.
    """
    expected = f"Expected a JSON file of a preset. Received: {printable(path)}"
    if path.stat().st_size > _MOST_CONFIG:
        raise ValueError(f"{expected}, which has {size_in_words(path.stat().st_size)}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{expected} ({printable(reason_of(error))})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{expected}, which holds no table")
    return content


def size_of(folder: Path) -> int:
    """Return the number of bytes of a preset's files."""
    return sum((folder / name).stat().st_size for name in FILES if (folder / name).is_file())


def digest_of(path: Path) -> str:
    """Return the SHA-256 hash of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
