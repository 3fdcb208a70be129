"""Run folders: paths, models and settings of training runs."""

import logging
import os
import platform
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim import run_state
from kddim.checks import reason_of
from kddim.files import check_output, read_json
from kddim.model import DiffusionModel
from kddim.networks import describe_network

log = logging.getLogger("kddim")

MODEL, CONFIG, SAMPLES = "model.keras", "config.json", "samples"


def check_run_output(path: str | os.PathLike, overwrite: bool) -> Path:
    """Return `path` if a run folder may be written there.

    Args:
        path: The run folder.
        overwrite: If true, an earlier run may be there.

    Raises:
        ValueError: If something is there and `overwrite` is false, or if it is not an earlier
            run.
    """
    path = check_output(path, overwrite)
    is_run = (path / CONFIG).is_file()
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not is_run)):
        raise ValueError(
            f"Expected a run folder to overwrite (one that holds {CONFIG}). Received: {path}"
        )
    return path


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


def model_path(path: str | os.PathLike) -> Path:
    """Return the `.keras` file of a model.

    Args:
        path: A `.keras` file, or a run folder.

    Raises:
        ValueError: If there is no such file.
    """
    path = Path(path)
    found = path / MODEL if path.is_dir() else path
    if not found.is_file():
        raise ValueError(
            f"Expected a .keras file, or a run folder that holds {MODEL}. "
            f"Received: {path}, but there is no {found}"
        )
    return found


def load_model(path: str | os.PathLike, dtype: str | None = None) -> DiffusionModel:
    """Load a trained model, without its optimiser.

    Args:
        path: A `.keras` file, or a run folder.
        dtype: Dtype policy to convert the network to, such as "mixed_bfloat16". None keeps the
            policy that the model was saved with.

    Raises:
        ValueError: If there is no such file, if it is corrupt, or if it holds another model.
    """
    file = model_path(path)
    try:
        model = keras.saving.load_model(file, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected a .keras file of a kddim model. Received: {file}, which cannot be "
            f"loaded ({reason_of(error)})"
        ) from error
    if not isinstance(model, DiffusionModel):
        raise ValueError(
            f"Expected a kddim.DiffusionModel. Received: a {type(model).__name__} in {file}"
        )
    return model if dtype is None else with_dtype(model, dtype)


def with_dtype(model: DiffusionModel, dtype: str) -> DiffusionModel:
    """Return a model whose residual UNet computes with another dtype policy.

    Args:
        model: The model. It is returned as it is if it has the policy already, or if its network
            was passed as `network=`, because such a network keeps its own policy.
        dtype: Dtype policy, such as "float32" or "mixed_bfloat16".
    """
    config = model.get_config()
    if config["dtype"] is None:
        log.warning("the model has a custom network, which keeps its precision: no %s", dtype)
    if config["dtype"] in (None, dtype):
        return model
    converted = type(model).from_config(config | {"dtype": dtype})
    converted.set_weights(model.get_weights())
    return converted


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Return the content of `config.json` beside a model, empty if it cannot be read."""
    content = read_json(model_path(path).with_name(CONFIG))
    return content if isinstance(content, dict) else {}


def loading_of(path: str | os.PathLike) -> dict[str, Any]:
    """Return how a run split its data, as arguments of `kddim.evaluation.make_reference`."""
    training = read_config(path).get("training", {})
    return {
        "validation_split": training.get("validation_split", 0.2),
        "limit": training.get("limit"),
        "data_seed": training.get("seed", 0),
    }


def describe(path: str | os.PathLike) -> dict[str, str]:
    """Return a description of a model, and of its training if it is in a run folder.

    Args:
        path: A `.keras` file, or a run folder. The folder of a run that was stopped early holds
            no model yet.

    Returns:
        Lines of text by name.

    Raises:
        ValueError: If the model cannot be loaded.
    """
    run = run_state.read_run(path) if run_state.is_run(path) else None
    found = run_state.describe_state(run) if run else {}
    if run and not (run.folder / MODEL).exists():
        found["file"] = f"no {MODEL} yet"
        return found | _describe_training(run.config)
    return found | _describe_model(path) | _describe_training(read_config(path))


def _describe_model(path: str | os.PathLike) -> dict[str, str]:
    file, model = model_path(path), load_model(path)
    height, width, channels = model.image_shape
    mean = np.asarray(model.normalizer.adapt_mean)
    deviation = np.sqrt(np.asarray(model.normalizer.adapt_variance))
    network = f"residual UNet, widths {model.widths}, block depth {model.block_depth}"
    if model.has_custom_network:
        network = f"custom: {describe_network(model.network)}"
    return {
        "file": f"{file} ({file.stat().st_size / 1e6:.1f} MB)",
        "images": f"{height}x{width}, {channels} channels",
        "network": network,
        "parameters": f"{model.network.count_params():,}",
        "schedule": str(model.schedule),
        "prediction type": model.prediction_type,
        "EMA": f"decay {model.ema}, {int(model.ema_steps)} training steps",
        "data mean": np.array2string(mean, precision=4),
        "data std": np.array2string(deviation, precision=4),
    }


def _describe_training(config: dict[str, Any]) -> dict[str, str]:
    """Return the lines of a run's settings, KID and versions. What is no dictionary is left out."""
    parts = ("training", "training"), ("kid", "KID"), ("versions", "version")
    found: dict[str, str] = {}
    for name, label in parts:
        content = config.get(name)
        if isinstance(content, dict):
            found |= {f"{label} {key}": str(value) for key, value in content.items()}
        if name == "kid" and content:
            found["KID best epoch"] = str(config.get("best_epoch"))
    return found
