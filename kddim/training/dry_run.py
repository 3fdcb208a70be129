"""Dry run: size, memory and time of a training run before it starts."""

import dataclasses
import math
import time
from typing import Any

import keras

from kddim import data
from kddim.budget import free_memory, size_in_words
from kddim.callbacks import KIDCallback
from kddim.data import ImageDataset
from kddim.model import DiffusionModel
from kddim.progress import duration
from kddim.settings import text_of
from kddim.training.build import build_model, kid_callback
from kddim.training.config import ResolvedConfig, TrainingConfig
from kddim.training.estimate import network_cost, training_memory
from kddim.training.starting import take_over

_TIMED_STEPS = 2  # after a first one, which compiles
_GRID = 18 * 20  # images and steps of a grid of samples
_SMALL_KID = 64  # images of the KID that is timed


def describe_run(config: TrainingConfig) -> dict[str, Any]:
    """Return size, memory and time of a run. Nothing is written, and no model is kept.

    The images are loaded and the model is built as in a run. Two training steps, two
    validation steps and a small KID are timed, each after a first one that compiles. If the
    estimated memory is more than the free memory and there is no accelerator, nothing is
    timed.

    Args:
        config: Settings of the run.

    Returns:
        JSON values: `settings`, `training_images`, `validation_images`, `image_shape`,
        `parameters`, `multiply_adds` (of the network per image), `memory` (bytes by part),
        `free_memory`, `accelerator` (true if the model is not on a CPU), `steps_per_epoch`,
        and `seconds` (None, or the times of `describe_times`).

    Raises:
        ValueError: If a setting or the data cannot be used.
    """
    resolved = take_over(config).resolved()
    keras.utils.set_random_seed(resolved.seed % 2**32)
    train_data, validation_data = data.load(**resolved.arguments_of(data.load))
    resolved = dataclasses.replace(resolved, channels=train_data.images.shape[3])
    model = build_model(resolved, train_data)
    cost, dtype = network_cost(resolved), keras.config.dtype_policy().name
    memory, free = training_memory(resolved, dtype), free_memory()
    found = {
        "settings": vars(resolved) | {"dtype": dtype, "backend": keras.backend.backend()},
        "training_images": len(train_data.images),
        "validation_images": len(validation_data.images),
        "image_shape": list(train_data.images.shape[1:]),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "memory": memory | {"total": sum(memory.values())},
        "free_memory": free,
        "accelerator": _on_accelerator(model),
        "steps_per_epoch": len(train_data),
        "seconds": None,
    }
    if found["accelerator"] or sum(memory.values()) <= free:
        found["seconds"] = describe_times(model, resolved, train_data, validation_data)
    return found


def describe_times(
    model: DiffusionModel,
    config: ResolvedConfig,
    train_data: ImageDataset,
    validation_data: ImageDataset,
) -> dict[str, float]:
    """Measure the parts of a run, and return their times in seconds.

    Args:
        model: Model of the run. It is trained by a few steps.
        config: Settings of the run, with `channels`.
        train_data: Training images.
        validation_data: Validation images.

    Returns:
        `compilation` (of the training step), `step`, `validation_step`, `kid` (one
        measurement; 0 without KID), `grid` (one grid of samples, from the time of a validation
        step), `training`, `validation`, `kids` and `grids` (of the whole run), and `total`.
    """
    compilation, step = _time_steps(model, config, train_data, training=True)
    _, validation_step = _time_steps(model, config, train_data, training=False)
    kid = _time_kid(model, kid_callback(config, validation_data, verbose=0), config)
    grid = _GRID * validation_step / config.batch_size
    measured = math.ceil(config.epochs / config.every)
    parts = {
        "training": compilation + step * len(train_data) * config.epochs,
        "validation": validation_step * len(validation_data) * config.epochs,
        "kids": kid * measured,
        "grids": grid * (measured + (config.every > 1)),
    }
    times = {"compilation": compilation, "step": step, "validation_step": validation_step}
    return times | {"kid": kid, "grid": grid} | parts | {"total": sum(parts.values())}


def lines_of(description: dict[str, Any]) -> dict[str, str]:
    """Return a description by `describe_run` in words, by name.

    Args:
        description: What `describe_run` returned.
    """
    found, memory = description, description["memory"]
    shape = "x".join(map(str, found["image_shape"]))
    parts = ", ".join(f"{k} {size_in_words(v)}" for k, v in memory.items() if k != "total")
    on = "the host; the accelerator has its own" if found["accelerator"] else "this machine"
    lines = {name: text_of(name, value) for name, value in found["settings"].items()}
    lines |= {
        "training images": f"{found['training_images']:,} of {shape}",
        "validation images": f"{found['validation_images']:,}",
        "parameters": f"{found['parameters']:,}",
        "operations per image": f"{found['multiply_adds']:,} multiply-adds (forward pass)",
        "memory of a step": f"about {size_in_words(memory['total'])} ({parts})",
        "free memory": f"{size_in_words(found['free_memory'])} of {on}",
        "steps": f"{found['steps_per_epoch']:,} per epoch, {found['settings']['epochs']:,} epochs",
    }
    return lines | _lines_of_times(found)


def _lines_of_times(found: dict[str, Any]) -> dict[str, str]:
    seconds, settings = found["seconds"], found["settings"]
    if seconds is None:
        return {"time": "not measured: a step needs more than the free memory"}
    parts = [(k, seconds[k]) for k in ("training", "validation", "kids", "grids")]
    names = {"kids": "KID", "grids": "sample grids"}
    told = ", ".join(f"{names.get(k, k)} {duration(s)}" for k, s in parts)
    limit = settings["max_minutes"]
    stop = f"; stops after {limit:g} minutes" if limit else ""
    compiled = duration(seconds["compilation"])
    step = f"{seconds['step']:.3g} s, the mean of {_TIMED_STEPS} steps"
    return {
        "time per step": f"{step} (after one that compiles in {compiled})",
        "time per KID": f"{seconds['kid']:.3g} s" if seconds["kid"] else "no KID",
        "total time": f"about {duration(seconds['total'])} ({told}){stop}",
        "left out": "loading of the images, files, checkpoints, and later compilation",
    }


class _Clock(keras.callbacks.Callback):
    """Times at which steps end, once their numbers are there."""

    def __init__(self):
        super().__init__()
        self.times = [time.perf_counter()]

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        float((logs or {}).get("loss", 0.0))  # waits for the device
        self.times.append(time.perf_counter())

    on_test_batch_end = on_train_batch_end


def _time_steps(
    model: DiffusionModel, config: ResolvedConfig, train_data: ImageDataset, training: bool
) -> tuple[float, float]:
    """Return the seconds of the first step, which compiles, and of a later one."""
    clock, steps = _Clock(), 1 + _TIMED_STEPS
    batches = ImageDataset(
        train_data.images,
        config.batch_size,
        labels=train_data.all_labels,
        training=True,
        steps_per_epoch=steps,
        flip=config.flip,
        seed=config.seed,
    )
    run = model.fit if training else model.evaluate
    run(batches, verbose=0, callbacks=[clock])
    start, first, *_, last = clock.times
    step = (last - first) / _TIMED_STEPS
    return max(0.0, first - start - step), step


def _time_kid(model: DiffusionModel, measure: KIDCallback | None, config: ResolvedConfig) -> float:
    """Return the seconds of one KID of the run, from a small one. 0 without KID."""
    if measure is None:
        return 0.0
    wanted, measure.num_images = measure.num_images, min(measure.num_images, _SMALL_KID)
    measure.set_model(model)
    measure.prepare(model.image_shape)
    for _ in range(2):
        start = time.perf_counter()
        measure.measure()
    seconds = (time.perf_counter() - start) * wanted / measure.num_images
    return min(seconds, config.kid_max_seconds or math.inf)


def _on_accelerator(model: DiffusionModel) -> bool:
    """Return True if the weights are on a GPU or TPU, which has memory of its own."""
    return "cpu" not in str(getattr(model.network.weights[0].value, "device", "cpu")).lower()
