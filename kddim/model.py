"""The diffusion model: a `keras.Model` around a denoising network."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kddim import backend, latents, samplers
from kddim.checks import check_count, join_shape
from kddim.generator import Generator, pad_batch
from kddim.images import check_images
from kddim.plots import show_images
from kddim.samplers import times as time_grids


@keras.saving.register_keras_serializable(package="kddim")
class DiffusionModel(Generator):
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
        schedule: a name ("cosine", "linear_beta", "log_snr_linear", "sigmoid",
            "nichol_dhariwal"), a `kddim.schedules.Schedule`, or its configuration.
        prediction_type: what the network predicts: "noise", "image" or "velocity".
        loss_type: what the loss compares, of the same three words; None is
            `prediction_type`. Another one converts the prediction first, which weighs
            times differently: an error `e` of the noise is `e * noise_rate / signal_rate`
            in the image and `e / signal_rate` in the velocity.
        ema: decay of the moving average, in [0, 1).
        network: a Keras model `[noisy_images, noise_variances (batch, 1, 1, 1)] ->
            prediction` of the images' shape, instead of the residual UNet. It must be
            one that `keras.models.clone_model` can copy.
        remat: whether training keeps what goes from one residual block to the next alone,
            and computes the inside of the blocks again for the gradients: less memory for
            more time (benchmarks/RESULTS.md has both).
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
        """Images along the arc between two noises (DDIM paper, Sec. 5.3).

        `kddim.latents.slerp_grid` fills a grid of four corners in the same way, for
        `generate(..., initial_noise=...)`.

        Args:
            start_noise: `(height, width, channels)`, standard normal: of
                `kddim.latents.initial_noise`, or the latents of `encode`.
            end_noise: likewise.
            num_images: at least 2; the first and last are the images of the two noises.
            diffusion_steps: see `generate`.
            sampler: see `generate`; deterministic ones give smooth paths.
            seed: of the noise that a stochastic sampler adds.
            **kwargs: see `generate`.

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
        if check_count("num_images", num_images) < 2:
            raise ValueError("Expected `num_images` of at least 2, the two ends. Received: 1")
        fractions = np.linspace(0.0, 1.0, num_images)
        noises = latents.slerp(start_noise, end_noise, fractions)
        kwargs |= {"seed": seed, "initial_noise": noises}
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
        """Latents of images: the deterministic process run backwards (Sec. 4.3).

        The process starts, at the last time of the grid, from
        `signal_rate * image + noise_rate * noise` at the rates of that time. Where the
        schedule ends clean (signal rate 1) that is the image, as in the paper. The angle
        schedule ends at signal rate 0.95: there the noise is drawn by `seed`, so that
        the network sees what it was trained on, and latents are standard normal as the
        noises of `generate` are. `reconstruct` takes the same noise away again, so that
        its error falls to zero as steps grow.

        Args:
            images: in [0, 1], `(batch, height, width, channels)`.
            diffusion_steps: at least 1.
            sampler: "ddim", or a `kddim.samplers.DDIM` with its grid `times` and `clip`;
                its steps are followed in the other direction.
            seed: of the noise at the clean end, where the schedule has any.
            batch_size: images computed at once.
            schedule: see `reverse_diffusion`.
            callback: see `generate`; here steps lead from images to latents.

        Returns:
            NumPy float32 latents of the images' shape.

        Raises:
            ValueError: images of another shape, or outside [0, 1]; a sampler that is
                not DDIM, or stochastic, which has no inverse.
        """
        images = check_images(images, self.image_shape)
        inverse = samplers.inverse_of(samplers.get(sampler))
        normalised = backend.to_numpy(self.normalizer(images))
        noise_rate, signal_rate = self._last_rates(inverse, diffusion_steps, schedule)
        start = signal_rate * normalised + noise_rate * self._end_noise(len(images), seed)
        options = {"batch_size": batch_size, "schedule": schedule, "callback": callback}
        return self._follow(inverse, start.astype("float32"), diffusion_steps, **options)

    def reconstruct(
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
        """Images encoded and decoded again on the same grid (DDIM paper, Table 2).

        Args:
            images: see `encode`.
            diffusion_steps: see `encode`; the error falls as they grow.
            sampler: see `encode`.
            seed: see `encode`.
            batch_size: see `encode`.
            schedule: see `encode`.
            callback: see `encode`; called for the way there, then for the way back.

        Returns:
            NumPy float32 images in [0, 1].

        Raises:
            ValueError: as `encode`.
        """
        options = {"batch_size": batch_size, "schedule": schedule, "callback": callback}
        encoded = self.encode(images, diffusion_steps, sampler, seed=seed, **options)
        return self.decode(encoded, diffusion_steps, sampler, seed=seed, **options)

    def decode(
        self,
        latents: Any,
        diffusion_steps: int = 100,
        sampler: Any = "ddim",
        *,
        seed: int = 0,
        batch_size: int = 64,
        schedule: Any = None,
        callback: Callable | None = None,
    ) -> np.ndarray:
        """Images of the latents that `encode` gave: the way back, to the image itself.

        `generate(initial_noise=latents)` ends with the network's prediction of the image;
        this ends where `encode` began, and takes away the noise that was added there.

        Args:
            latents: `(batch, height, width, channels)`.
            diffusion_steps: as in `encode`, and likewise the other arguments.
            sampler: see `encode`.
            seed: see `encode`.
            batch_size: see `encode`.
            schedule: see `encode`.
            callback: see `encode`.

        Returns:
            NumPy float32 images in [0, 1].

        Raises:
            ValueError: latents of another shape; a sampler that `encode` refuses.
        """
        latents = backend.to_numpy(latents).astype("float32")
        sampler = samplers.get(sampler)
        samplers.inverse_of(sampler)
        options = {"batch_size": batch_size, "schedule": schedule, "callback": callback}
        decoded = self._follow(sampler, latents, diffusion_steps, **options)
        noise_rate, signal_rate = self._last_rates(sampler, diffusion_steps, schedule)
        normalised = (decoded - noise_rate * self._end_noise(len(decoded), seed)) / signal_rate
        return backend.to_numpy(self.denormalize(normalised.astype("float32")))

    def _last_rates(self, sampler: Any, diffusion_steps: int, schedule: Any) -> tuple[float, float]:
        schedule = self._schedule_of_sampling(schedule)
        last_time = time_grids.grid(sampler.times, schedule, diffusion_steps)[-1]
        noise_rate, signal_rate = schedule(last_time)
        return float(noise_rate), float(signal_rate)

    def _end_noise(self, num_images: int, seed: int) -> np.ndarray:
        if seed is None:
            raise ValueError("Expected `seed` to be an int, to take the same noise away again.")
        return latents.noise(
            num_images, self.image_shape, latents.resolve_seed(seed), draw=latents.END
        )

    def _follow(
        self,
        sampler: Any,
        start: np.ndarray,
        steps: int,
        *,
        batch_size: int,
        schedule: Any,
        callback: Callable | None,
    ) -> np.ndarray:
        """The noisy images at the last time of a sampler's grid, batch by batch."""
        if start.ndim != 4 or start.shape[1:] != self.image_shape or not len(start):
            raise ValueError(
                f"Expected latents of shape (batch, {join_shape(self.image_shape)}). "
                f"Received: {start.shape}"
            )
        self._warn_of_unseen_rates(sampler, schedule, steps)
        batch_size = min(check_count("batch_size", batch_size), len(start))
        followed = np.empty_like(start)
        last: dict[str, Any] = {}

        def remember(step: int, noisy_images: Any, pred_images: Any) -> Any:
            last["noisy"] = noisy_images
            return callback(step, noisy_images, pred_images) if callback else None

        for first in range(0, len(start), batch_size):
            batch = pad_batch(start, first, batch_size)
            self.reverse_diffusion(batch, steps, sampler, schedule=schedule, callback=remember)
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
