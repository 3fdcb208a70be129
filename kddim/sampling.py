"""Sampling methods of a denoiser: thin public methods over `Generation` and `inversion`."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kddim import backend, inversion, latents, samplers, schedules
from kddim.checks import MOST_IMAGES, check_batch, check_count, join_shape
from kddim.conditions import conditions_of, known_pixels
from kddim.generation import (
    CompiledDenoiser,
    Condition,
    Generation,
    warn_of_unseen_rates,
    with_progress_bar,
)
from kddim.recipe import Recipe
from kddim.samplers.parse import with_eta
from kddim.schedules import Schedule

log = logging.getLogger("kddim")


class Sampling:
    """Methods that turn noise into images.

    They hold no state. The class that inherits them provides the attributes below.
    """

    image_shape: tuple[int, int, int]
    normalizer: Any
    schedule: Schedule
    prediction_type: str
    num_classes: int | None
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
        labels: Any = None,
        guidance_scale: float = 1.0,
        guidance_interval: tuple[float, float] | None = None,
        guide: Any = None,
    ) -> Any:
        """Turn one batch of noise into normalised images.

        Args:
            initial_noise: Standard normal noise, `(batch, height, width, channels)`.
            diffusion_steps: Number of steps, at least 1.
            sampler: Name or `kddim.samplers.Sampler`.
            seed: Seed of the noise that a stochastic sampler adds.
            start: Index of the first image within `seed`, at least 0.
            schedule: Name or `kddim.schedules.Schedule` to sample on. None is the schedule of
                training. Any schedule works if its rates occurred in training, because the
                network reads the noise variance and not the time.
            callback: `callback(step, noisy_images, pred_images)`, called after each step.
                Sampling stops if it returns `True`.
            labels: As in `generate`, like the three arguments below.
            guidance_scale: Scale of guidance. 1 is off.
            guidance_interval: Noise levels that are guided.
            guide: Weaker model to guide with.

        Returns:
            Predicted images of the last step, normalised: a float32 backend tensor.

        Raises:
            ValueError: If the noise has another shape than the images of the model, if there
                is no step, if the prediction type cannot be sampled on the schedule, or if labels
                or guidance do not fit the model.
        """
        check_batch("initial_noise", np.shape(initial_noise), self.image_shape)
        start = check_count("start", start, least=0)
        guidance = guidance_scale, guidance_interval
        recipe = Recipe(sampler, diffusion_steps, schedule, seed, 64, *guidance)
        conditions = conditions_of(self, recipe, len(initial_noise), labels, guide)
        generation = self._generation(recipe, conditions)
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
        labels: Any = None,
        guidance_scale: float = 1.0,
        guidance_interval: tuple[float, float] | None = None,
        guide: Any = None,
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
            start: Index of the first image within `seed`, at least 0: `generate(5, start=10)`
                returns images 10 to 14.
            batch_size: Number of images per batch. The last batch is padded to it.
            schedule: As in `reverse_diffusion`.
            callback: As in `reverse_diffusion`. It sees each batch in turn, the last one padded.
            eta: Stochasticity of the sampler, short for `DDIM(eta=eta)`: 0 is deterministic, 1
                is DDPM. None keeps the value of `sampler`.
            labels: Class of all images, a sequence of `num_images` classes, or None for images
                without a condition. A class is an int in [0, num_classes) or a name among
                `class_names`.
            guidance_scale: Scale of guidance. 1 is off. Above 1, images show their label more
                clearly and vary less. Each step takes twice as long.
            guidance_interval: Noise levels `(low, high)`, each `noise_rate / signal_rate`, that
                are guided. The other steps cost no more than without guidance. None guides all.
            guide: Weaker model of the same images, such as an earlier one. Guidance then leads
                away from its predictions, instead of those without a label, and works without
                labels too (`kddim.guidance.Autoguidance`).
            verbose: 1 shows a progress bar.

        Returns:
            NumPy float32 images `(num_images, height, width, channels)` in [0, 1].

        Raises:
            ValueError: If a number is below its minimum, if the noise has another shape, or if
                labels or guidance do not fit the model.

        Example:
            >>> model.generate(16, labels="rose", guidance_scale=2.0, seed=0)
        """
        num_images = check_count("num_images", num_images, 1, MOST_IMAGES)
        start = check_count("start", start, least=0)
        sampler, seed = with_eta(samplers.get(sampler), eta), latents.resolve_seed(seed)
        guidance = guidance_scale, guidance_interval
        recipe = Recipe(sampler, diffusion_steps, schedule, seed, batch_size, *guidance)
        generation = self._conditioned(recipe, num_images, labels, guide)
        if not self.normalizer.adapted:
            log.warning(
                "the normaliser was never adapted: images come out with mean 0 and variance 1. "
                "Call `model.normalizer.adapt(data)` first."
            )
        noise_of = self._noise_of(initial_noise, num_images, generation.recipe.seed, start)
        callback = with_progress_bar(callback, recipe, num_images) if verbose else callback
        return self._images_of(generation, num_images, noise_of, callback, start)

    def _images_of(
        self,
        generation: Generation,
        num_images: int,
        noise_of: Callable,
        callback: Callable | None,
        start: int = 0,
    ) -> np.ndarray:
        """Return the images that a generation predicts in its last step."""
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

    def _conditioned(
        self, recipe: Recipe, num_images: int, labels: Any, guide: Any, known: Any = None
    ) -> Generation:
        """Return the generation of images under conditions, once it is known that they fit."""
        recipe = recipe.for_model(self)
        conditions = conditions_of(self, recipe, num_images, labels, guide)
        if known is not None:
            conditions = (*conditions, known_pixels(self, *known))
        self.check_memory(num_images, (1 + recipe.is_guided) * recipe.batch_size)
        return self._generation(recipe, conditions)

    def _generation(self, recipe: Recipe, conditions: Sequence[Condition] = ()) -> Generation:
        """Return the generation of a recipe that the network can follow."""
        recipe = recipe.for_model(self)
        if recipe.schedule is not None:
            schedules.check_terminal_rate(recipe.schedule, self.prediction_type)
            warn_of_unseen_rates(self.schedule, recipe)
        return Generation(self.sampling_denoiser(), self.schedule, recipe, tuple(conditions))

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
