"""Training from a source of images to a run folder: what `kddim train` calls."""

import dataclasses
import logging
import math
import os
from pathlib import Path
from typing import Any

import keras

from kddim import callbacks, data, ema, predictions, runs, schedules
from kddim.data.dataset import ImageDataset
from kddim.model import DiffusionModel
from kddim.networks.blocks import check_attention_levels, check_normalization
from kddim.networks.residual_unet import check_image_size, check_structure, residual_unet

log = logging.getLogger("kddim")


ENCODERS = ("auto", "inception_v3", "random_conv", "none")

# 8x8 images need fewer levels, and minutes instead of hours.
DIGITS_DEFAULTS: dict[str, Any] = {
    "image_size": 8,
    "widths": (32, 64, 96),
    "epochs": 100,
    "repeats": 1,
    "every": 10,
}
# The settings of the keras.io example.
EXAMPLE_DEFAULTS: dict[str, Any] = {
    "image_size": 64,
    "widths": (32, 64, 96, 128),
    "epochs": 50,
    "repeats": 5,
    "every": 1,
}


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a run. None takes the default of the source.

    Args:
        source: see `kddim.data.load`.
        image_size: side in pixels, or `(height, width)`; 8 for digits, else 64.
        channels: None keeps those of the data.
        widths: of the residual UNet; (32, 64, 96) for digits, else (32, 64, 96, 128).
        block_depth: of the residual UNet.
        attention_levels: of the residual UNet, from 0 (finest); see
            `kddim.networks.residual_unet`.
        normalization: of the residual UNet, "batch" or "group".
        batch_size: images a step.
        epochs: 100 for digits, else 50.
        steps_per_epoch: steps an epoch; None is `repeats` passes over the data.
        repeats: passes an epoch; 1 for digits, else the example's 5.
        max_minutes: training ends before an epoch that would exceed them; None has no
            limit.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        ema: decay of the averaged weights.
        schedule: name of a schedule.
        prediction_type: "noise", "image" or "velocity".
        flip: mirrors half of the training images.
        limit: uses at most so many images.
        validation_split: fraction held out.
        kid_encoder: "auto", "inception_v3", "random_conv" or "none".
        kid_images: images generated for each KID, and at most so many real ones.
        kid_steps: diffusion steps of them.
        every: epochs between KIDs and sample grids; 10 for digits, else 1.
        seed: of everything random.
    """

    source: str = "digits"
    image_size: int | tuple[int, int] | None = None
    channels: int | None = None
    widths: tuple[int, ...] | None = None
    block_depth: int = 2
    attention_levels: tuple[int, ...] = ()
    normalization: str = "batch"
    batch_size: int = 64
    epochs: int | None = None
    steps_per_epoch: int | None = None
    repeats: int | None = None
    max_minutes: float | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    ema: float = 0.999
    schedule: str = "cosine"
    prediction_type: str = "noise"
    flip: bool = False
    limit: int | None = None
    validation_split: float = 0.2
    kid_encoder: str = "auto"
    kid_images: int = 1000
    kid_steps: int = 5
    every: int | None = None
    seed: int = 0

    def resolved(self) -> "TrainingConfig":
        """The same with the source's defaults in place of None.

        Raises:
            ValueError: an option below its least value.
        """
        defaults = DIGITS_DEFAULTS if str(self.source) == "digits" else EXAMPLE_DEFAULTS
        missing = {key: value for key, value in defaults.items() if getattr(self, key) is None}
        config = dataclasses.replace(self, **missing)
        for name in ("batch_size", "epochs", "steps_per_epoch", "repeats", "every", "kid_steps"):
            value = getattr(config, name)
            if value is not None and value < 1:
                raise ValueError(f"Expected {name} of at least 1. Received: {value}")
        schedules.get(config.schedule)
        predictions.check(config.prediction_type)
        ema.check(config.ema)
        size = check_image_size(config.image_size)
        check_structure(size, config.widths or (), config.block_depth, config.channels or 3)
        check_attention_levels(config.attention_levels, len(config.widths or ()))
        check_normalization(config.normalization)
        if config.kid_encoder not in ENCODERS:
            raise ValueError(
                f"Unknown encoder: expected one of {', '.join(map(repr, ENCODERS))}. "
                f"Received: {config.kid_encoder!r}"
            )
        if config.kid_images < 2:
            raise ValueError(f"Expected kid_images of at least 2. Received: {config.kid_images}")
        for name in ("learning_rate", "max_minutes"):
            value = getattr(config, name)
            if value is not None and not value > 0:
                raise ValueError(f"Expected {name} above 0. Received: {value}")
        return config


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
        config.kid_encoder,
        num_images=config.kid_images,
        diffusion_steps=config.kid_steps,
        every=config.every or 1,
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
    runs.write_json(output / runs.CONFIG, content | found | {"versions": runs.versions()})


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
