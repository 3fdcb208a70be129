"""Models of presets, run folders and files, ready to generate and to train."""

import logging
import math
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim import runs
from kddim.budget import check_memory, size_in_words
from kddim.checks import reason_of
from kddim.model import DiffusionModel
from kddim.model_files import network_bytes
from kddim.networks.precision import with_policy
from kddim.presets import catalogue
from kddim.presets.catalogue import NETWORK, WEIGHTS, read_config, read_table
from kddim.presets.places import Place, locate
from kddim.presets.weights import Weights, read_shapes, read_weights

log = logging.getLogger("kddim")

# Arguments of `DiffusionModel` that a preset holds. `network` is in a file of its own.
OPTIONAL = ("tuned_samplers", "num_classes", "class_names", "gaussian")  # that not all presets have
ARGUMENTS = (
    "image_size", "widths", "block_depth", "channels", "schedule", "prediction_type", "loss_type",
    "ema",
)  # fmt: skip
_OPTIONS = ("ema", "loss_type", "remat", "seed", "name")
_BYTES = 4  # of a float32 value


def load_model(model: str | os.PathLike, dtype: str | None = None) -> DiffusionModel:
    """Load a trained model as it was saved.

    Args:
        model: Name of a preset, path of a preset's folder, of a run folder or of a `.keras` file,
            or address `hf://user/repo`.
        dtype: Dtype policy of the network. None is Keras' global policy for a preset, and the
            saved policy for a run or a file.

    Raises:
        ValueError: If there is no such model, if it is damaged or claims absurd sizes, or if one
            of its values is not finite.
    """
    place = find(model)
    return load_preset(place.path, dtype) if place.is_preset else runs.load_model(place.path, dtype)


def find(model: str | os.PathLike) -> Place:
    """Return where a model is, and log a line if a path and a preset have the same name."""
    place = locate(model)
    if place.remark:
        log.info("note: %s", place.remark)
    return place


def from_preset(
    kind: type[DiffusionModel], preset: str | os.PathLike, dtype: Any = None, **options: Any
) -> DiffusionModel:
    """Return a trained model that starts anew: `DiffusionModel.from_preset`.

    Args:
        kind: Class of the model. A file may hold a subclass of it.
        preset: Place of the model, as for `load_model`.
        dtype: Dtype policy of the network, or None.
        **options: Arguments of the constructor that do not change the network.

    Raises:
        ValueError: If there is no such model, if it is damaged, or if an option is unknown.
    """
    if unknown := [name for name in options if name not in _OPTIONS]:
        raise ValueError(f"Expected options among {', '.join(_OPTIONS)}. Received: {unknown[0]!r}")
    place = find(preset)
    if place.is_preset:
        return load_preset(place.path, dtype, kind, options)
    saved = runs.load_model(place.path)
    config = {**saved.get_config(), **options}
    if dtype is not None:
        config |= with_precision(config, keras.dtype_policies.get(dtype).name)
    kind = type(saved) if issubclass(type(saved), kind) else kind
    return assemble(kind, config, weights_of(saved))


def load_preset(
    folder: Path,
    dtype: Any = None,
    kind: type[DiffusionModel] = DiffusionModel,
    options: dict[str, Any] | None = None,
) -> DiffusionModel:
    """Load the preset in a folder. Nothing in the folder is run as code.

    Args:
        folder: Folder of the preset.
        dtype: Dtype policy of the network. None is Keras' global policy.
        kind: Class of the model.
        options: Other arguments of its constructor.

    Raises:
        ValueError: If the preset is damaged, claims sizes that it does not hold or that do not
            fit in the free memory, or has values that are not finite.
    """
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy()).name
    try:
        config = read_arguments(folder)
        shapes = read_shapes(folder / WEIGHTS)
        _check_sizes(config, shapes)
        config |= with_precision(config, policy)
        return assemble(kind, {**config, **(options or {})}, read_weights(folder / WEIGHTS))
    except Exception as error:  # damaged files make Keras raise anything
        raise ValueError(
            f"Expected a preset of kddim. Received: {folder}, which cannot be loaded "
            f"({reason_of(error)})"
        ) from error


def read_arguments(folder: Path) -> dict[str, Any]:
    """Return the arguments of a preset's model, serialised, without reading its weights.

    Args:
        folder: Folder of the preset.

    Raises:
        ValueError: If a file is damaged, or an argument is missing.
    """
    model = read_config(folder)["model"]
    if missing := [name for name in ARGUMENTS if name not in model]:
        raise ValueError(f"its {catalogue.CONFIG} lacks {', '.join(missing)}")
    config = {name: model[name] for name in (*ARGUMENTS, *OPTIONAL) if name in model}
    file = folder / NETWORK
    return config | {"network": read_table(file) if file.is_file() else None}


def with_precision(config: dict[str, Any], policy: str) -> dict[str, Any]:
    """Return the arguments that give a model another precision.

    Args:
        config: Arguments of the model, serialised.
        policy: Name of a dtype policy.
    """
    if config.get("network") is None:
        return {"dtype": policy}
    return {"network": with_policy(config["network"], policy)}


def in_precision(model: DiffusionModel, policy: str) -> DiffusionModel:
    """Return a copy of a model with the averaged weights, which computes in another precision.

    Args:
        model: The model. It stays as it is.
        policy: Name of a dtype policy, such as "mixed_bfloat16".
    """
    config = model.get_config()
    return assemble(type(model), {**config, **with_precision(config, policy)}, weights_of(model))


def weights_of(model: DiffusionModel) -> Weights:
    """Return the averaged weights of a model, and the statistics of its normaliser."""
    statistics = (model.normalizer.adapt_mean, model.normalizer.adapt_variance)
    mean, variance = (np.asarray(keras.ops.convert_to_numpy(v)) for v in statistics)
    return Weights([np.asarray(w) for w in model.ema_network.get_weights()], mean, variance)


def assemble(
    kind: type[DiffusionModel], config: dict[str, Any], weights: Weights
) -> DiffusionModel:
    """Return a compiled model whose network and average both have the given weights.

    Args:
        kind: Class of the model.
        config: Arguments of its constructor, serialised.
        weights: Weights and statistics.

    Raises:
        ValueError: If the weights are those of another network.
    """
    model = kind.from_config(config)
    set_weights(model, weights.network)
    statistics = (weights.mean, weights.variance)
    for variable, value in zip((model.normalizer.adapt_mean, model.normalizer.adapt_variance), statistics):  # fmt: skip
        variable.assign(value)
    model.normalizer.count.assign(1)
    model.normalizer.finalize_state()
    model.compile()
    return model


def set_weights(model: DiffusionModel, weights: Any) -> None:
    """Give a model's network and its average the same weights.

    Args:
        model: The model.
        weights: Arrays in the order of `model.network.get_weights()`.

    Raises:
        ValueError: If they are those of another network. Nothing is set then.
    """
    wanted = [tuple(weight.shape) for weight in model.network.weights]
    found = [tuple(weight.shape) for weight in weights]
    if len(wanted) != len(found):
        raise ValueError(f"Expected {len(wanted)} weights. Received: {len(found)}")
    if differing := [pair for pair in zip(wanted, found) if pair[0] != pair[1]]:
        one, other = differing[0]
        raise ValueError(f"Expected a weight of shape {one}. Received: one of shape {other}")
    for network in (model.network, model.ema_network):
        network.set_weights(weights)


def _check_sizes(config: dict[str, Any], shapes: list[tuple[int, ...]]) -> None:
    """Raise if a network is claimed that is larger than its weights, or than the memory."""
    held = _BYTES * sum(math.prod(shape) for shape in shapes)
    needed = network_bytes(config)
    if needed > held:
        raise ValueError(
            f"a network of {size_in_words(needed)} is claimed, and the file holds weights of "
            f"{size_in_words(held)}"
        )
    check_memory(3 * held, "two networks and their weights")


def loading_of(model: str | os.PathLike) -> dict[str, Any]:
    """Return how the data of a model was split, as `kddim.runs.loading_of` does.

    Args:
        model: Place of the model, as for `load_model`.

    Raises:
        ValueError: If the settings of its run are damaged.
    """
    place = locate(model)
    if not place.is_preset:
        return runs.loading_of(place.path)
    return runs.loading_from(read_config(place.path)["training"], place.path / catalogue.CONFIG)
