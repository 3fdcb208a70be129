"""The resampling of RePaint: each step is done, undone with fresh noise, and done again."""

import dataclasses

import keras
import numpy as np

from kddim.checks import check_count
from kddim.samplers.base import Clip, Rates
from kddim.samplers.ddim import Ancestral
from kddim.samplers.times import Times

MOST_RESAMPLINGS = 1000


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class RePaint(Ancestral):
    """Steps of DDIM that are repeated, for filling in images (Lugmayr et al., arXiv 2201.09865).

    After each step but the last of its repetitions, noise is added to come back to the noise
    level of before, `noisy = ratio * next_noisy + sqrt(1 - ratio**2) * fresh_noise` with `ratio =
    signal_rate / next_signal_rate` (Algorithm 1, with jumps of length 1). With
    `kddim.guidance.KnownPixels` the invented pixels are thereby drawn several times beside known
    ones, and fit them better.

    Args:
        resamplings: Number of times that each step is done, at least 1. The paper has 10.
        eta: As in `DDIM`. The paper has 1.
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If a number is out of range, or if `times` or `clip` is invalid.

    Example:
        >>> model.inpaint(images, mask, sampler=RePaint(resamplings=10), seed=0)
    """

    resamplings: int = 10
    eta: float = 1.0
    times: Times = "uniform"
    clip: Clip = None

    stochastic = True
    host_options = ("times", "eta", "resamplings")

    def __post_init__(self):
        super().__post_init__()
        check_count("resamplings", self.resamplings, 1, MOST_RESAMPLINGS)

    @property
    def calls_per_step(self) -> int:
        """Number of network calls per step: one per repetition."""
        return self.resamplings

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the coefficients of DDIM, with the way back in all repetitions but the last."""
        found = super().coefficients(rates)
        repeated = {name: np.repeat(v, self.resamplings) for name, v in found.items()}
        last = np.arange(len(repeated["sigma"])) % self.resamplings == self.resamplings - 1
        ratio = np.where(last, 1.0, repeated["signal_rate"] / repeated["next_signal_rate"])
        # The fresh noise of the step and that of the way back are one normal number.
        variance = (ratio * repeated["sigma"]) ** 2 + 1.0 - ratio**2
        repeated["sigma"] = np.sqrt(np.maximum(variance, 0.0))
        for name in ("next_signal_rate", "pred_noise_scale"):
            repeated[name] = ratio * repeated[name]
        return repeated
