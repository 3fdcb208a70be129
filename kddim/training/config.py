"""What decides a training run."""

import dataclasses
from typing import Any

from kddim import ema, predictions, schedules
from kddim.checks import check_image_size
from kddim.metrics.encoders import NAMES
from kddim.networks.blocks import check_attention_levels, check_normalization
from kddim.networks.residual_unet import check_structure

ENCODERS = (*NAMES, "none")

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
        loss_type: what the loss compares, of the same words; None is `prediction_type`.
        remat: trains in less memory and more time, see `kddim.DiffusionModel`.
        flip: mirrors half of the training images.
        limit: uses at most so many images.
        validation_split: fraction held out.
        kid_encoder: a name of `kddim.metrics.encoders.get`, or "none".
        encoder_weights: a local file for that encoder.
        kid_images: images generated for each KID, and at most so many real ones.
        kid_steps: diffusion steps of them.
        kid_max_seconds: that a KID may take, see `kddim.callbacks.KIDCallback`; None has
            no limit.
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
    loss_type: str | None = None
    remat: bool = False
    flip: bool = False
    limit: int | None = None
    validation_split: float = 0.2
    kid_encoder: str = "auto"
    encoder_weights: str | None = None
    kid_images: int = 1000
    kid_steps: int = 5
    kid_max_seconds: float | None = None
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
        predictions.check(config.loss_type or config.prediction_type, "loss_type")
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
        for name in ("learning_rate", "max_minutes", "kid_max_seconds"):
            value = getattr(config, name)
            if value is not None and not value > 0:
                raise ValueError(f"Expected {name} above 0. Received: {value}")
        return config
