"""Training from a source of images to a run folder."""

import dataclasses
import logging
import math
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim import callbacks, data, runs
from kddim.data import ImageDataset
from kddim.files import write_json
from kddim.metrics import encoders
from kddim.model import DiffusionModel
from kddim.networks.residual_unet import residual_unet
from kddim.training.config import ResolvedConfig, TrainingConfig
from kddim.training.config_file import run_config

log = logging.getLogger("kddim")


def train(
    config: TrainingConfig,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
    verbose: int | str = "auto",
    command: str | None = None,
) -> Path:
    """Train a model, and write a run folder.

    Args:
        config: Settings of the run.
        output: Run folder. It receives `model.keras` (the model with the best KID, or the last
            one), `config.json`, `history.csv`, `history.png`, `samples/epoch_0001.png` and so
            on.
        overwrite: If true, `output` may be an earlier run, which is replaced.
        verbose: Verbosity of `keras.Model.fit`.
        command: Command line as it was typed, for `config.json`. None for a run from Python.

    Returns:
        Path of the run folder.

    Raises:
        ValueError: If a setting, the data or the output cannot be used. Nothing is written then.
            If the loss is not finite. The run folder then holds the best model before.

    Example:
        >>> train(TrainingConfig("digits", epochs=20), "runs/digits")
    """
    output = runs.check_run_output(output, overwrite)
    resolved = config.resolved()
    keras.utils.set_random_seed(resolved.seed % 2**32)
    train_data, validation_data = data.load(**resolved.arguments_of(data.load))
    resolved = dataclasses.replace(resolved, channels=train_data.images.shape[3])
    model = build_model(resolved, train_data.images)
    log.info(
        "%s: %d training and %d validation images of %s; %s parameters",
        *(resolved.source, len(train_data.images), len(validation_data.images)),
        *(_size(model), f"{model.network.count_params():,}"),
    )
    measure = kid_callback(resolved, validation_data, verbose)
    if measure:
        measure.prepare(model.image_shape)

    _remove_earlier_run(output)
    history = callbacks.HistoryCallback(output, title=_title(resolved, model, measure))
    best = callbacks.BestModelCallback(
        output / runs.MODEL, monitor="val_kid" if measure else None, every=resolved.every
    )
    content = run_config(resolved, model, train_data, validation_data, command)
    _write_config(output, content | {"kid": None})
    try:
        model.fit(
            train_data,
            epochs=resolved.epochs,
            validation_data=validation_data,
            verbose=verbose,
            callbacks=[*_callbacks(resolved, output, measure), best, history],
        )
    finally:
        kid = measure and measure.protocol | {"best": best.best}
        _write_config(output, content | {"kid": kid, "best_epoch": best.best_epoch})
    if history.rows and not math.isfinite(history.rows[-1]["loss"]):
        raise ValueError(
            f"Expected a finite loss. Received: NaN in epoch {len(history.rows)}. Use a smaller "
            f"learning rate. {output} holds the epochs before."
        )
    return output


def build_model(config: ResolvedConfig, images: np.ndarray) -> DiffusionModel:
    """Return the compiled model of a run, adapted to its training images.

    Args:
        config: Settings of the run, with `channels`.
        images: Training images.
    """
    network = None
    if config.attention_levels or config.normalization != "batch":
        # `DiffusionModel` has no such options.
        network = residual_unet(**config.arguments_of(residual_unet))
    model = DiffusionModel(**config.arguments_of(DiffusionModel.__init__), network=network)
    model.normalizer.adapt(ImageDataset(images, 256))
    model.compile(
        optimizer=keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay)
    )
    return model


def _callbacks(
    config: ResolvedConfig, output: Path, measure: callbacks.KIDCallback | None
) -> list[keras.callbacks.Callback]:
    """Return the callbacks before those that save. The ones that may end training come first."""
    found: list[keras.callbacks.Callback] = [keras.callbacks.TerminateOnNaN()]
    if config.max_minutes:
        found.append(callbacks.TimeLimitCallback(60.0 * config.max_minutes))
    if measure:
        found.append(measure)
    return [*found, callbacks.ImageGridCallback(output / runs.SAMPLES, every=config.every)]


def kid_callback(
    config: ResolvedConfig, validation_data: ImageDataset, verbose: int | str
) -> callbacks.KIDCallback | None:
    """Return the callback that measures the KID of a run, or None if it has none.

    Args:
        config: Settings of the run.
        validation_data: Validation images.
        verbose: Verbosity of training.
    """
    if config.kid_encoder == "none":
        return None
    return callbacks.KIDCallback(
        validation_data,
        encoders.get(config.kid_encoder, weights=config.encoder_weights),
        num_images=config.kid_images,
        diffusion_steps=config.kid_steps,
        every=config.every,
        max_seconds=config.kid_max_seconds,
        batch_size=config.batch_size,
        seed=config.seed,
        verbose=int(bool(verbose)),
    )


def _remove_earlier_run(output: Path) -> None:
    """Remove the files of an earlier run, and no others, so that two runs do not mix."""
    pictures = f"{runs.SAMPLES}/epoch_*.png"
    for pattern in (runs.MODEL, runs.CONFIG, "history.csv", "history.png", pictures):
        for path in output.glob(pattern):
            path.unlink()


def _write_config(output: Path, content: dict[str, Any]) -> None:
    write_json(output / runs.CONFIG, content)


def _title(
    config: ResolvedConfig, model: DiffusionModel, measure: callbacks.KIDCallback | None
) -> str:
    title = f"{Path(config.source).name}, {_size(model)}"
    if measure is None:
        return title
    encoder, steps = measure.encoder.description, measure.diffusion_steps
    return f"{title} (KID: {encoder}, {measure.num_images} images, {steps} steps)"


def _size(model: DiffusionModel) -> str:
    return "x".join(map(str, model.image_shape))
