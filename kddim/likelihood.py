"""Likelihood of images: the probability-flow ODE, with the change of the density along it.

In this package's variance-preserving form, with `signal_rate = cos(angle)` and `noise_rate =
sin(angle)`, the flow is `d noisy_image / d angle = velocity`, and the velocity is `signal_rate *
pred_noise - noise_rate * pred_image`. The density changes with its divergence:

    log p(image) = log p(latent) + (integral over the angle of the divergence)

and `p(latent)` is standard normal (Song et al., ICLR 2021, arXiv 2011.13456, Eq. 39). For data of
unit variance the velocity is small everywhere, so that few steps are accurate.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from kddim import backend, inversion, latents
from kddim.generation import Generation
from kddim.samplers import times as time_grids

_LEAST_ANGLE = 1e-3  # below, networks were not trained


def log_densities(generation: Generation, images: np.ndarray) -> np.ndarray:
    """Return the log-densities of normalised images at the clean end of a schedule.

    Args:
        generation: Generation of a model. Its recipe has the number of steps and the seed.
        images: Normalised images, float32 `(batch, height, width, channels)`.

    Returns:
        Natural logarithms, float64 `(batch,)`.
    """
    angles = _angles(generation)
    images_of = inversion.pad_batches(images)
    step = generation.compile_function(_divergence_step)
    size = min(generation.recipe.batch_size, len(images))
    found = np.empty(len(images))
    for first in range(0, len(images), size):
        values = generation.values(first, size)
        signs = _random_signs(generation, size, images.shape[1:], first)
        batch = images_of(first, size) * np.cos(angles[0])
        rows = slice(first, min(first + size, len(images)))
        found[rows] = _follow(step, values, batch, signs, angles)[: rows.stop - first]
    # The density of an image is that of the noisy image, which is smaller by the signal rate.
    return found + images[0].size * np.log(np.cos(angles[0]))


def _angles(generation: Generation) -> np.ndarray:
    """Return increasing angles, whose log-SNRs have about equal distances."""
    schedule, steps = generation.sampling_schedule, generation.recipe.diffusion_steps
    grid = time_grids.grid("log_snr", schedule, steps)[::-1]
    noise, signal = (backend.to_numpy(rates).astype("float64") for rates in schedule(grid))
    return np.maximum(np.arctan2(noise, signal), _LEAST_ANGLE)


def _random_signs(
    generation: Generation, size: int, shape: tuple[int, ...], first: int
) -> np.ndarray:
    """Return random signs, which depend on the seed and the index of the image alone."""
    noise = latents.noise(size, shape, generation.recipe.seed or 0, first)
    return np.where(noise < 0.0, -1.0, 1.0).astype("float32")


def _follow(
    step: Callable, values: Any, noisy: np.ndarray, signs: np.ndarray, angles: np.ndarray
) -> np.ndarray:
    """Return log-densities of noisy images, after Heun's method along increasing angles."""
    integral = np.zeros(len(noisy))
    noisy_images, signs = ops.convert_to_tensor(noisy, "float32"), ops.convert_to_tensor(signs)
    for angle, next_angle in itertools.pairwise(angles):
        pair = (ops.convert_to_tensor(np.float32(a)) for a in (angle, next_angle))
        noisy_images, change = step(values, noisy_images, signs, *pair)
        integral += backend.to_numpy(change).astype("float64")
    squares = backend.to_numpy(noisy_images).astype("float64") ** 2
    size = squares[0].size
    normal = -0.5 * squares.reshape(len(squares), -1).sum(axis=1) - 0.5 * size * np.log(2 * np.pi)
    return normal + integral


def _divergence_step(
    denoise: Callable, noisy_images: Any, signs: Any, angle: Any, next_angle: Any
) -> tuple[Any, Any]:
    """Return the images of a step of Heun's method, and its part of the integral."""
    length = next_angle - angle
    velocity, divergence = _velocity(denoise, noisy_images, signs, angle)
    ahead = noisy_images + length * velocity
    next_velocity, next_divergence = _velocity(denoise, ahead, signs, next_angle)
    noisy_images = noisy_images + 0.5 * length * (velocity + next_velocity)
    return noisy_images, 0.5 * length * (divergence + next_divergence)


def _velocity(denoise: Callable, noisy_images: Any, signs: Any, angle: Any) -> tuple[Any, Any]:
    """Return the velocity of the flow, and an estimate of its divergence `(batch,)`.

    Hutchinson's estimator: the divergence is the mean of `signs * J signs` over random signs.
    """
    number = 1 if getattr(denoise, "shares_rates", False) else noisy_images.shape[0]
    shape = (number, 1, 1, 1)
    noise_rates, signal_rates = (ops.broadcast_to(f(angle), shape) for f in (ops.sin, ops.cos))

    def velocity(noisy):
        pred_noises, pred_images = denoise(noisy, noise_rates, signal_rates)
        return signal_rates * pred_noises - noise_rates * pred_images

    value, product = backend.value_and_product(velocity, noisy_images, signs)
    return value, ops.sum(product * signs, axis=(1, 2, 3))
