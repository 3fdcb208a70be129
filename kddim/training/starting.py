"""Start of a run from the weights of another model: `kddim train --init`.

The network, its average and the settings of the network are those of the other model. The
normaliser is adapted to the images of the run, as in every run: the network expects images of
mean 0 and variance 1, whatever their pixels.
"""

import dataclasses
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kddim import presets, runs, schedules
from kddim.checks import check_count, check_image_size, is_integer, printable
from kddim.distillation import MOST_STEPS, PathDistillation
from kddim.model import DiffusionModel
from kddim.model_files import check_model_file, explained
from kddim.networks.residual_unet import residual_unet
from kddim.presets.catalogue import WEIGHTS, digest_of, read_config
from kddim.presets.loading import read_arguments, set_weights, weights_of
from kddim.presets.places import locate
from kddim.settings import Settings, text_of, validate
from kddim.training.config import TrainingConfig

_FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
# Settings of the network itself.
_NETWORK = tuple(n for n in inspect.signature(residual_unet).parameters if n in _FIELDS)

_SHARED = ("validation_split", "limit", "seed", "flip", "batch_size", "epochs", "steps_per_epoch", "repeats", "every")  # fmt: skip


def network_settings(init: str | os.PathLike, distilled: bool = False) -> dict[str, Any]:
    """Return the settings that a run must share with the model that it starts from.

    Args:
        init: Place of the model, as `kddim.presets.load_model` takes it.
        distilled: If true, the run teaches a model that predicts velocities where the other
            one predicts noises, because noises do not say what the image is at high noise.

    Returns:
        Values by name: the options of the network, `channels`, `schedule` and `prediction_type`.

    Raises:
        ValueError: If there is no such model, if it is damaged, or if no settings describe it.
    """
    arguments, training = _read(init)
    found = {name: _FIELDS[name].default for name in _NETWORK}
    if arguments.get("network") is not None:
        if not set(training) & set(_NETWORK):
            raise ValueError(
                "Expected a model whose network kddim train can build. Received: "
                f"{printable(init)}, with a network of its own and no settings beside it. Train "
                "it further in Python, with `DiffusionModel.from_preset` and `fit`."
            )
        found |= {name: training[name] for name in _NETWORK if name in training}
    else:
        found |= {name: arguments.get(name) for name in ("widths", "block_depth")}
    found |= {name: arguments.get(name) for name in ("image_size", "channels", "prediction_type")}
    found["labels"] = arguments.get("num_classes") is not None
    found["schedule"] = _schedule_name(init, arguments.get("schedule"))
    if distilled and found["prediction_type"] == "noise":
        found |= {"prediction_type": "velocity", "distill_from": "noise"}
    return validate(Settings, found, printable(init))


def settings_of_run(init: str | os.PathLike) -> dict[str, Any]:
    """Return the settings of a model's training that its distillation shares.

    Args:
        init: Place of the model.

    Returns:
        Values by name: what decides the split of the data, the batches and the epochs. Empty if
        nothing is known about the training.
    """
    training = _read(init)[1]
    names = [name for name in _SHARED if training.get(name) is not None]
    return validate(Settings, {name: training[name] for name in names}, printable(init))


def distilled_steps(model: str | os.PathLike) -> int:
    """Return the number of steps that a model was distilled for.

    Args:
        model: Place of the model, a run folder that `kddim distill` wrote or a file in it.

    Raises:
        ValueError: If there is no such model, or nothing says that it was distilled.
    """
    steps = _read(model)[1].get("distill_steps")
    if not is_integer(steps):
        raise ValueError(
            "Expected the run folder of a distilled model. Received: "
            f"{printable(model)}, whose settings have no distill_steps. Run: kddim distill"
        )
    return check_count("distill_steps", steps, 1, MOST_STEPS)


def check_agreement(
    init: str | os.PathLike, found: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Raise if settings contradict the model that a run starts from.

    Args:
        init: Place of the model.
        found: Settings of the model, as `network_settings` returns them.
        given: Settings that somebody chose, by name.

    Raises:
        ValueError: If one differs. The message names both.
    """
    for name in found:
        if name in given and _plain(name, given[name]) != _plain(name, found[name]):
            raise ValueError(
                f"Expected {name} {text_of(name, found[name])}, as of {printable(init)} (init). "
                f"Received: {name} {text_of(name, given[name])}. Leave out {name}, or init."
            )


def take_over(config: TrainingConfig) -> TrainingConfig:
    """Return settings with those of the model that a run starts from.

    Args:
        config: Settings. A value that is not the default counts as chosen.

    Raises:
        ValueError: If there is no such model, or if a chosen setting contradicts it.
    """
    if config.init is None:
        return config
    found = network_settings(config.init, config.distill_steps is not None)
    chosen = {n: getattr(config, n) for n in found if getattr(config, n) != _FIELDS[n].default}
    check_agreement(config.init, found, chosen)
    return dataclasses.replace(config, **found)


def initialise(model: DiffusionModel, init: str | os.PathLike) -> dict[str, str]:
    """Give a model the averaged weights of another one.

    Args:
        model: Model of a run, before its first step.
        init: Place of the other model. It also becomes the teacher of a distillation.

    Returns:
        `model`, the place, and `digest`, the SHA-256 hash of the file of weights.

    Raises:
        ValueError: If the other model cannot be loaded, or has another network.
    """
    other = presets.load_model(init)
    weights = weights_of(other).network
    try:
        set_weights(model, weights)
    except ValueError as error:
        raise ValueError(f"The weights of {printable(init)} do not fit the run. {error}") from error
    if isinstance(model.objective, PathDistillation):
        model.objective.teacher.set_weights(weights)
    if model.prediction_type != other.prediction_type:
        # Its last layer would begin with another quantity. It begins with zeros, as a new one.
        set_weights(model, [*weights[:-2], *(np.zeros_like(weight) for weight in weights[-2:])])
    return {"model": os.fspath(init), "digest": digest_of(_weights_file(init))}


def _read(init: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of a model, and the settings of its run, without its weights."""
    place = locate(init)
    if place.is_preset:
        return read_arguments(place.path), read_config(place.path)["training"]
    file = runs.model_path(place.path)
    with explained(file):
        arguments = check_model_file(file)
    return arguments, (runs.read_config(file) or {}).get("training", {})


def _weights_file(init: str | os.PathLike) -> Path:
    place = locate(init)
    return place.path / WEIGHTS if place.is_preset else runs.model_path(place.path)


def _schedule_name(init: Any, config: Any) -> str:
    """Return the name of a schedule that settings can choose."""
    schedule = schedules.get(config)
    for name in schedules.NAMES:
        if schedules.get(name) == schedule:
            return name
    raise ValueError(
        f"Expected a model with a schedule that kddim train has ({', '.join(schedules.NAMES)}). "
        f"Received: {printable(init)}, with {schedule}. Train it further in Python, with "
        "`DiffusionModel.from_preset` and `fit`."
    )


def _plain(name: str, value: Any) -> Any:
    if name == "image_size" and value is not None:
        return check_image_size(value)
    return tuple(value) if isinstance(value, list) else value
