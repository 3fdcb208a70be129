"""The schedule of flow matching."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kddim.backend import array_module
from kddim.schedules.base import Schedule


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class FlowMatchingSchedule(Schedule):
    """Schedule of flow matching, whose noise level is `sigma = t / (1 - t)` at time `t`.

    Flow matching (Lipman et al., ICLR 2023, arXiv 2210.02747) and rectified flow (Liu, Gong and
    Liu, ICLR 2023, arXiv 2209.03003) mix `(1 - t) * image + t * noise`. Here both are divided by
    `sqrt(t**2 + (1 - t)**2)`, so that the squares of the rates sum to one: the signal-to-noise
    ratios are the same, and so are the paths of deterministic samplers up to this factor. With
    `prediction_type="flow"`, the training target is that of the papers, `noise - image`.

    The signal rate is 0 at time 1, so that a network cannot predict the noise: predict the flow,
    the velocity or the image.
    """

    def log_snr(self, diffusion_times: Any) -> Any:
        """Return `2 * log((1 - t) / t)`."""
        xp, t = array_module(diffusion_times), diffusion_times
        with np.errstate(divide="ignore"):
            return 2.0 * (xp.log1p(-t) - xp.log(t))

    def time_at_log_snr(self, log_snr: Any) -> Any:
        """Return `sigmoid(-log_snr / 2)`."""
        xp = array_module(log_snr)
        return 0.5 - 0.5 * xp.tanh(0.25 * log_snr)

    def __call__(self, diffusion_times: Any) -> tuple[Any, Any]:
        """Return the rates, `t` and `1 - t` divided by their norm."""
        t = diffusion_times
        norm = (t**2 + (1.0 - t) ** 2) ** 0.5
        return t / norm, (1.0 - t) / norm
