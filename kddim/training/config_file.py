"""The `config.json` of a run: all that is needed to repeat it."""

import hashlib
from typing import Any

import keras
import numpy as np
import PIL

from kddim import __version__, data, runs
from kddim.data import ImageDataset
from kddim.model import DiffusionModel
from kddim.settings import SettingsFile
from kddim.training.config import ResolvedConfig


def run_config(
    config: ResolvedConfig,
    model: DiffusionModel,
    train_data: ImageDataset,
    validation_data: ImageDataset,
    command: str | None = None,
) -> dict[str, Any]:
    """Return the content of `config.json` when a run starts.

    Args:
        config: Settings of the run.
        model: The model.
        train_data: Training images.
        validation_data: Validation images.
        command: Command line as it was typed. None for a run from Python.

    Returns:
        JSON values: `training` (the settings, with `dtype`), `parameters` (number of weights),
        `command`, `data` (see `describe_data`) and `versions`.
    """
    return {
        "training": vars(config) | {"dtype": keras.config.dtype_policy().name},
        "parameters": model.network.count_params(),
        "command": command,
        "data": describe_data(config.source, train_data, validation_data),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the backend, and the versions of all packages that decide the numbers."""
    return runs.versions() | {"kddim": __version__, "pillow": PIL.__version__}


def describe_data(
    source: str, train_data: ImageDataset, validation_data: ImageDataset
) -> dict[str, Any]:
    """Return numbers and digests of the images of a run.

    Args:
        source: Source of the images.
        train_data: Training images.
        validation_data: Validation images.

    Returns:
        `fingerprint`: that of the files, by `kddim.data.fingerprint`, or None. `digest`: the
        SHA-256 hash of all decoded pixels, training images first, which is the same for the
        same images at another place. `training_images` and `validation_images`: their numbers.
        `image_shape`: `[height, width, channels]`.
    """
    digest = hashlib.sha256()
    for images in (train_data.images, validation_data.images):
        for start in range(0, len(images), 256):  # those of a file may be larger than the memory
            digest.update(np.ascontiguousarray(images[start : start + 256]).data)
    return {
        "fingerprint": data.fingerprint(source),
        "digest": digest.hexdigest(),
        "training_images": len(train_data.images),
        "validation_images": len(validation_data.images),
        "image_shape": list(train_data.images.shape[1:]),
    }


def differences(file: SettingsFile, settings: dict[str, Any]) -> list[str]:
    """Return lines about what differs between an earlier run and one that repeats it now.

    Args:
        file: Settings of the earlier run. A file written by hand differs in nothing.
        settings: Settings of the run of now.
    """
    if file.record is None:
        return []
    was, now = file.record["versions"], versions()
    lines = []
    if was.get("backend", now["backend"]) != now["backend"]:
        lines.append(
            f"note: {file.path} was computed with {was['backend']}, and this run is with "
            f"{now['backend']}: the numbers will differ"
        )
    others = {k: v for k, v in now.items() if k != "backend" and was.get(k, v) != v}
    changed = [f"{name} {version} (was {was[name]})" for name, version in others.items()]
    if changed:
        lines.append(f"note: other versions than in {file.path}: {', '.join(changed)}")
    return [*lines, *_changed_data(file, str(settings.get("source", "digits")))]


def _changed_data(file: SettingsFile, source: str) -> list[str]:
    recorded = (file.record or {}).get("data")
    was = recorded.get("fingerprint") if isinstance(recorded, dict) else None
    if was is None or source != file.values.get("source") or data.fingerprint(source) == was:
        return []
    return [
        f"note: the files of {source} are not those of {file.path}: names, sizes or times of "
        "change differ. Compare data.digest in both config.json"
    ]
