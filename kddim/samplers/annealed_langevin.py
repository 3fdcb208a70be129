"""Annealed Langevin dynamics, the sampler of NCSN."""

import dataclasses

import keras
import numpy as np

from kddim.checks import check_count
from kddim.samplers.base import Clip, Rates, Sampler
from kddim.samplers.times import Times

MOST_LANGEVIN_STEPS = 10_000


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class AnnealedLangevin(Sampler):
    """Annealed Langevin dynamics (Song and Ermon, NeurIPS 2019, arXiv 1907.05600, Algorithm 1).

    At each noise level `sigma = noise_rate / signal_rate`, images `x = noisy_image / signal_rate`
    take `langevin_steps` steps `x + a / 2 * score + sqrt(a) * fresh_noise`, with `a = step_size *
    sigma**2` and `score = -pred_noise / sigma`. In this package's variance-preserving form:

        noisy - step_size / 2 * noise_rate * pred_noise + sqrt(step_size) * noise_rate * noise

    The paper's `epsilon` is `step_size` times the square of its smallest sigma. Steps of finite
    size make the variance of the noise too large by a factor of about `1 + step_size / 4`. The
    images are those that the network predicts in the last step, as in NCSN++ (arXiv 2006.09011).

    Args:
        step_size: Size of a step in units of sigma squared, in (0, 2). The paper has 0.2.
        langevin_steps: Number of steps per noise level, at least 1. The paper has 100, with
            `diffusion_steps=10` levels.
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times. Levels are at the times that steps start from.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If a number is out of range, or if `times` or `clip` is invalid.
    """

    step_size: float = 0.2
    langevin_steps: int = 100
    times: Times = "uniform"
    clip: Clip = None

    stochastic = True
    host_options = ("times", "step_size", "langevin_steps")

    def __post_init__(self):
        super().__post_init__()
        check_count("langevin_steps", self.langevin_steps, 1, MOST_LANGEVIN_STEPS)
        if not 0.0 < self.step_size < 2.0:
            raise ValueError(f"Expected `step_size` in (0, 2). Received: {self.step_size}")

    @property
    def calls_per_step(self) -> int:
        """Number of network calls per step: one per Langevin step."""
        return self.langevin_steps

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the rates of each call, and the factors of its three terms."""
        found = {name: np.repeat(v, self.langevin_steps) for name, v in rates.by_name.items()}
        calls = np.arange(len(found["noise_rate"]))
        last = calls % self.langevin_steps == self.langevin_steps - 1
        # The images `x` stay as they are on the way to the next level, and the rates change.
        ratio = np.where(last, found["next_signal_rate"] / found["signal_rate"], 1.0)
        return found | {
            "ratio": ratio,
            "drift": -0.5 * self.step_size * ratio * found["noise_rate"],
            "diffusion": np.sqrt(self.step_size) * ratio * found["noise_rate"],
        }

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Compute one call, from one prediction and fresh noise."""
        c = coefficients
        pred_noises, pred_images = denoise(noisy_images, c["noise_rate"], c["signal_rate"])
        next_noisy_images = c["ratio"] * noisy_images + c["drift"] * pred_noises
        return next_noisy_images + c["diffusion"] * noises, pred_images, state
