"""The sampler of the DDPM paper."""

import dataclasses

import keras
import numpy as np

from kddim.checks import check_choice
from kddim.samplers.base import Clip, Rates
from kddim.samplers.ddim import Ancestral
from kddim.samplers.times import Times


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class DDPM(Ancestral):
    """Denoising diffusion probabilistic models (Ho, Jain and Abbeel, arXiv 2006.11239).

    Each step draws from a normal distribution with the mean of the posterior
    `q(x_{t-1} | x_t, x_0)` (Eq. 7). The variance "small" is that of the posterior, which makes the
    sampler equal to `DDIM(eta=1)`. The variance "large" has the standard deviation
    `sigma_hat = sqrt(1 - a / a_next)`, with `a = signal_rate**2` (DDIM paper, below Eq. 16). It
    gives better images with about as many steps as in training, and much worse ones with few
    steps. A step to a clean image (noise rate 0) adds no noise, as in the code of both papers.

    Args:
        variance: "small" or "large".
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If `variance`, `times` or `clip` is invalid.
    """

    variance: str = "small"
    times: Times = "uniform"
    clip: Clip = None

    # With both variances the mean is that of the posterior, which is eta = 1 in Eq. 16.
    eta = 1.0
    stochastic = True

    def __post_init__(self):
        super().__post_init__()
        check_choice("variance", self.variance, ("small", "large"))

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the coefficients of the ancestral step, with the chosen variance."""
        coefficients = super().coefficients(rates)
        if self.variance == "large":
            ratio = np.clip(rates.signal / rates.next_signal, 0.0, 1.0)
            sigma_hat = np.sqrt(1.0 - ratio**2)
            coefficients["sigma"] = np.where(rates.next_noise > 0.0, sigma_hat, 0.0)
        return coefficients
