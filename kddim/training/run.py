"""Training from a source of images to a run folder: what `kddim train` calls."""

import dataclasses
import logging
import math
import os
from pathlib import Path
from typing import Any

import keras

from kddim import callbacks, data, runs
from kddim.data.dataset import ImageDataset
from kddim.files import write_json
from kddim.metrics import encoders
from kddim.model import DiffusionModel
from kddim.networks.residual_unet import residual_unet
from kddim.training.config import TrainingConfig

log = logging.getLogger("kddim")


def train(
    config: TrainingConfig,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
    verbose: int | str = "auto",
) -> Path:
    """Trains a model and leaves a run folder.

    Args:
        config: see `TrainingConfig`.
        output: the run folder: `model.keras` (best by KID, or the last), `config.json`,
            `history.csv`, `history.png`, `samples/epoch_0001.png` ...
        overwrite: allows `output` to be an earlier run, which is then replaced.
        verbose: as in `keras.Model.fit`.

    Returns:
        The run folder.

    Raises:
        ValueError: an option, the data or the output cannot be used; then nothing was
            written. Or the loss became NaN; then the run holds the best model before.
    """
    output = runs.check_run_output(output, overwrite)
    config = config.resolved()
    keras.utils.set_random_seed(config.seed % 2**32)
    train_data, validation_data = _load(config)
    model = _build(config, train_data)
    measure = _kid_callback(config, validation_data, verbose)
    if measure:
        measure.prepare(model.image_shape)
    _announce(config, model, train_data, validation_data)

    output.mkdir(parents=True, exist_ok=True)
    _remove_earlier_run(output)
    history = callbacks.HistoryCallback(output, title=_title(config, model, measure))
    best = callbacks.BestModelCallback(
        output / runs.MODEL, monitor="val_kid" if measure else None, every=config.every or 1
    )
    _write_config(output, config, model, {"kid": None})
    try:
        model.fit(
            train_data,
            epochs=config.epochs,
            validation_data=validation_data,
            verbose=verbose,
            callbacks=[*_callbacks(config, output, measure), best, history],
        )
    finally:
        kid = measure and measure.protocol | {"best": best.best}
        _write_config(output, config, model, {"kid": kid, "best_epoch": best.best_epoch})
    if history.rows and not math.isfinite(history.rows[-1]["loss"]):
        raise ValueError(
            f"Expected a finite loss. Received: NaN in epoch {len(history.rows)}. Use a smaller "
            f"learning rate. {output} holds what was measured before."
        )
    return output


def _load(config: TrainingConfig) -> tuple[ImageDataset, ImageDataset]:
    train_data, validation_data = data.load(
        config.source,
        config.image_size or 64,
        config.batch_size,
        channels=config.channels,
        validation_split=config.validation_split,
        repeats=config.repeats or 1,
        flip=config.flip,
        limit=config.limit,
        seed=config.seed,
    )
    if config.steps_per_epoch is not None:
        train_data = ImageDataset(
            train_data.images,
            config.batch_size,
            training=True,
            steps_per_epoch=config.steps_per_epoch,
            flip=config.flip,
            seed=config.seed,
        )
    log.info(
        "%d training and %d validation images", len(train_data.images), len(validation_data.images)
    )
    return train_data, validation_data


def _build(config: TrainingConfig, train_data: ImageDataset) -> DiffusionModel:
    model = DiffusionModel(
        train_data.images.shape[1:3],
        config.widths or (),
        config.block_depth,
        channels=train_data.images.shape[3],
        schedule=config.schedule,
        prediction_type=config.prediction_type,
        loss_type=config.loss_type,
        remat=config.remat,
        ema=config.ema,
        network=_network(config, train_data.images.shape[1:]),
        seed=config.seed,
    )
    model.normalizer.adapt(ImageDataset(train_data.images, 256))
    model.compile(
        optimizer=keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay)
    )
    return model


def _network(config: TrainingConfig, image_shape: tuple[int, ...]) -> keras.Model | None:
    """The UNet with options that `DiffusionModel` does not take; None for its default."""
    if not config.attention_levels and config.normalization == "batch":
        return None
    return residual_unet(
        image_shape[:2],  # type: ignore[arg-type]
        config.widths or (),
        config.block_depth,
        channels=image_shape[2],
        attention_levels=config.attention_levels,
        normalization=config.normalization,
    )


def _callbacks(
    config: TrainingConfig, output: Path, measure: callbacks.KIDCallback | None
) -> list[keras.callbacks.Callback]:
    """In the order in which they need each other: first what may end the training."""
    found: list[keras.callbacks.Callback] = [keras.callbacks.TerminateOnNaN()]
    if config.max_minutes:
        found.append(callbacks.TimeLimitCallback(60.0 * config.max_minutes))
    if measure:
        found.append(measure)
    return [*found, callbacks.ImageGridCallback(output / runs.SAMPLES, every=config.every or 1)]


def _announce(
    config: TrainingConfig,
    model: DiffusionModel,
    train_data: ImageDataset,
    validation_data: ImageDataset,
) -> None:
    log.info(
        "%s: %d training and %d validation images of %s; %s parameters",
        config.source,
        len(train_data.images),
        len(validation_data.images),
        _size(model),
        f"{model.network.count_params():,}",
    )


def _kid_callback(
    config: TrainingConfig, validation_data: ImageDataset, verbose: int | str
) -> callbacks.KIDCallback | None:
    if config.kid_encoder == "none":
        return None
    return callbacks.KIDCallback(
        validation_data,
        encoders.get(config.kid_encoder, weights=config.encoder_weights),
        num_images=config.kid_images,
        diffusion_steps=config.kid_steps,
        every=config.every or 1,
        max_seconds=config.kid_max_seconds,
        batch_size=config.batch_size,
        seed=config.seed,
        verbose=int(bool(verbose)),
    )


def _remove_earlier_run(output: Path) -> None:
    """Removes the files of a run, and nothing else, so that no two runs mix."""
    for name in (runs.MODEL, runs.CONFIG, "history.csv", "history.png"):
        (output / name).unlink(missing_ok=True)
    for picture in (output / runs.SAMPLES).glob("epoch_*.png"):
        picture.unlink()


def _write_config(
    output: Path, config: TrainingConfig, model: DiffusionModel, found: dict[str, Any]
) -> None:
    content: dict[str, Any] = {"training": dataclasses.asdict(config)}
    content["training"]["channels"] = model.image_shape[2]
    content["training"]["dtype"] = keras.config.dtype_policy().name
    content["parameters"] = model.network.count_params()
    write_json(output / runs.CONFIG, content | found | {"versions": runs.versions()})


def _title(
    config: TrainingConfig, model: DiffusionModel, measure: callbacks.KIDCallback | None
) -> str:
    title = f"{Path(config.source).name}, {_size(model)}"
    if measure is None:
        return title
    encoder, steps = measure.encoder.description, measure.diffusion_steps
    return f"{title} (KID: {encoder}, {measure.num_images} images, {steps} steps)"


def _size(model: DiffusionModel) -> str:
    height, width, channels = model.image_shape
    return f"{height}x{width}x{channels}"
