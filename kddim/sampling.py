"""Sampling methods of a denoiser: thin public methods over `Generation` and `inversion`."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from kddim import backend, inversion, latents, samplers, schedules
from kddim.checks import MOST_IMAGES, check_batch, check_count, join_shape
from kddim.generation import (
    CompiledDenoiser,
    Generation,
    warn_of_unseen_rates,
    with_progress_bar,
)
from kddim.images import check_images
from kddim.recipe import Recipe
from kddim.samplers.parse import with_eta
from kddim.schedules import Schedule

log = logging.getLogger("kddim")


class Sampling:
    """Methods that turn noise into images, and images into latents.

    They hold no state. The class that inherits them provides the attributes below.
    """

    image_shape: tuple[int, int, int]
    normalizer: Any
    schedule: Schedule
    prediction_type: str
    denormalize: Callable[[Any], Any]
    sampling_denoiser: Callable[[], CompiledDenoiser]
    check_memory: Callable[[int, int], None]

    def reverse_diffusion(
        self,
        initial_noise: Any,
        diffusion_steps: int,
        sampler: Any = "ddim",
        *,
        seed: int | None = None,
        start: int = 0,
        schedule: Any = None,
        callback: Callable | None = None,
    ) -> Any:
        """Turn one batch of noise into normalised images.

        Args:
            initial_noise: Standard normal noise, `(batch, height, width, channels)`.
            diffusion_steps: Number of steps, at least 1.
            sampler: Name or `kddim.samplers.Sampler`.
            seed: Seed of the noise that a stochastic sampler adds.
            start: Index of the first image within `seed`.
            schedule: Name or `kddim.schedules.Schedule` to sample on. None is the schedule of
                training. Any schedule works if its rates occurred in training, because the
                network reads the noise variance and not the time.
            callback: `callback(step, noisy_images, pred_images)`, called after each step.
                Sampling stops if it returns `True`.

        Returns:
            Predicted images of the last step, normalised: a float32 backend tensor.

        Raises:
            ValueError: If the noise has another shape than the images of the model, if there
                is no step, or if the prediction type cannot be sampled on the schedule.
        """
        check_batch("initial_noise", np.shape(initial_noise), self.image_shape)
        generation = self._generation(Recipe(sampler, diffusion_steps, schedule, seed))
        return generation.run(initial_noise, start=start, callback=callback)[1]

    def generate(
        self,
        num_images: int,
        diffusion_steps: int = 20,
        sampler: Any = "ddim",
        *,
        seed: int | None = None,
        initial_noise: Any = None,
        start: int = 0,
        batch_size: int = 64,
        schedule: Any = None,
        callback: Callable | None = None,
        eta: float | None = None,
        verbose: int = 0,
    ) -> np.ndarray:
        """Generate images.

        Args:
            num_images: Number of images, at least 1.
            diffusion_steps: Number of steps, at least 1.
            sampler: Name or `kddim.samplers.Sampler`.
            seed: Seed of the images. Image `i` of a seed is the same for every batch size and
                number of images. None draws a fresh seed.
            initial_noise: Noise `(num_images, height, width, channels)` to start from instead
                of the noise of `seed`.
            start: Index of the first image within `seed`: `generate(5, start=10)` returns
                images 10 to 14.
            batch_size: Number of images per batch. The last batch is padded to it.
            schedule: As in `reverse_diffusion`.
            callback: As in `reverse_diffusion`. It sees each batch in turn, the last one padded.
            eta: Stochasticity of the sampler, short for `DDIM(eta=eta)`: 0 is deterministic, 1
                is DDPM. None keeps the value of `sampler`.
            verbose: 1 shows a progress bar.

        Returns:
            NumPy float32 images `(num_images, height, width, channels)` in [0, 1].

        Raises:
            ValueError: If a number is below its minimum, or the noise has another shape.
        """
        num_images = check_count("num_images", num_images, 1, MOST_IMAGES)
        start = check_count("start", start, least=0)
        sampler, seed = with_eta(samplers.get(sampler), eta), latents.resolve_seed(seed)
        recipe = Recipe(sampler, diffusion_steps, schedule, seed, batch_size).for_model(self)
        self.check_memory(num_images, recipe.batch_size)
        generation = self._generation(recipe)
        if not self.normalizer.adapted:
            log.warning(
                "the normaliser was never adapted: images come out with mean 0 and variance 1. "
                "Call `model.normalizer.adapt(data)` first."
            )
        noise_of = self._noise_of(initial_noise, num_images, recipe.seed, start)
        callback = with_progress_bar(callback, recipe, num_images) if verbose else callback
        images = np.empty((num_images, *self.image_shape), "float32")
        batches = generation.batches(num_images, noise_of, start=start, callback=callback)
        for rows, _, pred_images in batches:
            pixels = backend.to_numpy(self.denormalize(pred_images))
            images[rows] = pixels[: rows.stop - rows.start]
        return images

    def interpolate(
        self,
        start_noise: Any,
        end_noise: Any,
        num_images: int = 8,
        diffusion_steps: int = 20,
        sampler: Any = "ddim",
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Generate the images along the arc between two noises (DDIM paper, Sec. 5.3).

        `kddim.latents.slerp_grid` fills a grid between four noises in the same way, for
        `generate(..., initial_noise=...)`.

        Args:
            start_noise: Standard normal noise `(height, width, channels)`, such as
                `kddim.latents.initial_noise` or `encode` returns.
            end_noise: Noise of the same shape.
            num_images: Number of images, at least 2. The first and the last are the images of
                the two noises.
            diffusion_steps: Number of steps, at least 1.
            sampler: Name or `kddim.samplers.Sampler`. Deterministic ones give smooth paths.
            seed: Seed of the noise that a stochastic sampler adds.
            **kwargs: Other arguments of `generate`.

        Returns:
            NumPy float32 images `(num_images, height, width, channels)` in [0, 1].

        Raises:
            ValueError: If the noises have another shape or are images, or if there are fewer
                than two images.
        """
        ends = []
        for name, noise in (("start_noise", start_noise), ("end_noise", end_noise)):
            noise = latents.check_noise(noise, name)
            # One noise as `initial_noise(1, ...)` returns it is welcome too.
            ends.append(noise[0] if noise.ndim == 4 and len(noise) == 1 else noise)
        if not ends[0].shape == ends[1].shape == self.image_shape:
            raise ValueError(
                f"Expected two noises of shape ({join_shape(self.image_shape)}). "
                f"Received: {ends[0].shape} and {ends[1].shape}"
            )
        num_images = check_count("num_images", num_images, 2, MOST_IMAGES)
        self.check_memory(3 * num_images, 1)  # noises in float64, and images
        fractions = np.linspace(0.0, 1.0, num_images)
        kwargs |= {"seed": seed, "initial_noise": latents.slerp(ends[0], ends[1], fractions)}
        return self.generate(num_images, diffusion_steps, sampler, **kwargs)

    def encode(
        self,
        images: Any,
        diffusion_steps: int = 100,
        sampler: Any = "ddim",
        *,
        seed: int = 0,
        batch_size: int = 64,
        schedule: Any = None,
        callback: Callable | None = None,
    ) -> np.ndarray:
        """Return the latents of images: the deterministic process run backwards (Sec. 4.3).

        Latents are standard normal, like the initial noise of `generate`. If the clean end of
        the schedule still has noise, as for the angle schedule, `encode` first adds noise of
        `seed` to the images, and `decode` removes it again. The error of `reconstruct`
        therefore falls to zero as the number of steps grows.

        Args:
            images: Images in [0, 1], `(batch, height, width, channels)`.
            diffusion_steps: Number of steps, at least 1.
            sampler: "ddim", or a deterministic `kddim.samplers.DDIM`. Its steps are followed
                in the opposite direction.
            seed: Seed of the noise at the clean end of the schedule.
            batch_size: Number of images per batch.
            schedule: As in `reverse_diffusion`.
            callback: As in `generate`. The steps lead from images to latents.

        Returns:
            NumPy float32 latents of the shape of the images.

        Raises:
            ValueError: If the images have another shape or leave [0, 1], or if the sampler is
                stochastic or is not DDIM, and so has no inverse.
        """
        images = check_images(images, self.image_shape)
        recipe = Recipe(sampler, diffusion_steps, schedule, seed, batch_size)
        self.check_memory(len(images), recipe.batch_size)
        normalised = backend.to_numpy(self.normalizer(images))
        return inversion.encode(self._generation(recipe), normalised, callback)

    def decode(
        self, latents: Any, diffusion_steps: int = 100, sampler: Any = "ddim", **kwargs: Any
    ) -> np.ndarray:
        """Return the images of latents from `encode`.

        `generate(initial_noise=latents)` returns the images that the network predicts in the
        last step. `decode` follows the process to the point where `encode` began, and removes
        the noise that `encode` added.

        Args:
            latents: Latents, `(batch, height, width, channels)`.
            diffusion_steps: Number of steps, as in `encode`.
            sampler: Sampler, as in `encode`.
            **kwargs: `seed`, `batch_size`, `schedule` and `callback`, with the same defaults
                and meanings as in `encode`.

        Returns:
            NumPy float32 images in [0, 1], of the shape of the latents.

        Raises:
            ValueError: If the latents have another shape, or `encode` refuses the sampler.
        """
        latents = backend.to_numpy(latents).astype("float32")
        check_batch("latents", latents.shape, self.image_shape)
        callback = kwargs.pop("callback", None)
        recipe = Recipe(sampler, diffusion_steps, **kwargs)
        self.check_memory(len(latents), recipe.batch_size)
        generation = self._generation(recipe)
        return backend.to_numpy(self.denormalize(inversion.decode(generation, latents, callback)))

    def reconstruct(
        self, images: Any, diffusion_steps: int = 100, sampler: Any = "ddim", **kwargs: Any
    ) -> np.ndarray:
        """Encode images and decode them on the same grid (DDIM paper, Table 2).

        Args:
            images: Images in [0, 1], `(batch, height, width, channels)`.
            diffusion_steps: Number of steps in each direction. More steps reduce the error.
            sampler: As in `encode`.
            **kwargs: `seed`, `batch_size`, `schedule` and `callback`, as in `encode`. The
                callback is called in both directions.

        Returns:
            NumPy float32 images in [0, 1], of the shape of `images`.

        Raises:
            ValueError: As `encode`.
        """
        encoded = self.encode(images, diffusion_steps, sampler, **kwargs)
        return self.decode(encoded, diffusion_steps, sampler, **kwargs)

    def _generation(self, recipe: Recipe) -> Generation:
        """Return the generation of a recipe that the network can follow."""
        recipe = recipe.for_model(self)
        if recipe.schedule is not None:
            schedules.check_terminal_rate(recipe.schedule, self.prediction_type)
            warn_of_unseen_rates(self.schedule, recipe)
        return Generation(self.sampling_denoiser(), self.schedule, recipe)

    def _noise_of(self, given: Any, num_images: int, seed: Any, start: int) -> Callable:
        """Return the `noise_of` of `Generation.batches`, from an array or from a seed."""
        if given is None:
            return lambda first, size: latents.initial_noise(
                size, self.image_shape, seed, start + first
            )
        noise = backend.to_numpy(given).astype("float32")
        if noise.shape != (num_images, *self.image_shape):
            raise ValueError(
                f"Expected initial_noise of shape ({num_images}, {join_shape(self.image_shape)}). "
                f"Received: {noise.shape}"
            )
        return inversion.pad_batches(noise)
