"""DDIM backwards: from images to latents."""

import dataclasses

import keras
import numpy as np

from kddim.samplers.base import Clip, Rates, Sampler
from kddim.samplers.ddim import DDIM
from kddim.samplers.times import Times
from kddim.schedules import Schedule

# DDPM's first timestep: the least noise that a discrete-time network was trained on.
_FIRST_TIME = 1e-3


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class DDIMInverse(Sampler):
    """The deterministic process followed from clean to noise (DDIM paper, Sec. 4.3).

    Euler steps of the same ordinary differential equation as `DDIM()`, on the same grid
    in the other direction: after the last step the noisy images are latents. Where the
    noise rate at the clean end is 0, the network is asked at the rates of time 1/1000
    there, since it never saw images without noise.

    It starts from images, and is no way to generate: it has no name in `get`.

    Args:
        times: the grid, decreasing as for other samplers; it is run through backwards.
        clip: see `Sampler`.
    """

    times: Times = "uniform"
    clip: Clip = None

    host_options = ("times",)

    def rates(self, schedule: Schedule, diffusion_steps: int) -> Rates:
        forward = super().rates(schedule, diffusion_steps)
        noise = np.append(forward.noise, forward.next_noise[-1:])[::-1]
        signal = np.append(forward.signal, forward.next_signal[-1:])[::-1]
        return Rates(noise[:-1], signal[:-1], noise[1:], signal[1:], schedule)

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """The rates of each step, and those that the network is asked at."""
        first_noise, first_signal = rates.at(_FIRST_TIME)
        clean = rates.noise == 0.0
        return {
            "noise_rate": rates.noise,
            "signal_rate": rates.signal,
            "asked_noise_rate": np.where(clean, first_noise, rates.noise),
            "asked_signal_rate": np.where(clean, first_signal, rates.signal),
            "next_noise_rate": rates.next_noise,
            "next_signal_rate": rates.next_signal,
        }

    def step(self, denoise, noisy_images, state, coefficients, noises):
        c = coefficients
        pred_noises, _ = denoise(noisy_images, c["asked_noise_rate"], c["asked_signal_rate"])
        pred_images = (noisy_images - c["noise_rate"] * pred_noises) / c["signal_rate"]
        next_noisy_images = c["next_signal_rate"] * pred_images + c["next_noise_rate"] * pred_noises
        return next_noisy_images, pred_images, state


def inverse_of(sampler: Sampler) -> DDIMInverse:
    """The way back of a deterministic DDIM, on its own grid.

    Raises:
        ValueError: the sampler is stochastic, so that many noises lead to one image, or
            is another than DDIM.
    """
    if sampler.stochastic or not isinstance(sampler, DDIM):
        kind = "which is stochastic" if sampler.stochastic else "which has no inverse here"
        raise ValueError(
            "Expected a deterministic sampler to encode with: DDIM(eta=0), with any `times`. "
            f"Received: {sampler}, {kind}"
        )
    return DDIMInverse(times=sampler.times, clip=sampler.clip)
