"""Packing of a trained model into a preset's folder."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kddim import __version__, runs
from kddim.budget import size_in_words
from kddim.denoiser import Denoiser, override_of
from kddim.files import atomic_folder, check_output, write_json
from kddim.locks import output_lock
from kddim.model import DiffusionModel
from kddim.presets.card import Card, card_text
from kddim.presets.catalogue import (
    CARD,
    CONFIG,
    NETWORK,
    WEIGHTS,
    digest_of,
    is_preset,
    read_config,
    size_of,
)
from kddim.presets.loading import (
    ARGUMENTS,
    OPTIONAL,
    assemble,
    load_model,
    weights_of,
    with_precision,
)
from kddim.presets.places import locate
from kddim.presets.weights import Weights
from kddim.recipe import Recipe

FORMAT = 1
MOST_BYTES = 5_000_000  # of a preset's files together

# Settings of a run that say where it was computed, and nothing about the numbers.
_PLACES = ("source", "output", "encoder_weights", "init", "track", "tensorboard", "backend")
# An absolute path, or one at home, outside of an address. The group is its last part.
_PATH = re.compile(r"(?<![\w.:/~])~?/(?:[^\s,;()'\"/]+/)*([^\s,;()'\"/]+)/?")


def pack(
    model: DiffusionModel | str | os.PathLike,
    folder: str | os.PathLike,
    card: Card | None = None,
    *,
    sampler: Any = "ddim",
    diffusion_steps: int = 20,
    num_images: int = 16,
    overwrite: bool = False,
) -> Path:
    """Write the averaged weights of a model as a preset, as a whole or not at all.

    The folder receives `weights.npz` (kernels in float16, all else in float32), `config.json`,
    `card.md`, and `network.json` if the network is not the default one. It can be given to
    `DiffusionModel.from_preset` and to the command line. In the folder `kddim/presets` it is part
    of the package, under its name.

    `config.json` holds `model` (arguments of `DiffusionModel`), `sampling` (the sampler and the
    steps that are recommended), `training` (settings of the run), `parameters`, `half_precision`
    (the error of rounding), `card`, `digest` (SHA-256 of the weights) and `versions`. Settings
    that are places on a machine are left out, and texts have the last parts of absolute paths.

    Args:
        model: A trained model, or the place of one: a run folder, a `.keras` file or a preset.
        folder: Folder to write. Its name is the name of the preset.
        card: Facts for people. None leaves all of them open.
        sampler: Sampler that the error is measured with, and that is recommended.
        diffusion_steps: Number of steps, likewise.
        num_images: Number of images to measure the error of half precision with.
        overwrite: If true, a preset in `folder` is replaced.

    Returns:
        Path of the folder.

    Raises:
        ValueError: If the model overrides `denoise`, if its weights are not finite, if the files
            would have more than 5 MB, or if `folder` may not be written.
    """
    folder = check_output(folder, overwrite)
    if folder.exists() and any(folder.iterdir()) and not is_preset(folder):
        raise ValueError(f"Expected a preset to overwrite. Received: {folder}, which is none")
    packed, run = (model, {}) if isinstance(model, DiffusionModel) else _read(model)
    weights, recipe = _weights(packed), Recipe(sampler, diffusion_steps, None, 0, num_images)
    saved = packed.get_config()
    arguments = {name: saved[name] for name in ARGUMENTS}
    arguments |= {name: saved[name] for name in OPTIONAL if saved.get(name) is not None}
    config = {
        "format": FORMAT,
        "model": arguments,
        "sampling": {"sampler": str(recipe.sampler), "diffusion_steps": diffusion_steps},
        "training": _without_places(run.get("training") or {}),
        "parameters": packed.network.count_params(),
        "half_precision": measure_error(saved, weights, recipe, num_images),
        "card": _card(card or Card(), run),
        "versions": runs.versions() | {"kddim": __version__},
    }
    with output_lock(folder), atomic_folder(folder) as partial:
        weights.write(partial / WEIGHTS)
        if packed.has_custom_network:
            write_json(partial / NETWORK, saved["network"], indent=None)
        write_json(partial / CONFIG, config | {"digest": digest_of(partial / WEIGHTS)})
        (partial / CARD).write_text(card_text(folder.resolve().name, config), encoding="utf-8")
        _check_size(partial, packed)
    return folder


def measure_error(
    arguments: dict[str, Any], weights: Weights, recipe: Recipe, num_images: int
) -> dict[str, Any]:
    """Measure what rounding to half precision changes in generated images.

    Both sets of weights compute in float32, from the same noises.

    Args:
        arguments: Arguments of the model, serialised.
        weights: Weights in full precision.
        recipe: How the images are sampled.
        num_images: Number of images.

    Returns:
        `mean_pixel_error` and `largest_pixel_error`, of pixels in [0, 1], `weight_error` (the L2
        distance of all weights relative to their size), `images` and `diffusion_steps`.
    """
    rounded = weights.in_half_precision()
    model = assemble(DiffusionModel, arguments | with_precision(arguments, "float32"), weights)
    images = [model.generate(num_images, **recipe.options)]
    model.ema_network.set_weights(rounded.network)
    images.append(model.generate(num_images, **recipe.options))
    difference = np.abs(images[0].astype("float64") - images[1])
    pairs = list(zip(weights.network, rounded.network))
    apart = sum(float(np.sum((one.astype("float64") - other) ** 2)) for one, other in pairs)
    size = sum(float(np.sum(one.astype("float64") ** 2)) for one, _ in pairs)
    return {
        "mean_pixel_error": float(difference.mean()),
        "largest_pixel_error": float(difference.max()),
        "weight_error": float(np.sqrt(apart / size)) if size else 0.0,
        "images": num_images,
        "diffusion_steps": recipe.diffusion_steps,
    }


def _read(place: str | os.PathLike) -> tuple[DiffusionModel, Mapping[str, Any]]:
    """Return a model, and the content of `config.json` beside it, empty if there is none."""
    found = locate(place)
    config = read_config(found.path) if found.is_preset else runs.read_config(found.path)
    return load_model(place), config or {}


def _weights(model: DiffusionModel) -> Weights:
    if override_of(model, Denoiser.denoise):
        raise ValueError(
            "Expected a model with the built-in `denoise`. Received: one that overrides it, which "
            "a preset cannot hold. Save the model itself with `model.save`."
        )
    weights = weights_of(model)
    if not all(np.isfinite(w).all() for w in (*weights.network, weights.mean, weights.variance)):
        raise ValueError("Expected finite weights. Received: NaN or infinite ones. Did it diverge?")
    return weights


def _card(card: Card, run: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: getattr(card, name) for name in Card.__dataclass_fields__}
    if card.command is None:
        found["command"] = run.get("command")
    return _without_paths(found)


def _without_places(training: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in training.items() if name not in _PLACES}


def _without_paths(value: Any) -> Any:
    """Return JSON values whose texts have only the last parts of paths that belong to a machine."""
    if isinstance(value, str):
        return _PATH.sub(r"\1", value)
    if isinstance(value, Mapping):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_paths(item) for item in value]
    return value


def _check_size(folder: Path, model: DiffusionModel) -> None:
    size = size_of(folder)
    if size > MOST_BYTES:
        raise ValueError(
            f"Expected a preset of at most {size_in_words(MOST_BYTES)}. Received: "
            f"{size_in_words(size)}, for {model.network.count_params():,} parameters. Train a "
            "smaller network for a preset, or keep the model in a .keras file."
        )
