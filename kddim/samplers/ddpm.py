"""Ancestral sampling of DDPM."""

import dataclasses

import keras
import numpy as np

from kddim.samplers.base import Clip, Rates
from kddim.samplers.ddim import Ancestral
from kddim.samplers.times import Times

VARIANCES = ("small", "large")


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class DDPM(Ancestral):
    """Denoising diffusion probabilistic models (Ho et al., arXiv 2006.11239).

    "small" is the posterior's variance: `DDIM(eta=1)`. "large" keeps that mean, and adds
    noise of the standard deviation `sigma_hat = sqrt(1 - a / a_next)`, with
    `a = signal_rate**2` (DDIM paper, below Eq. 16): better with about as many steps as
    in training, much worse with few. A step to a clean image (noise rate 0) adds none,
    as in both papers' code.

    Args:
        variance: "small" or "large".
        times: see `Sampler`.
        clip: see `Sampler`.
    """

    variance: str = "small"
    times: Times = "uniform"
    clip: Clip = None

    # The mean of both variances is that of the posterior, eta = 1 of Eq. 16.
    eta = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.variance not in VARIANCES:
            raise ValueError(
                f"Unknown variance: expected 'small' or 'large'. Received: {self.variance!r}"
            )

    @property
    def stochastic(self) -> bool:
        return True

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        coefficients = super().coefficients(rates)
        if self.variance == "large":
            ratio = np.clip(rates.signal / rates.next_signal, 0.0, 1.0)
            sigma_hat = np.sqrt(1.0 - ratio**2)
            coefficients["sigma"] = np.where(rates.next_noise > 0.0, sigma_hat, 0.0)
        return coefficients
