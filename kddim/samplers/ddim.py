"""The generalised family of the DDIM paper."""

import dataclasses

import keras
import numpy as np

from kddim.samplers.base import Clip, Rates, Sampler
from kddim.samplers.times import Times


class Ancestral(Sampler):
    """What DDIM and DDPM share: Eq. 12, with a standard deviation that `eta` scales."""

    eta: float

    host_options = ("times", "eta", "variance")

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Eq. 16's `sigma`, and the scale that Eq. 12 leaves for the predicted noise.

        Raises:
            ValueError: `eta` is so large that a variance would be negative.
        """
        ratio = np.clip(rates.signal / rates.next_signal, 0.0, 1.0)
        sigma = self.eta * rates.next_noise / rates.noise * np.sqrt(1.0 - ratio**2)
        variance = rates.next_noise**2 - sigma**2
        if np.any(variance < -1e-12):
            worst = int(np.argmin(variance))
            raise ValueError(
                f"eta={self.eta} asks for more fresh noise than the next noise rate holds "
                f"(step {worst}: sigma {sigma[worst]:.4f}, rate {rates.next_noise[worst]:.4f}). "
                "Expected a smaller eta; at most 1 fits every grid."
            )
        return {
            "noise_rate": rates.noise,
            "signal_rate": rates.signal,
            "next_signal_rate": rates.next_signal,
            "pred_noise_scale": np.sqrt(np.maximum(variance, 0.0)),
            "sigma": sigma,
        }

    def step(self, denoise, noisy_images, state, coefficients, noises):
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
    """Denoising diffusion implicit models, Eq. 12 (arXiv 2010.02502).

    `next_noisy = next_signal_rate * pred_image
    + sqrt(next_noise_rate**2 - sigma**2) * pred_noise + sigma * fresh_noise`, with
    (Eq. 16) `sigma = eta sqrt((1 - a_next) / (1 - a)) sqrt(1 - a / a_next)`,
    `a = signal_rate**2`.

    Args:
        eta: 0 is deterministic (DDIM, the keras.io example's sampling), 1 is the
            posterior sampling of DDPM. It scales the standard deviation linearly.
        times: see `Sampler`.
        clip: see `Sampler`.

    Example:
        >>> model.generate(16, diffusion_steps=50, sampler=DDIM(eta=0.5), seed=0)
    """

    eta: float = 0.0
    times: Times = "uniform"
    clip: Clip = None

    def __post_init__(self):
        super().__post_init__()
        if not 0.0 <= self.eta < np.inf:
            raise ValueError(
                f"Expected `eta` of at least 0, usually at most 1. Received: {self.eta}"
            )

    @property
    def stochastic(self) -> bool:
        return self.eta > 0.0
