"""Methods of a denoiser that change images: filling in and variations."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kddim import backend, inversion
from kddim import latents as noises
from kddim.checks import check_count, is_number, join_shape
from kddim.generation import Generation
from kddim.images import check_images
from kddim.recipe import Recipe


class Editing:
    """Methods that turn images into other images.

    They hold no state. The class that inherits them is a `kddim.sampling.Sampling`.
    """

    image_shape: tuple[int, int, int]
    normalizer: Any
    schedule: Any
    denormalize: Callable[[Any], Any]
    _conditioned: Callable[..., Generation]
    _noise_of: Callable[..., Callable]
    _images_of: Callable[..., np.ndarray]

    def inpaint(
        self,
        images: Any,
        mask: Any,
        diffusion_steps: int = 50,
        sampler: Any = "ddim",
        *,
        start: int = 0,
        callback: Callable | None = None,
        labels: Any = None,
        guide: Any = None,
        **options: Any,
    ) -> np.ndarray:
        """Invent a part of the pixels of images, so that they fit the known ones.

        At each step the known pixels are put in place, with the noise of that step
        (`kddim.guidance.KnownPixels`). With `sampler=kddim.samplers.RePaint(...)` each step is
        also repeated, so that the invented pixels fit the known ones better.

        Args:
            images: Images in [0, 1], `(batch, height, width, channels)`. The values of pixels
                that are to be invented have no effect.
            mask: 1 where pixels are to be invented and 0 where they are known, `(batch, height,
                width, 1)`. `(height, width)` or `(height, width, 1)` serves all images.
            diffusion_steps: Number of steps, at least 1.
            sampler: Name or `kddim.samplers.Sampler`.
            start: Index of the first image within the seed, at least 0.
            callback: As in `generate`, like all that follow.
            labels: Classes of the images.
            guide: Weaker model to guide with.
            **options: `seed`, `batch_size`, `schedule`, `guidance_scale` and `guidance_interval`.

        Returns:
            NumPy float32 images in [0, 1] of the shape of `images`. Known pixels have exactly
            the values that they had.

        Raises:
            ValueError: If images or mask have another shape, if images leave [0, 1], if the mask
                has other values than 0 and 1, or if a condition does not fit the model.

        Example:
            >>> mask = np.zeros((64, 64))
            >>> mask[16:48, 16:48] = 1
            >>> filled = model.inpaint(images, mask, seed=0)
        """
        images = check_images(images, self.image_shape).astype("float32")
        start = check_count("start", start, least=0)
        mask = check_mask(mask, images.shape)
        recipe = _recipe(sampler, diffusion_steps, **options)
        generation = self._conditioned(recipe, len(images), labels, guide, (images, mask))
        noise_of = self._noise_of(None, len(images), recipe.seed, start)
        invented = self._images_of(generation, len(images), noise_of, callback, start)
        return np.where(mask > 0, invented, images)

    def image_to_image(
        self,
        images: Any,
        strength: float = 0.5,
        diffusion_steps: int = 20,
        sampler: Any = "ddim",
        *,
        start: int = 0,
        callback: Callable | None = None,
        labels: Any = None,
        guide: Any = None,
        **options: Any,
    ) -> np.ndarray:
        """Vary images: add noise up to a time, and sample from there.

        Args:
            images: Images in [0, 1], `(batch, height, width, channels)`, such as photographs or
                coarse drawings.
            strength: Diffusion time in (0, 1] up to which noise is added. Near 0, images hardly
                change. With 1, hardly anything of them is left.
            diffusion_steps: Number of steps from there, at least 1. Their grid is that of the
                sampler, with all times multiplied by `strength`.
            sampler: Name or `kddim.samplers.Sampler`, except "tuned", whose times begin at 1.
            start: Index of the first image within the seed, at least 0.
            callback: As in `generate`, like all that follow.
            labels: Classes of the images.
            guide: Weaker model to guide with.
            **options: `seed`, `batch_size`, `schedule`, `guidance_scale` and `guidance_interval`.

        Returns:
            NumPy float32 images in [0, 1] of the shape of `images`.

        Raises:
            ValueError: If images have another shape or leave [0, 1], if the strength is out of
                range, or if the sampler or a condition does not fit the model.

        Reference:
            SDEdit: Meng et al., ICLR 2022 (arXiv 2108.01073), Algorithm 1.
        """
        images = check_images(images, self.image_shape).astype("float32")
        start = check_count("start", start, least=0)
        strength = check_strength(strength)
        recipe = _recipe(sampler, diffusion_steps, **options).shortened(strength, self.schedule)
        generation = self._conditioned(recipe, len(images), labels, guide)
        noise_rate, signal_rate = self._rates_at_start(generation)
        normalised = backend.to_numpy(self.normalizer(images))
        noise = self._noise_of(None, len(images), recipe.seed, start)(0, len(images))
        noisy = (signal_rate * normalised + noise_rate * noise).astype("float32")
        noise_of = inversion.pad_batches(noisy)
        return self._images_of(generation, len(images), noise_of, callback, start)

    def _rates_at_start(self, generation: Generation) -> tuple[float, float]:
        rates = generation.recipe.sampler.rates(
            generation.sampling_schedule, generation.recipe.diffusion_steps
        )
        return float(rates.noise[0]), float(rates.signal[0])


def _recipe(sampler: Any, diffusion_steps: int, seed: int | None = None, **options: Any) -> Recipe:
    """Return the recipe of an edit, whose seed is drawn here if it is None."""
    return Recipe(sampler, diffusion_steps, seed=noises.resolve_seed(seed), **options)


def check_strength(strength: Any) -> float:
    """Return a strength as a float.

    Raises:
        ValueError: If it is no number in (0, 1].
    """
    if not is_number(strength) or not 0.0 < strength <= 1.0:
        raise ValueError(f"Expected `strength` in (0, 1]. Received: {strength!r}")
    return float(strength)


def check_mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask as float32 `(batch, height, width, 1)`.

    Args:
        mask: Mask of one image for all, or of each image, of numbers or bools.
        shape: Shape of the images.

    Raises:
        ValueError: If it has another shape, or other values than 0 and 1.
    """
    values = backend.to_numpy(mask)
    number, height, width = shape[:3]
    fits = values.shape in (
        *((height, width), (height, width, 1), (1, height, width, 1)),
        *((number, height, width), (number, height, width, 1)),
    )
    if not fits:
        raise ValueError(
            f"Expected a mask of shape ({number}, {join_shape((height, width))}, 1) or "
            f"({join_shape((height, width))}). Received: shape {values.shape}"
        )
    if not np.isin(values, (0, 1)).all():
        numeric = values.dtype.kind in "biuf"
        raise ValueError(
            "Expected a mask with the values 0 (known) and 1 (to be invented). Received: "
            + (f"values from {values.min()} to {values.max()}" if numeric else f"{values.dtype}")
        )
    values = values.astype("float32")
    values = values if values.ndim == 4 else values.reshape((-1, height, width, 1))
    return np.broadcast_to(values, (number, height, width, 1))
