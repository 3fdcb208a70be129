"""The predictor-corrector sampler of score-based models."""

import dataclasses

import keras
import numpy as np
from keras import ops

from kddim.checks import check_count
from kddim.samplers.base import Clip, Rates
from kddim.samplers.ddim import Ancestral
from kddim.samplers.times import Times

MOST_CORRECTOR_STEPS = 1000


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class PredictorCorrector(Ancestral):
    """Ancestral steps between noise levels, and Langevin steps at each (arXiv 2011.13456).

    At each level, the corrector takes `corrector_steps` steps (Song et al., ICLR 2021, Algorithms 3
    and 5) `x + a * score + sqrt(2 * a) * fresh_noise`, with `a = 2 * (snr * |fresh_noise| /
    |score|)**2`. Then the predictor goes to the next level by an ancestral step, which is that of
    `DDPM`. In this package's variance-preserving form, with `q = |fresh_noise| / |pred_noise|`:

        noisy - 2 * (snr * q)**2 * noise_rate * pred_noise + 2 * snr * q * noise_rate * noise

    The norms are those of single images, and not means over the batch as in the paper's code, so
    that images do not depend on the batch that they are in.

    Args:
        snr: Signal-to-noise ratio of the corrector, above 0. The paper has 0.16 for CIFAR-10.
        corrector_steps: Number of steps of the corrector per noise level, at least 1.
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If a number is out of range, or if `times` or `clip` is invalid.
    """

    snr: float = 0.16
    corrector_steps: int = 1
    times: Times = "uniform"
    clip: Clip = None

    eta = 1.0
    stochastic = True
    host_options = ("times", "snr", "corrector_steps")

    def __post_init__(self):
        super().__post_init__()
        check_count("corrector_steps", self.corrector_steps, 1, MOST_CORRECTOR_STEPS)
        if not 0.0 < self.snr < 1.0:
            raise ValueError(f"Expected `snr` in (0, 1). Received: {self.snr}")

    @property
    def calls_per_step(self) -> int:
        """Number of network calls per step: those of the corrector, and one more."""
        return self.corrector_steps + 1

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the coefficients of the predictor, and those of the corrector's calls."""
        calls = self.calls_per_step
        found = {name: np.repeat(v, calls) for name, v in super().coefficients(rates).items()}
        corrects = np.arange(len(found["sigma"])) % calls < self.corrector_steps
        return found | {
            "corrects": corrects.astype("float64"),
            "correction": self.snr * found["noise_rate"],
            "snr": np.full(len(corrects), self.snr),
        }

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Compute one call, from one prediction and fresh noise."""
        c = coefficients
        pred_noises, pred_images = denoise(noisy_images, c["noise_rate"], c["signal_rate"])
        predicted = (
            c["next_signal_rate"] * pred_images
            + c["pred_noise_scale"] * pred_noises
            + c["sigma"] * noises
        )
        ratio = _norm(noises) / ops.maximum(_norm(pred_noises), 1e-6)
        drift = 2.0 * c["correction"] * c["snr"] * ratio**2 * pred_noises
        corrected = noisy_images - drift + 2.0 * c["correction"] * ratio * noises
        return ops.where(c["corrects"] > 0.5, corrected, predicted), pred_images, state


def _norm(images):
    """Return the Euclidean norm of each image, with axes of length one."""
    axes = tuple(range(1, len(images.shape)))
    return ops.sqrt(ops.sum(images**2, axis=axes, keepdims=True))
