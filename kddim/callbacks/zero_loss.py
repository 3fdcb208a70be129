"""Loss of a network that predicts zero: the level that a model starts at and has to leave."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import predictions
from kddim.backend import to_numpy
from kddim.denoiser import override_of
from kddim.fitting import Fitting

_DRAWS = 4
_VALUES = 1 << 18  # pixel values per draw: the mean of a million is known to 0.1 %


def loss_of_zero(model: Any, images: Any) -> float | None:
    """Return the loss that a model has if its network predicts zero for every pixel.

    With the default loss, which compares noises by their mean absolute error, this is
    `sqrt(2 / pi) = 0.798`. Other losses depend on the images. The noises and times are those of
    validation, with a seed of their own: no generator of the model advances.

    Args:
        model: Compiled `kddim.DiffusionModel` with an adapted normaliser.
        images: Images in [0, 1], `(batch, height, width, channels)`.

    Returns:
        The loss, or None if it is not above 0, as for an objective that zero satisfies.
    """
    images = to_numpy(images).astype("float32")
    copies = max(1, _VALUES // images.size)
    normalised = model.normalizer(ops.convert_to_tensor(np.concatenate(copies * [images])))
    seeds = keras.random.SeedGenerator(0)
    level = sum(_loss_of_draw(model, normalised, seeds) for _ in range(_DRAWS)) / _DRAWS
    return level if 0.0 < level < math.inf else None


def _loss_of_draw(model: Any, images: Any, seeds: keras.random.SeedGenerator) -> float:
    def denoise(noisy_images, noise_rates, signal_rates):
        zeros = ops.zeros_like(noisy_images)
        return predictions.split(
            model.prediction_type, zeros, noisy_images, noise_rates, signal_rates
        )

    noises, times = _draw(model, images, seeds)
    examples = model.objective.examples(denoise, model.diffusion_schedule, images, noises, times)
    return float(to_numpy(model.compute_loss(y_pred=examples)))


def _draw(model: Any, images: Any, seeds: keras.random.SeedGenerator) -> tuple[Any, Any]:
    """Draw noises and times of validation, or with `draw` of the model if it is overridden."""
    if not override_of(model, Fitting.draw):
        return model.objective.draw_validation(images, model.schedule, seeds)
    state = model.seed_generator.state
    kept = to_numpy(state.value).copy()
    try:
        return model.draw(images)
    finally:
        state.assign(kept)
