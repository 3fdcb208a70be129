"""Settings of a training run."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from kddim import ema, predictions, schedules
from kddim.checks import check_choice, check_image_size
from kddim.metrics.encoders import NAMES
from kddim.networks.blocks import check_attention_levels, check_normalization
from kddim.networks.residual_unet import check_structure

ENCODERS = (*NAMES, "none")

# Images of 8x8 pixels need fewer levels, and minutes instead of hours.
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
    """Settings of a training run.

    Args:
        source: Source of images, as for `kddim.data.load`.
        image_size: Side in pixels, or `(height, width)`. None is 8 for digits, else 64.
        channels: Number of channels. None keeps the channels of the data.
        widths: Number of channels of each level of the residual UNet, the finest level first.
            None is (32, 64, 96) for digits, else (32, 64, 96, 128).
        block_depth: Number of residual blocks per level, at least 1.
        attention_levels: Levels of the UNet with self-attention. Level 0 is the finest.
        normalization: Normalisation layers of the UNet, "batch" or "group".
        batch_size: Number of images per step, at least 1.
        epochs: Number of epochs, at least 1. None is 100 for digits, else 50.
        steps_per_epoch: Number of steps per epoch, at least 1. None is `repeats` passes over the
            data.
        repeats: Number of passes over the data per epoch, at least 1. None is 1 for digits, else
            5 as in the keras.io example.
        max_minutes: Time limit in minutes, above 0. Training ends before an epoch that would
            exceed it. None has no limit.
        learning_rate: Learning rate of AdamW, above 0.
        weight_decay: Weight decay of AdamW.
        ema: Decay of the moving average of the weights, in [0, 1).
        schedule: Name of a noise schedule.
        prediction_type: Quantity that the network predicts: "noise", "image" or "velocity".
        loss_type: Quantity that the loss compares: "noise", "image" or "velocity". None is
            `prediction_type`.
        remat: If true, training uses less memory and more time.
        flip: If true, mirror each training image with probability 1/2.
        limit: Maximum number of images, at least 2. None uses all.
        validation_split: Fraction of the images for validation, in (0, 1).
        kid_encoder: Name of the feature encoder of KID, or "none" to measure no KID.
        encoder_weights: Path of a local file with weights for the encoder. None takes the
            encoder's own.
        kid_images: Number of images to generate for each KID, and maximum number of real ones,
            at least 2.
        kid_steps: Number of diffusion steps for each KID, at least 1.
        kid_max_seconds: Time that a KID may take, above 0. `kid_images` is lowered to fit. None
            has no limit.
        every: Number of epochs between KIDs, and between sample grids, at least 1. None is 10
            for digits, else 1.
        seed: Seed of everything random.
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

    def resolved(self) -> "ResolvedConfig":
        """Return these settings with the defaults of the source in place of None.

        Raises:
            ValueError: If a setting is unknown or out of range.
        """
        defaults = DIGITS_DEFAULTS if str(self.source) == "digits" else EXAMPLE_DEFAULTS
        missing = {key: value for key, value in defaults.items() if getattr(self, key) is None}
        return ResolvedConfig(**(vars(self) | missing))

    def arguments_of(self, function: Callable) -> dict[str, Any]:
        """Return the settings that a function has parameters for, by their names."""
        parameters = inspect.signature(function).parameters
        return {name: value for name, value in vars(self).items() if name in parameters}


@dataclasses.dataclass(frozen=True)
class ResolvedConfig(TrainingConfig):
    """Settings of a training run, with the defaults of the source filled in.

    Raises:
        ValueError: If a setting that can be checked without the data is unknown or out of range.
    """

    image_size: int | tuple[int, int] = EXAMPLE_DEFAULTS["image_size"]
    widths: tuple[int, ...] = EXAMPLE_DEFAULTS["widths"]
    epochs: int = EXAMPLE_DEFAULTS["epochs"]
    repeats: int = EXAMPLE_DEFAULTS["repeats"]
    every: int = EXAMPLE_DEFAULTS["every"]

    def __post_init__(self):
        counts = ("batch_size", "epochs", "steps_per_epoch", "repeats", "every", "kid_steps")
        for name, minimum in [*((name, 1) for name in counts), ("kid_images", 2)]:
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ValueError(f"Expected {name} of at least {minimum}. Received: {value}")
        for name in ("learning_rate", "max_minutes", "kid_max_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Expected {name} above 0. Received: {value}")
        check_choice("encoder", self.kid_encoder, ENCODERS)
        schedules.get(self.schedule)
        predictions.check(self.prediction_type)
        predictions.check(self.loss_type or self.prediction_type, "loss_type")
        ema.check(self.ema)
        size = check_image_size(self.image_size)
        check_structure(size, self.widths, self.block_depth, self.channels or 3)
        check_attention_levels(self.attention_levels, len(self.widths))
        check_normalization(self.normalization)
