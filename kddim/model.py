"""The diffusion model: a `keras.Model` around a denoising network."""

import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import backend, latents, samplers
from kddim.denoiser import TrainedDenoiser, join_shape
from kddim.images import check_images
from kddim.plots import show_images
from kddim.samplers.times import check_steps

log = logging.getLogger("kddim")


@keras.saving.register_keras_serializable(package="kddim")
class DiffusionModel(TrainedDenoiser):
    """Denoising diffusion implicit model (Song, Meng and Ermon, arXiv 2010.02502).

    Training: images -> normaliser -> mixed with noise at the schedule's rates ->
    network -> loss -> exponential moving average (EMA) of the weights.
    Generation: noise -> sampler, step by step, through the EMA network -> the last
    step's predicted images -> denormalised images.

    The EMA network starts as a copy of the network, and its decay is
    `min(ema, (1 + n) / (10 + n))` after `n` training steps.
    Differs from keras.io: there it starts from weights of its own random draw and has
    a constant decay, so that a run of fewer than some thousand steps samples from
    what is left of the draw.

    Args:
        image_size: int or `(height, width)`, divisible by `2**(len(widths) - 1)`.
        widths: channels of each level of the residual UNet, the finest first.
        block_depth: residual blocks a level.
        channels: of the images; any number.
        schedule: a name ("cosine", "linear_beta", "log_snr_linear"), a
            `kddim.schedules.Schedule`, or its configuration.
        prediction_type: what the network predicts and is trained on: "noise",
            "image" or "velocity".
        ema: decay of the moving average, in [0, 1).
        network: a Keras model `[noisy_images, noise_variances (batch, 1, 1, 1)] ->
            prediction` of the images' shape, instead of the residual UNet. It must be
            one that `keras.models.clone_model` can copy.
        seed: of the noises and times drawn in training; None draws a fresh one.
        name: the model's name.

    Attributes:
        normalizer: adapt it before training: `model.normalizer.adapt(dataset)`.
        network: the trained network.
        ema_network: its moving average, which validates and generates.
        schedule: the `Schedule`.

    Raises:
        ValueError: an option outside its range; the message says which.

    Example:
        >>> train, validation = kddim.data.load("digits", 8)
        >>> model = kddim.DiffusionModel(8, widths=(32, 64, 96), channels=1)
        >>> model.normalizer.adapt(train)
        >>> model.compile()
        >>> model.fit(train, validation_data=validation, epochs=100)
        >>> images = model.generate(16, seed=0)
    """

    def reverse_diffusion(
        self,
        initial_noise: Any,
        diffusion_steps: int,
        sampler: Any = "ddim",
        *,
        seed: int | None = None,
        start: int = 0,
        callback: Callable | None = None,
    ) -> Any:
        """Turns noise into images with the EMA network.

        Args:
            initial_noise: standard normal, `(batch, height, width, channels)`.
            diffusion_steps: at least 1.
            sampler: a name or a `kddim.samplers.Sampler`.
            seed: of the noise that a stochastic sampler adds.
            start: index of the first image within `seed`.
            callback: `callback(step, noisy_images, pred_images)` after each step;
                returning `True` stops.

        Returns:
            The last step's predicted images, normalised: a float32 backend tensor.

        Raises:
            ValueError: noise of another shape than the model's images, zero steps.
        """
        shape = np.shape(initial_noise) if isinstance(initial_noise, list) else initial_noise.shape
        shape = tuple(shape)
        if len(shape) != 4 or shape[1:] != self.image_shape or not shape[0]:
            raise ValueError(
                f"Expected initial_noise of shape (batch, {join_shape(self.image_shape)}). "
                f"Received: {shape}"
            )
        sampler = samplers.get(sampler)
        return sampler.sample(
            self._denoise_with_ema,
            self.schedule,
            ops.convert_to_tensor(initial_noise, "float32"),
            diffusion_steps,
            seed=seed,
            start=start,
            callback=callback,
            compile_step=lambda step: self._compiled_steps.get(
                (sampler.compile_key, id(self.ema_network)), step, self.ema_network.variables
            ),
        )

    def _denoise_with_ema(self, noisy_images, noise_rates, signal_rates):
        return self.denoise(noisy_images, noise_rates, signal_rates, training=False)

    def generate(
        self,
        num_images: int,
        diffusion_steps: int = 20,
        sampler: Any = "ddim",
        *,
        seed: int | None = None,
        initial_noise: Any = None,
        batch_size: int = 64,
        verbose: int = 0,
    ) -> np.ndarray:
        """Generates images.

        Args:
            num_images: at least 1.
            diffusion_steps: at least 1.
            sampler: a name or a `kddim.samplers.Sampler`.
            seed: image `i` of a seed is the same whatever the batch size and the
                number of images; None draws a fresh seed.
            initial_noise: `(num_images, height, width, channels)` to start from,
                instead of the noise of `seed`.
            batch_size: images computed at once; the last batch is padded to it.
            verbose: 1 shows a progress bar.

        Returns:
            NumPy float32 `(num_images, height, width, channels)` in [0, 1].

        Raises:
            ValueError: fewer than one image, step or batch; noise of another shape.
        """
        sampler = samplers.get(sampler)
        num_images = _check_count("num_images", num_images)
        batch_size = min(_check_count("batch_size", batch_size), num_images)
        diffusion_steps = check_steps(diffusion_steps)
        if not self.normalizer.adapted:
            log.warning("the normaliser was not adapted: images are what it is at the start")
        seed = latents.resolve_seed(seed)
        if initial_noise is not None:
            initial_noise = backend.to_numpy(initial_noise).astype("float32")
            if initial_noise.shape != (num_images, *self.image_shape):
                raise ValueError(
                    f"Expected initial_noise of shape ({num_images}, {join_shape(self.image_shape)}). "
                    f"Received: {initial_noise.shape}"
                )
        num_batches = -(-num_images // batch_size)
        progress = keras.utils.Progbar(
            num_batches * diffusion_steps, verbose=verbose, unit_name="step"
        )
        images = np.empty((num_images, *self.image_shape), "float32")
        for start in range(0, num_images, batch_size):
            if initial_noise is None:
                noise = latents.initial_noise(batch_size, self.image_shape, seed, start)
            else:
                noise = _batch(initial_noise, start, batch_size)
            pred_images = self.reverse_diffusion(
                noise,
                diffusion_steps,
                sampler,
                seed=seed,
                start=start,
                callback=(lambda *_: progress.add(1)) if verbose else None,
            )
            pixels = backend.to_numpy(self.denormalize(pred_images))
            images[start : start + batch_size] = pixels[: num_images - start]
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
    ) -> np.ndarray:
        """Images along the arc between two noises (DDIM paper, Sec. 5.3).

        Args:
            start_noise: `(height, width, channels)`, standard normal.
            end_noise: likewise.
            num_images: at least 2; the first and last are the images of the two noises.
            diffusion_steps: see `generate`.
            sampler: see `generate`; deterministic ones give smooth paths.
            seed: of the noise that a stochastic sampler adds.

        Returns:
            NumPy float32 `(num_images, height, width, channels)` in [0, 1].

        Raises:
            ValueError: noises of another shape, or fewer than two images.
        """
        # One noise as `initial_noise(1, ...)` gives it is welcome too.
        start_noise, end_noise = (
            noise[0] if noise.ndim == 4 and len(noise) == 1 else noise
            for noise in (backend.to_numpy(start_noise), backend.to_numpy(end_noise))
        )
        if not start_noise.shape == end_noise.shape == self.image_shape:
            raise ValueError(
                f"Expected two noises of shape ({join_shape(self.image_shape)}). "
                f"Received: {start_noise.shape} and {end_noise.shape}"
            )
        if _check_count("num_images", num_images) < 2:
            raise ValueError("Expected `num_images` of at least 2, the two ends. Received: 1")
        fractions = np.linspace(0.0, 1.0, num_images)
        noises = latents.slerp(start_noise, end_noise, fractions)
        return self.generate(num_images, diffusion_steps, sampler, seed=seed, initial_noise=noises)

    def encode(
        self,
        images: Any,
        diffusion_steps: int = 100,
        *,
        times: Any = "uniform",
        batch_size: int = 64,
    ) -> np.ndarray:
        """Latents of images: the deterministic process run backwards (Sec. 4.3).

        The image, normalised, is taken as the noisy image at the last time of the grid,
        whatever noise rate the schedule has there, and followed to the first. That is
        the paper's convention where that noise rate is 0, and keeps the error of
        `reconstruct` falling to zero as steps grow where it is not.

        Args:
            images: in [0, 1], `(batch, height, width, channels)`.
            diffusion_steps: at least 1.
            times: the grid; see `kddim.samplers.Sampler`.
            batch_size: images computed at once.

        Returns:
            NumPy float32 latents of the images' shape. Where the noise rate at the last
            time is not 0 their standard deviation is below one: the image lacks the
            noise that the process has there.

        Raises:
            ValueError: images of another shape, or outside [0, 1].
        """
        images = check_images(images, self.image_shape)
        normalised = backend.to_numpy(self.normalizer(images))
        return self._follow(samplers.DDIMInverse(times), normalised, diffusion_steps, batch_size)

    def reconstruct(
        self,
        images: Any,
        diffusion_steps: int = 100,
        *,
        times: Any = "uniform",
        batch_size: int = 64,
    ) -> np.ndarray:
        """Images encoded and decoded again on the same grid (DDIM paper, Table 2).

        Args:
            images: see `encode`.
            diffusion_steps: see `encode`; the error falls as they grow.
            times: see `encode`.
            batch_size: see `encode`.

        Returns:
            NumPy float32 images in [0, 1].

        Raises:
            ValueError: as `encode`.
        """
        encoded = self.encode(images, diffusion_steps, times=times, batch_size=batch_size)
        decoded = self._follow(samplers.DDIM(times=times), encoded, diffusion_steps, batch_size)
        return backend.to_numpy(self.denormalize(decoded))

    def _follow(self, sampler: Any, start: np.ndarray, steps: int, batch_size: int) -> np.ndarray:
        """The noisy images at the last time of a sampler's grid, batch by batch."""
        batch_size = min(_check_count("batch_size", batch_size), len(start))
        followed = np.empty_like(start)
        for first in range(0, len(start), batch_size):
            last: dict[str, Any] = {}
            self.reverse_diffusion(
                _batch(start, first, batch_size),
                steps,
                sampler,
                callback=lambda step, noisy, pred, last=last: last.update(noisy=noisy),
            )
            noisy_images = backend.to_numpy(last["noisy"])
            followed[first : first + batch_size] = noisy_images[: len(start) - first]
        return followed

    def plot_images(
        self,
        epoch: int | None = None,
        logs: dict | None = None,
        num_rows: int = 3,
        num_cols: int = 6,
        diffusion_steps: int = 20,
        sampler: Any = "ddim",
        seed: int | None = None,
    ) -> None:
        """Shows a grid of generated images with Matplotlib.

        Usable as `keras.callbacks.LambdaCallback(on_epoch_end=model.plot_images)`.

        Args:
            epoch: counted from 0; stands in the title where it is given.
            logs: ignored; Keras passes them.
            num_rows: rows of the grid.
            num_cols: columns of the grid.
            diffusion_steps: see `generate`.
            sampler: see `generate`.
            seed: see `generate`; None draws other images at each call, as the
                keras.io example does.
        """
        images = self.generate(num_rows * num_cols, diffusion_steps, sampler, seed=seed)
        show_images(images, num_cols, title="" if epoch is None else f"epoch {epoch + 1}")


def _check_count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"Expected `{name}` to be an int of at least 1. Received: {value!r}")
    return int(value)


def _batch(array: np.ndarray, start: int, batch_size: int) -> np.ndarray:
    """One batch; a last, smaller one is padded with zeros, not compiled anew."""
    batch = array[start : start + batch_size]
    return np.pad(batch, [(0, batch_size - len(batch))] + [(0, 0)] * (array.ndim - 1))
