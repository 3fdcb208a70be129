"""Settings of a run that stand in `config.json`, beside its model."""

import logging
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim.checks import is_integer
from kddim.files import read_json
from kddim.runs.folder import CONFIG, model_path

log = logging.getLogger("kddim")

_SECTIONS = ("training", "kid", "versions")  # of config.json
_MOST_CONFIG = 2**24  # bytes of config.json


def versions() -> dict[str, str]:
    """Return the backend, and the versions of the packages that decide the numbers."""
    backend = keras.backend.backend()
    found = {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
    try:
        found[backend] = metadata.version(backend)
    except metadata.PackageNotFoundError:  # such as tensorflow-cpu
        found[backend] = "unknown"
    return {"backend": backend} | found


def read_config(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the content of `config.json` beside a model.

    Args:
        path: A `.keras` file, or a run folder.

    Returns:
        Values by name, or None if there is no such file. Each of the sections "training",
        "kid" and "versions" is a dictionary, empty if the file has none.

    Raises:
        ValueError: If the file is damaged.
    """
    file = model_path(path).with_name(CONFIG)
    if not file.is_file():
        return None
    content = read_json(file) if file.stat().st_size <= _MOST_CONFIG else None
    sections: dict[str, Any] = {}
    if isinstance(content, dict):
        sections = {name: content.get(name) or {} for name in _SECTIONS}
    if not sections or not all(isinstance(section, dict) for section in sections.values()):
        raise ValueError(
            f"Expected the settings of the run in {file}. Received: a damaged file. Repair it, "
            "or move it away to use the model without the settings of its run."
        )
    return {**content, **sections}  # type: ignore[dict-item]


def loading_of(path: str | os.PathLike) -> dict[str, Any]:
    """Return how a run split its data, as arguments of `kddim.evaluation.make_reference`.

    Without `config.json` beside the model, these are the defaults, and a line says so.

    Args:
        path: A `.keras` file, or a run folder.

    Raises:
        ValueError: If `config.json` is damaged, or one of these settings is out of range.
    """
    config = read_config(path)
    if config is None:
        log.info(
            "there is no %s beside %s: real images are split as by default (validation split 0.2, "
            "seed 0), which may differ from the split of the training",
            *(CONFIG, model_path(path)),
        )
    return loading_from((config or {}).get("training", {}), model_path(path).with_name(CONFIG))


def loading_from(training: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return how data was split, as arguments of `kddim.evaluation.make_reference`.

    Args:
        training: Settings of a run.
        file: File that they are from, for the error message.

    Raises:
        ValueError: If one of these settings is out of range.
    """
    share, limit = training.get("validation_split", 0.2), training.get("limit")
    seed = training.get("seed", 0)
    valid = isinstance(share, float) and 0.0 < share < 1.0 and is_integer(seed)
    if not valid or not (limit is None or (is_integer(limit) and limit > 0)):
        raise ValueError(
            "Expected a validation_split in (0, 1), an integer seed, and a limit of at least 1 or "
            f"null in {file}. Received: validation_split={share!r}, "
            f"seed={seed!r}, limit={limit!r}. Repair the file."
        )
    return {"validation_split": share, "limit": limit, "data_seed": seed}
