"""The sampler of the DDIM paper, and the base class that it shares with DDPM."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np

from kddim.samplers.base import Clip, Rates, Sampler
from kddim.samplers.times import Times


class Ancestral(Sampler):
    """Sampling by Eq. 12 of the DDIM paper, with a standard deviation that `eta` scales.

    A subclass is a frozen dataclass with a field or a constant `eta`.
    """

    eta: float

    host_options: ClassVar[tuple[str, ...]] = ("times", "eta", "variance")

    def __post_init__(self):
        super().__post_init__()
        if not 0.0 <= self.eta < np.inf:
            raise ValueError(
                f"Expected `eta` of at least 0, usually at most 1. Received: {self.eta}"
            )

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the rates of each step, `sigma` of Eq. 16, and the scale of the predicted noise.

        The scale is `sqrt(next_noise_rate**2 - sigma**2)`, by Eq. 12.

        Raises:
            ValueError: If `eta` is so large that this variance is negative.
        """
        ratio = np.clip(rates.signal / rates.next_signal, 0.0, 1.0)
        sigma = self.eta * rates.next_noise / rates.noise * np.sqrt(1.0 - ratio**2)
        variance = rates.next_noise**2 - sigma**2
        if np.any(variance < -1e-12):
            worst = int(np.argmin(variance))
            raise ValueError(
                f"eta={self.eta} asks for more fresh noise than the next noise rate holds "
                f"(step {worst}: sigma {sigma[worst]:.4f}, rate {rates.next_noise[worst]:.4f}). "
                "Expected a smaller eta. Values of at most 1 fit every grid."
            )
        return rates.by_name | {
            "pred_noise_scale": np.sqrt(np.maximum(variance, 0.0)),
            "sigma": sigma,
        }

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Compute one step, with fresh noise if there is any."""
        c = coefficients
        pred_noises, pred_images = denoise(noisy_images, c["noise_rate"], c["signal_rate"])
        next_noisy_images = (
            c["next_signal_rate"] * pred_images + c["pred_noise_scale"] * pred_noises
        )
        if noises is not None:
            next_noisy_images = next_noisy_images + c["sigma"] * noises
        return next_noisy_images, pred_images, state


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class DDIM(Ancestral):
    """Denoising diffusion implicit models (Song, Meng and Ermon, ICLR 2021, arXiv 2010.02502).

    Each step computes (Eq. 12)
    `next_noisy = next_signal_rate * pred_image + sqrt(next_noise_rate**2 - sigma**2) * pred_noise
    + sigma * fresh_noise`, with (Eq. 16)
    `sigma = eta * sqrt((1 - a_next) / (1 - a)) * sqrt(1 - a / a_next)` and `a = signal_rate**2`.

    Args:
        eta: Scale of the standard deviation of the fresh noise, at least 0. 0 is deterministic:
            DDIM, and the sampling of the keras.io example. 1 samples from the posterior, as DDPM.
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If `eta` is negative or not finite, or if `times` or `clip` is invalid.

    Example:
        >>> model.generate(16, diffusion_steps=50, sampler=DDIM(eta=0.5), seed=0)
    """

    eta: float = 0.0
    times: Times = "uniform"
    clip: Clip = None

    @property
    def stochastic(self) -> bool:
        """True if steps add fresh noise."""
        return self.eta > 0.0
