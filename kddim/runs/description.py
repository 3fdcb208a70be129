"""Description of a model and of its training, as lines of text."""

import os
from typing import Any

import numpy as np

from kddim import run_state
from kddim.model import DiffusionModel
from kddim.model_files import describe_non_finite
from kddim.networks import describe_network
from kddim.runs.folder import MODEL, model_path
from kddim.runs.models import read_model
from kddim.runs.settings import read_config

_SHOWN_CLASSES = 12


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
        return found | describe_training(run.config)
    return found | _describe_model(path) | _describe_config(path)


def _describe_model(path: str | os.PathLike) -> dict[str, str]:
    file = model_path(path)
    return {"file": f"{file} ({file.stat().st_size / 1e6:.1f} MB)"} | model_lines(read_model(file))


def model_lines(model: DiffusionModel) -> dict[str, str]:
    """Return a description of a model, as lines of text by name."""
    height, width, channels = model.image_shape
    mean = np.asarray(model.normalizer.adapt_mean)
    with np.errstate(invalid="ignore"):
        deviation = np.sqrt(np.asarray(model.normalizer.adapt_variance))
    network = f"residual UNet, widths {model.widths}, block depth {model.block_depth}"
    if model.has_custom_network:
        network = f"custom: {describe_network(model.network)}"
    found = {
        "images": f"{height}x{width}, {channels} channels",
        "network": network,
        "parameters": f"{model.network.count_params():,}",
        "schedule": str(model.schedule),
        "prediction type": model.prediction_type,
    } | _class_lines(model)
    found |= {
        "EMA": f"decay {model.ema}, {int(model.ema_steps)} training steps",
        "data mean": np.array2string(mean, precision=4),
        "data std": np.array2string(deviation, precision=4),
    }
    if model.gaussian is not None:
        blocks = "x".join(map(str, model.gaussian.mean.shape[:2]))
        number = len(model.gaussian.components)
        found["data Gaussian"] = f"mean and {number} components of {blocks} blocks"
    if model.tuned_samplers:
        found["tuned for"] = f"{', '.join(map(str, sorted(model.tuned_samplers)))} steps"
    if words := describe_non_finite(model):
        found["unusable"] = f"{words} are NaN or infinite: the training has diverged"
    return found


def _class_lines(model: DiffusionModel) -> dict[str, str]:
    """Return the classes of a model as a line of text, if it has any."""
    if model.num_classes is None:
        return {}
    names = model.class_names or [f"0 to {model.num_classes - 1}"]
    shown = ", ".join(names[:_SHOWN_CLASSES]) + (" ..." if len(names) > _SHOWN_CLASSES else "")
    return {"classes": f"{model.num_classes}: {shown}"}


def _describe_config(path: str | os.PathLike) -> dict[str, str]:
    """Return the settings, the KID and the versions of a run, as lines of text by name."""
    try:
        return describe_training(read_config(path) or {})
    except ValueError as error:
        return {"run": str(error)}


def describe_training(config: dict[str, Any]) -> dict[str, str]:
    """Return the lines of a run's settings, KID and versions. What is no dictionary is left out.

    Args:
        config: Content of `config.json`.
    """
    parts = (
        ("training", "training"),
        ("kid", "KID"),
        ("average", "average"),
        ("versions", "version"),
    )
    found: dict[str, str] = {}
    for name, label in parts:
        content = config.get(name)
        if isinstance(content, dict):
            found |= {f"{label} {key}": str(value) for key, value in content.items()}
        if name == "kid" and content:
            found["KID best epoch"] = str(config.get("best_epoch"))
    return found
