"""Run folders: paths, models and settings of training runs."""

import logging
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim import run_state
from kddim.checks import is_integer
from kddim.files import check_output, read_json
from kddim.model import DiffusionModel
from kddim.model_files import check_model_file, describe_non_finite, explained
from kddim.networks import describe_network

log = logging.getLogger("kddim")

MODEL, CONFIG, SAMPLES, AVERAGES = "model.keras", "config.json", "samples", "averages"
EARLIER = ".earlier"  # a run that is being replaced, until the new one has a model
_SECTIONS = ("training", "kid", "versions")  # of config.json
_SHOWN_CLASSES = 12
_MOST_CONFIG = 2**24  # bytes of config.json


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
    begun = (path / CONFIG).is_file() or (path / EARLIER).is_dir()
    is_run = begun and not (path / run_state.PRESET).exists()
    # Hidden files are those of a run that was killed while it started.
    if path.exists() and (not path.is_dir() or (_holds_visible_files(path) and not is_run)):
        raise ValueError(
            f"Expected a run folder to overwrite (one that holds {CONFIG}). Received: {path}"
        )
    return path


def _holds_visible_files(folder: Path) -> bool:
    return any(not path.name.startswith(".") for path in folder.iterdir())


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
        ValueError: If there is no such file, if it is corrupt or claims absurd sizes, if it
            holds another model, or if one of its values is not finite.
    """
    model = read_model(path)
    words = describe_non_finite(model)
    if words:
        raise ValueError(
            f"Expected a model of finite values. Received: {model_path(path)}, in which {words} "
            "are NaN or infinite. Its training has diverged: use a model of an earlier epoch, or "
            "train again with a lower learning rate."
        )
    return model if dtype is None else with_dtype(model, dtype)


def read_model(path: str | os.PathLike) -> DiffusionModel:
    """Load a trained model as `load_model` does, even if its values are not finite.

    No code of the file is run.

    Args:
        path: A `.keras` file, or a run folder.

    Raises:
        ValueError: If there is no such file, if it is corrupt or claims absurd sizes, or if it
            holds another model.
    """
    file = model_path(path)
    with explained(file):
        check_model_file(file)
        return keras.saving.load_model(file, compile=False, safe_mode=True)


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
