"""Inversion: images to latents and back, along the deterministic process (Sec. 4.3).

The process starts, at the last time of the grid, from `signal_rate * image + noise_rate *
noise` at the rates of that time. If the schedule ends clean (signal rate 1) this is the image,
as in the paper. The angle schedule ends at signal rate 0.95: there the noise is drawn by the
seed of the recipe. The network then sees images as it was trained on, and latents are standard
normal. Decoding takes the same noise away again.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from kddim import latents as noises
from kddim import samplers
from kddim.backend import to_numpy
from kddim.generation import Generation
from kddim.samplers import times as time_grids


def encode(generation: Generation, images: np.ndarray, callback: Callable | None) -> np.ndarray:
    """Return the latents of images.

    Args:
        generation: Generation with a deterministic DDIM; its steps are followed backwards.
        images: Normalised images, float32 `(batch, height, width, channels)`.
        callback: As in `Generation.run`.

    Returns:
        Latents, float32, of the same shape.

    Raises:
        ValueError: If the sampler is stochastic or is not DDIM.
    """
    inverse = samplers.inverse_of(generation.recipe.sampler)
    signal_rate, noise = _clean_end(generation, images.shape)
    noisy = signal_rate * images + noise
    recipe = dataclasses.replace(generation.recipe, sampler=inverse)
    backwards = dataclasses.replace(generation, recipe=recipe)
    return _follow(backwards, noisy.astype("float32"), callback)


def decode(generation: Generation, latents: np.ndarray, callback: Callable | None) -> np.ndarray:
    """Return the normalised images of latents.

    Args:
        generation: Generation that the latents were encoded with.
        latents: Float32 `(batch, height, width, channels)`.
        callback: As in `Generation.run`.

    Returns:
        Normalised images, float32, of the same shape.

    Raises:
        ValueError: If the sampler is stochastic or is not DDIM.
    """
    samplers.inverse_of(generation.recipe.sampler)
    signal_rate, noise = _clean_end(generation, latents.shape)
    noisy = _follow(generation, latents, callback)
    return ((noisy - noise) / signal_rate).astype("float32")


def _clean_end(generation: Generation, shape: tuple[int, ...]) -> tuple[float, np.ndarray]:
    """Return the signal rate at the last time of the grid, and the noise times its rate."""
    recipe, schedule = generation.recipe, generation.sampling_schedule
    if recipe.seed is None:
        raise ValueError("Expected `seed` to be an int, to take the same noise away again.")
    seed = noises.resolve_seed(recipe.seed)
    noise = noises.noise(shape[0], shape[1:], seed, draw=noises.END)
    last_time = time_grids.grid(recipe.sampler.times, schedule, recipe.diffusion_steps)[-1]
    noise_rate, signal_rate = schedule(last_time)
    return float(signal_rate), float(noise_rate) * noise


def _follow(generation: Generation, start: np.ndarray, callback: Callable | None) -> np.ndarray:
    """Return the noisy images at the last time of the grid."""
    followed = np.empty_like(start)
    padded = pad_batches(start)
    for rows, noisy_images, _ in generation.batches(len(start), padded, callback=callback):
        followed[rows] = to_numpy(noisy_images)[: rows.stop - rows.start]
    return followed


def pad_batches(array: np.ndarray) -> Callable[[int, int], np.ndarray]:
    """Return the `noise_of` of `Generation.batches` that reads an array, padded with zeros."""

    def noise_of(first: int, size: int) -> np.ndarray:
        """Return rows `first` to `first + size - 1`, zeros beyond the last."""
        batch = array[first : first + size]
        return np.pad(batch, [(0, size - len(batch))] + [(0, 0)] * (array.ndim - 1))

    return noise_of
