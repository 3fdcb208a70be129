"""Generation: from noise to images, with the sampler as the loop."""

import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import backend, latents, samplers, schedules
from kddim.checks import check_count, join_shape
from kddim.denoiser import Denoiser
from kddim.networks.folding import FoldedNetwork
from kddim.samplers.times import check_steps
from kddim.trainer import TrainedDenoiser

log = logging.getLogger("kddim")


class Generator(TrainedDenoiser):
    """A trained denoiser that generates.

    noise -> sampler, step by step: schedule and EMA network -> the last step's predicted
    images -> denormalised images.
    """

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
        """Turns noise into images with the EMA network.

        Args:
            initial_noise: standard normal, `(batch, height, width, channels)`.
            diffusion_steps: at least 1.
            sampler: a name or a `kddim.samplers.Sampler`.
            seed: of the noise that a stochastic sampler adds.
            start: index of the first image within `seed`.
            schedule: a name or a `kddim.schedules.Schedule` to sample on; None is the
                one of training. The network is told the noise variance, not the time,
                so that any schedule serves that stays within the rates it has seen.
            callback: `callback(step, noisy_images, pred_images)` after each step;
                returning `True` stops.

        Returns:
            The last step's predicted images, normalised: a float32 backend tensor.

        Raises:
            ValueError: noise of another shape than the model's images, zero steps, or
                a schedule that the prediction type cannot be sampled on.
        """
        shape = np.shape(initial_noise) if isinstance(initial_noise, list) else initial_noise.shape
        shape = tuple(shape)
        if len(shape) != 4 or shape[1:] != self.image_shape or not shape[0]:
            raise ValueError(
                f"Expected initial_noise of shape (batch, {join_shape(self.image_shape)}). "
                f"Received: {shape}"
            )
        sampler = samplers.get(sampler)
        with self._folded_networks.sampling(self.ema_network, backend.compile_step) as network:
            return sampler.sample(
                self._denoise_with_ema,
                self._schedule_of_sampling(schedule),
                ops.convert_to_tensor(initial_noise, "float32"),
                diffusion_steps,
                seed=seed,
                start=start,
                callback=callback,
                compile_step=lambda step: self._compiled_steps.get(
                    (sampler.compile_key, id(network)), step, self._read_in_sampling(network)
                ),
            )

    def _denoise_with_ema(self, noisy_images, noise_rates, signal_rates):
        if self._denoises_plainly:
            # In sampling all images of a batch have the same rates: what follows from them
            # alone is computed once.
            noise_rates, signal_rates = noise_rates[:1], signal_rates[:1]
        return self.denoise(noisy_images, noise_rates, signal_rates, training=False)

    @property
    def _denoises_plainly(self) -> bool:
        """Whether nobody overrode `denoise`, which may want a rate an image."""
        return getattr(self.denoise, "__func__", None) is Denoiser.denoise

    def _read_in_sampling(self, network: FoldedNetwork) -> list[Any]:
        """The variables that a step reads; somebody's own `denoise` may read any."""
        others = [] if self._denoises_plainly else self.variables
        return list({id(v): v for v in (*network.variables, *others)}.values())

    def _schedule_of_sampling(self, schedule: Any) -> schedules.Schedule:
        if schedule is None:
            return self.schedule
        schedule = schedules.get(schedule)
        schedules.check_terminal_rate(schedule, self.prediction_type)
        return schedule

    def _warn_of_unseen_rates(
        self, sampler: samplers.Sampler, schedule: Any, diffusion_steps: int
    ) -> None:
        """Says where another schedule leads the network beyond what it was trained on."""
        if schedule is None:
            return
        asked = sampler.rates(self._schedule_of_sampling(schedule), diffusion_steps)
        ends = self.schedule.training_times(np.array([0.0, np.nextafter(1.0, 0.0)]))
        seen = _log_snr(*self.schedule(ends))
        wanted = np.sort(_log_snr(asked.noise, asked.signal))[[-1, 0]]  # of an inverse too
        if wanted[0] > seen[0] + 1.0 or wanted[1] < seen[1] - 1.0:
            log.warning(
                "the schedule asks for log-SNRs of %.1f to %.1f, and the network was trained on %.1f "
                "to %.1f: images suffer. A grid `times` that begins and ends within them avoids it",
                *(wanted[1], wanted[0], seen[1], seen[0]),
            )

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
            start: index of the first image within `seed`: `generate(5, start=10)` are
                images 10 to 14 of it.
            batch_size: images computed at once; the last batch is padded to it.
            schedule: see `reverse_diffusion`.
            callback: see `reverse_diffusion`; it sees each batch in turn, the last one
                padded.
            verbose: 1 shows a progress bar.

        Returns:
            NumPy float32 `(num_images, height, width, channels)` in [0, 1].

        Raises:
            ValueError: fewer than one image, step or batch; noise of another shape.
        """
        sampler = samplers.get(sampler)
        num_images = check_count("num_images", num_images)
        batch_size = min(check_count("batch_size", batch_size), num_images)
        diffusion_steps = check_steps(diffusion_steps)
        if not self.normalizer.adapted:
            log.warning("the normaliser was not adapted: images are what it is at the start")
        self._warn_of_unseen_rates(sampler, schedule, diffusion_steps)
        seed = latents.resolve_seed(seed)
        if not hasattr(start, "__index__") or start < 0:
            raise ValueError(f"Expected `start` to be an int of at least 0. Received: {start!r}")
        if initial_noise is not None:
            initial_noise = self._checked_noise(initial_noise, num_images)
        steps = -(-num_images // batch_size) * diffusion_steps
        progress = keras.utils.Progbar(steps, verbose=verbose, unit_name="step")

        def after_step(step: int, noisy_images: Any, pred_images: Any) -> Any:
            if verbose:
                progress.add(1)
            return callback(step, noisy_images, pred_images) if callback else None

        images = np.empty((num_images, *self.image_shape), "float32")
        for first in range(0, num_images, batch_size):
            pred_images = self.reverse_diffusion(
                self._first_noise(initial_noise, first, batch_size, seed, start),
                diffusion_steps,
                sampler,
                seed=seed,
                start=start + first,
                schedule=schedule,
                callback=after_step if verbose or callback else None,
            )
            pixels = backend.to_numpy(self.denormalize(pred_images))
            images[first : first + batch_size] = pixels[: num_images - first]
        return images

    def _first_noise(
        self, given: np.ndarray | None, first: int, batch_size: int, seed: int, start: int
    ) -> np.ndarray:
        if given is not None:
            return pad_batch(given, first, batch_size)
        return latents.initial_noise(batch_size, self.image_shape, seed, start + first)

    def _checked_noise(self, initial_noise: Any, num_images: int) -> np.ndarray:
        noise = backend.to_numpy(initial_noise).astype("float32")
        if noise.shape != (num_images, *self.image_shape):
            raise ValueError(
                f"Expected initial_noise of shape ({num_images}, {join_shape(self.image_shape)}). "
                f"Received: {noise.shape}"
            )
        return noise


def pad_batch(array: np.ndarray, start: int, batch_size: int) -> np.ndarray:
    """One batch; a last, smaller one is padded with zeros, not compiled anew."""
    batch = array[start : start + batch_size]
    return np.pad(batch, [(0, batch_size - len(batch))] + [(0, 0)] * (array.ndim - 1))


def _log_snr(noise_rates: np.ndarray, signal_rates: np.ndarray) -> np.ndarray:
    tiny = 1e-12
    return 2.0 * (np.log(np.maximum(signal_rates, tiny)) - np.log(np.maximum(noise_rates, tiny)))
