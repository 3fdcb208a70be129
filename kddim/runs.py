"""Run folders: what training leaves behind, and how models are found again."""

import json
import os
import platform
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim.checks import reason_of
from kddim.files import check_output
from kddim.model import DiffusionModel
from kddim.networks import describe_network

MODEL, CONFIG, SAMPLES = "model.keras", "config.json", "samples"


def check_run_output(path: str | os.PathLike, overwrite: bool) -> Path:
    """A path that a run folder may be written to.

    Raises:
        ValueError: as `check_output`; or it is a file, or a folder that is no run.
    """
    path = check_output(path, overwrite)
    is_run = (path / CONFIG).is_file()
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not is_run)):
        raise ValueError(
            f"Expected a run folder to overwrite (one that holds {CONFIG}). Received: {path}"
        )
    return path


def versions() -> dict[str, str]:
    """What ran: backend, and the versions of what decides the numbers."""
    packages = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
    backend = keras.backend.backend()
    found = {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
    try:
        found[backend] = metadata.version(packages[backend])
    except (KeyError, metadata.PackageNotFoundError):  # such as tensorflow-cpu
        found[backend] = "unknown"
    return {"backend": backend} | found


def model_path(path: str | os.PathLike) -> Path:
    """The `.keras` file that a MODEL argument names: itself, or the one of a run folder.

    Raises:
        ValueError: there is none.
    """
    path = Path(path)
    found = path / MODEL if path.is_dir() else path
    if not found.is_file():
        raise ValueError(
            f"Expected a .keras file, or a run folder that holds {MODEL}. "
            f"Received: {path}, where there is no {found}"
        )
    return found


def load_model(path: str | os.PathLike) -> DiffusionModel:
    """Loads a trained model, without its optimiser.

    Args:
        path: a `.keras` file, or a run folder.

    Raises:
        ValueError: there is no such file, it is corrupt, or it holds another model.
    """
    file = model_path(path)
    try:
        model = keras.saving.load_model(file, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = reason_of(error)
        raise ValueError(
            f"Expected a .keras file of a kddim model. Received: {file}, which cannot be "
            f"loaded ({reason})"
        ) from error
    if not isinstance(model, DiffusionModel):
        raise ValueError(
            f"Expected a kddim.DiffusionModel. Received: a {type(model).__name__} in {file}"
        )
    return model


def read_config(path: str | os.PathLike) -> dict[str, Any] | None:
    """The `config.json` beside a model, if there is one that can be read."""
    file = model_path(path).with_name(CONFIG)
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def loading_of(path: str | os.PathLike) -> dict[str, Any]:
    """How a run split its data, for `kddim.evaluation.make_reference`."""
    training = (read_config(path) or {}).get("training", {})
    return {
        "validation_split": training.get("validation_split", 0.2),
        "limit": training.get("limit"),
        "data_seed": training.get("seed", 0),
    }


def describe(path: str | os.PathLike) -> dict[str, str]:
    """What a model is, and how it was trained where its run folder tells.

    Raises:
        ValueError: as `load_model`.
    """
    file, model = model_path(path), load_model(path)
    height, width, channels = model.image_shape
    mean, variance = (
        np.asarray(model.normalizer.adapt_mean),
        np.asarray(model.normalizer.adapt_variance),
    )
    network = f"residual UNet, widths {model.widths}, block depth {model.block_depth}"
    if model.has_custom_network:
        network = f"custom: {describe_network(model.network)}"
    found = {
        "file": f"{file} ({file.stat().st_size / 1e6:.1f} MB)",
        "images": f"{height}x{width}, {channels} channels",
        "network": network,
        "parameters": f"{model.network.count_params():,}",
        "schedule": str(model.schedule),
        "prediction type": model.prediction_type,
        "EMA": f"decay {model.ema}, {int(model.ema_steps)} training steps",
        "data mean": np.array2string(mean, precision=4),
        "data std": np.array2string(np.sqrt(variance), precision=4),
    }
    config = read_config(path)
    if config:
        found |= {f"training {k}": str(v) for k, v in config.get("training", {}).items()}
        if config.get("kid"):
            found |= {f"KID {k}": str(v) for k, v in config["kid"].items()}
            found["KID best epoch"] = str(config.get("best_epoch"))
        found |= {f"version {k}": str(v) for k, v in config.get("versions", {}).items()}
    return found
