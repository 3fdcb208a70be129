"""Model and measurements of a training run, from its settings."""

import keras
import numpy as np

from kddim import callbacks
from kddim.data import ImageDataset
from kddim.metrics import encoders
from kddim.model import DiffusionModel
from kddim.networks.residual_unet import residual_unet
from kddim.training.config import ResolvedConfig


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


def size_of(model: DiffusionModel) -> str:
    """Return the size of the images of a model in words, such as `64x64x3`."""
    return "x".join(map(str, model.image_shape))
