"""Training from a source of images to a run folder."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim import callbacks, data, runs
from kddim.callbacks.health import BAD_BATCH
from kddim.data import ImageDataset
from kddim.files import write_json
from kddim.metrics import encoders
from kddim.model import DiffusionModel
from kddim.networks.residual_unet import residual_unet
from kddim.training.config import ResolvedConfig, TrainingConfig

log = logging.getLogger("kddim")


def train(
    config: TrainingConfig,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
    verbose: int | str = "auto",
) -> Path:
    """Train a model, and write a run folder.

    Args:
        config: Settings of the run.
        output: Run folder. It receives `model.keras` (the model with the best KID, or the last
            one), `config.json`, `history.csv`, `history.png`, `samples/epoch_0001.png` and so
            on.
        overwrite: If true, `output` may be an earlier run, which is replaced.
        verbose: 0 is silent. Any other value shows the progress of training.

    Returns:
        Path of the run folder.

    Raises:
        ValueError: If a setting, the data or the output cannot be used. Nothing is written then.
            If training diverges (`kddim.callbacks.DivergenceError`). A best model of earlier
            epochs stays in the run folder then.

    Example:
        >>> train(TrainingConfig("digits", epochs=20), "runs/digits")
    """
    output = runs.check_run_output(output, overwrite)
    resolved = config.resolved()
    keras.utils.set_random_seed(resolved.seed % 2**32)
    train_data, validation_data = data.load(**resolved.arguments_of(data.load))
    resolved = dataclasses.replace(resolved, channels=train_data.images.shape[3])
    model = _build(resolved, train_data.images)
    log.info(
        "%s: %d training and %d validation images of %s; %s parameters",
        *(resolved.source, len(train_data.images), len(validation_data.images)),
        *(_size(model), f"{model.network.count_params():,}"),
    )
    measure = _kid_callback(resolved, validation_data, verbose)
    if measure:
        measure.prepare(model.image_shape)

    _remove_earlier_run(output)
    history = callbacks.HistoryCallback(output, title=_title(resolved, model, measure))
    best = callbacks.BestModelCallback(
        output / runs.MODEL, monitor="val_kid" if measure else None, every=resolved.every
    )
    _write_config(output, resolved, model, {"kid": None})
    try:
        model.fit(
            train_data,
            epochs=resolved.epochs,
            validation_data=validation_data,
            verbose=0,
            callbacks=[
                *_callbacks(resolved, output, measure),
                best,
                history,
                *_progress(resolved, verbose),
            ],
        )
    finally:
        kid = measure and measure.protocol | {"best": best.best}
        _write_config(output, resolved, model, {"kid": kid, "best_epoch": best.best_epoch})
    return output


def _build(config: ResolvedConfig, images: np.ndarray) -> DiffusionModel:
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
    found: list[keras.callbacks.Callback] = []
    if config.max_minutes:
        found.append(callbacks.TimeLimitCallback(60.0 * config.max_minutes))
    if measure:
        found.append(measure)
    found.append(callbacks.HealthCallback(output))
    return [*found, callbacks.ImageGridCallback(output / runs.SAMPLES, every=config.every)]


def _progress(config: ResolvedConfig, verbose: int | str) -> list[keras.callbacks.Callback]:
    limit = None if config.max_minutes is None else 60.0 * config.max_minutes
    return [callbacks.TrainingProgress(config.batch_size, limit)] if verbose else []


def _kid_callback(
    config: ResolvedConfig, validation_data: ImageDataset, verbose: int | str
) -> callbacks.KIDCallback | None:
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
    for pattern in (runs.MODEL, runs.CONFIG, "history.csv", "history.png", BAD_BATCH, pictures):
        for path in output.glob(pattern):
            path.unlink()


def _write_config(
    output: Path, config: ResolvedConfig, model: DiffusionModel, found: dict[str, Any]
) -> None:
    content = {
        "training": vars(config) | {"dtype": keras.config.dtype_policy().name},
        "parameters": model.network.count_params(),
    }
    write_json(output / runs.CONFIG, content | found | {"versions": runs.versions()})


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
