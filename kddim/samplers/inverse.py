"""The inverse of DDIM: from images to latents."""

import dataclasses

import keras
import numpy as np

from kddim.samplers.base import Clip, Rates, Sampler
from kddim.samplers.ddim import DDIM
from kddim.samplers.times import Times
from kddim.schedules import Schedule

# First timestep of DDPM, with the least noise that a network of discrete times has seen.
_FIRST_TIME = 1e-3


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class DDIMInverse(Sampler):
    """Deterministic process from images to noise (DDIM paper, Section 4.3).

    It takes Euler steps of the same ordinary differential equation as `DDIM()`, on the same grid
    in the opposite direction. The noisy images after the last step are the latents. If the noise
    rate at the clean end is 0, the first prediction uses the rates of time 1/1000, because the
    network has never seen images without noise.

    It starts from images and cannot generate any. It therefore has no name for `get`.

    Args:
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times, which the steps follow backwards.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If `times` or `clip` is invalid.
    """

    times: Times = "uniform"
    clip: Clip = None

    host_options = ("times",)

    def rates(self, schedule: Schedule, diffusion_steps: int) -> Rates:
        """Return the rates of the grid, from clean to noisy."""
        forward = super().rates(schedule, diffusion_steps)
        noise = np.append(forward.noise, forward.next_noise[-1:])[::-1]
        signal = np.append(forward.signal, forward.next_signal[-1:])[::-1]
        return Rates(noise[:-1], signal[:-1], noise[1:], signal[1:], schedule)

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the rates of each step and the rates that the denoiser is called with."""
        first_noise, first_signal = rates.at(_FIRST_TIME)
        clean = rates.noise == 0.0
        return rates.by_name | {
            "asked_noise_rate": np.where(clean, first_noise, rates.noise),
            "asked_signal_rate": np.where(clean, first_signal, rates.signal),
        }

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Compute one step towards noise."""
        c = coefficients
        pred_noises, _ = denoise(noisy_images, c["asked_noise_rate"], c["asked_signal_rate"])
        pred_images = (noisy_images - c["noise_rate"] * pred_noises) / c["signal_rate"]
        next_noisy_images = c["next_signal_rate"] * pred_images + c["next_noise_rate"] * pred_noises
        return next_noisy_images, pred_images, state


def inverse_of(sampler: Sampler) -> DDIMInverse:
    """Return the inverse of a deterministic DDIM sampler on the same grid.

    Args:
        sampler: `DDIM` sampler with `eta=0`.

    Raises:
        ValueError: If the sampler is not DDIM, or is stochastic: many noises then lead to the same
            image.
    """
    if sampler.stochastic or not isinstance(sampler, DDIM):
        kind = "which is stochastic" if sampler.stochastic else "which has no inverse here"
        raise ValueError(
            "Expected a deterministic sampler to encode with: DDIM(eta=0), with any `times`. "
            f"Received: {sampler}, {kind}"
        )
    return DDIMInverse(times=sampler.times, clip=sampler.clip)
