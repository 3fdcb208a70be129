"""Methods of a denoiser that follow images to noise: latents and likelihoods."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kddim import backend, inversion
from kddim import latents as noises
from kddim.checks import check_batch
from kddim.generation import Generation
from kddim.images import check_images
from kddim.likelihood import log_densities
from kddim.recipe import Recipe

_BITS_PER_VALUE = 8.0  # of images with 256 levels


class Encoding:
    """Methods that turn images into latents and back, and compute their likelihood.

    They hold no state. The class that inherits them is a `kddim.sampling.Sampling`.
    """

    image_shape: tuple[int, int, int]
    normalizer: Any
    denormalize: Callable[[Any], Any]
    _conditioned: Callable[..., Generation]

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
        labels: Any = None,
        guidance_scale: float = 1.0,
        guidance_interval: tuple[float, float] | None = None,
        guide: Any = None,
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
            labels: As in `generate`, like the three arguments below.
            guidance_scale: Scale of guidance. 1 is off.
            guidance_interval: Noise levels that are guided.
            guide: Weaker model to guide with.

        Returns:
            NumPy float32 latents of the shape of the images.

        Raises:
            ValueError: If the images have another shape or leave [0, 1], if the sampler is
                stochastic or is not DDIM, and so has no inverse, or if labels or guidance do not
                fit the model.
        """
        images = check_images(images, self.image_shape)
        guidance = guidance_scale, guidance_interval
        recipe = Recipe(sampler, diffusion_steps, schedule, seed, batch_size, *guidance)
        generation = self._conditioned(recipe, len(images), labels, guide)
        normalised = backend.to_numpy(self.normalizer(images))
        return inversion.encode(generation, normalised, callback)

    def decode(
        self,
        latents: Any,
        diffusion_steps: int = 100,
        sampler: Any = "ddim",
        *,
        callback: Callable | None = None,
        labels: Any = None,
        guide: Any = None,
        **options: Any,
    ) -> np.ndarray:
        """Return the images of latents from `encode`.

        `generate(initial_noise=latents)` returns the images that the network predicts in the
        last step. `decode` follows the process to the point where `encode` began, and removes
        the noise that `encode` added.

        Args:
            latents: Latents, `(batch, height, width, channels)`.
            diffusion_steps: Number of steps, as in `encode`.
            sampler: Sampler, as in `encode`.
            callback: As in `encode`, like all that follow. The steps lead from latents to images.
            labels: Classes of the images.
            guide: Weaker model to guide with.
            **options: `seed`, `batch_size`, `schedule`, `guidance_scale` and `guidance_interval`.

        Returns:
            NumPy float32 images in [0, 1], of the shape of the latents.

        Raises:
            ValueError: If the latents have another shape, or `encode` refuses the sampler.
        """
        latents = backend.to_numpy(latents).astype("float32")
        check_batch("latents", latents.shape, self.image_shape)
        recipe = Recipe(sampler, diffusion_steps, **options)
        generation = self._conditioned(recipe, len(latents), labels, guide)
        return backend.to_numpy(self.denormalize(inversion.decode(generation, latents, callback)))

    def reconstruct(
        self, images: Any, diffusion_steps: int = 100, sampler: Any = "ddim", **kwargs: Any
    ) -> np.ndarray:
        """Encode images and decode them on the same grid (DDIM paper, Table 2).

        Args:
            images: Images in [0, 1], `(batch, height, width, channels)`.
            diffusion_steps: Number of steps in each direction. More steps reduce the error.
            sampler: As in `encode`.
            **kwargs: Other arguments of `encode`. The callback is called in both directions.

        Returns:
            NumPy float32 images in [0, 1], of the shape of `images`.

        Raises:
            ValueError: As `encode`.
        """
        encoded = self.encode(images, diffusion_steps, sampler, **kwargs)
        return self.decode(encoded, diffusion_steps, sampler, **kwargs)

    def log_likelihood(
        self,
        images: Any,
        diffusion_steps: int = 100,
        *,
        seed: int = 0,
        batch_size: int = 64,
        labels: Any = None,
        dequantize: bool = False,
    ) -> np.ndarray:
        """Return the negative log-likelihood of images under the model, in bits per dimension.

        The images follow the probability-flow ODE to noise. The change of their density is the
        integral of the divergence of the flow, which one random vector estimates per image and
        step (Hutchinson's estimator). Smaller values are more likely. The model gives densities
        of images with the noise that its schedule has at time 0: use a schedule that ends almost
        clean, such as "geometric", "linear_beta" or "log_snr_linear", to compare with others.

        Args:
            images: Images in [0, 1], `(batch, height, width, channels)`.
            diffusion_steps: Number of steps of Heun's method along the ODE. Each evaluates the
                network and its gradient twice.
            seed: Seed of the random vectors.
            batch_size: Number of images per batch.
            labels: Labels of the images, as in `generate`, for a conditional likelihood.
            dequantize: If true, images of 256 levels get uniform noise of one level first, as a
                density of pixels with levels needs.

        Returns:
            NumPy float64 bits per dimension, `(batch,)`: `-log2 p(images) / (height * width *
            channels) + 8`, with the density `p` of images in [0, 1].

        Raises:
            ValueError: If images have another shape or leave [0, 1], or if labels do not fit.

        Reference:
            Song et al., ICLR 2021 (arXiv 2011.13456), Sec. 4.3 and Appendix D.2.
        """
        images = check_images(images, self.image_shape).astype("float32")
        seed = noises.resolve_seed(seed)
        recipe = Recipe("ddim", diffusion_steps, None, seed, batch_size)
        generation = self._conditioned(recipe, len(images), labels, None)
        if dequantize:
            levels = np.random.default_rng(seed % 2**64).random(images.shape)
            images = ((255.0 * images + levels) / 256.0).astype("float32")
        densities = log_densities(generation, backend.to_numpy(self.normalizer(images)))
        scales = backend.to_numpy(self.normalizer.scales).astype("float64")
        pixels = self.image_shape[0] * self.image_shape[1]
        densities -= pixels * np.log(scales).sum()
        size = pixels * self.image_shape[2]
        return -densities / (size * np.log(2.0)) + _BITS_PER_VALUE
