"""Model and measurements of a training run, from its settings."""

from typing import Any

import keras

from kddim import callbacks
from kddim.data import ImageDataset
from kddim.distillation import PathDistillation, paths_of_epoch
from kddim.learning_rates import ConstantThenLinear
from kddim.metrics import encoders
from kddim.model import DiffusionModel
from kddim.names import OPTIMIZERS
from kddim.networks.residual_unet import residual_unet
from kddim.objective import Regression
from kddim.registry import load_object
from kddim.samplers import DDIM, GaussianStart, Sampler
from kddim.training.config import ResolvedConfig, TrainingConfig

# For the coarse statistics of the data, which ten thousand images decide.
_MOST_BATCHES = 40


def build_model(config: ResolvedConfig, train_data: ImageDataset) -> DiffusionModel:
    """Return the compiled model of a run, adapted to its training images.

    Args:
        config: Settings of the run, with `channels`.
        train_data: Training images.
    """
    network, num_classes = None, None
    if train_data.class_names is not None:
        num_classes = len(train_data.class_names)
    if config.patch_size > 1 or config.attention_levels or config.normalization != "batch":
        # `DiffusionModel` has no such options.
        options = config.arguments_of(residual_unet)
        network = residual_unet(**options, num_classes=num_classes)
    options = config.arguments_of(DiffusionModel.__init__)
    model = DiffusionModel(**options, num_classes=num_classes, network=network)
    model.class_names = train_data.class_names
    images = ImageDataset(train_data.images, 256)
    model.normalizer.adapt(images)
    if len(train_data.images) > 1:
        step = -(-len(images) // _MOST_BATCHES)
        model.fit_gaussian(images[index] for index in range(0, len(images), step))
    if config.distill_steps:
        model.tuned_samplers = {config.distill_steps: sampler_of(config)}
    rate = _learning_rate(config, config.epochs * len(train_data))
    model.compile(
        optimizer=load_object(OPTIMIZERS[config.optimizer])(rate, config.weight_decay),
        loss=keras.losses.get(config.loss),
        objective=_objective(config, model, len(train_data) * config.batch_size),
    )
    return model


def _objective(config: ResolvedConfig, model: DiffusionModel, images_per_epoch: int) -> Any:
    if config.distill_steps is None:
        return Regression(model.loss_type, config.training_times, config.weighting)
    teacher_type = config.distill_from or model.prediction_type
    paths = paths_of_epoch(images_per_epoch, config.distill_steps, model.image_shape)
    options = paths, config.seed, config.distill_start
    return PathDistillation(model, config.distill_steps, teacher_type, *options)


def sampler_of(config: TrainingConfig) -> Sampler:
    """Return the sampler that a run trains its model for."""
    start = config.distill_start
    return GaussianStart(start=start) if config.distill_steps and start < 1.0 else DDIM()


def _learning_rate(config: ResolvedConfig, steps: int) -> Any:
    if not config.learning_rate_decay:
        return config.learning_rate
    return ConstantThenLinear(config.learning_rate, steps, config.learning_rate_decay)


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
        sampler=sampler_of(config),
        every=config.every,
        max_seconds=config.kid_max_seconds,
        batch_size=config.batch_size,
        seed=config.seed,
        verbose=int(bool(verbose)),
    )


def size_of(model: DiffusionModel) -> str:
    """Return the size of the images of a model in words, such as `64x64x3`."""
    return "x".join(map(str, model.image_shape))
