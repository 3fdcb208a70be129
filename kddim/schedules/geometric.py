"""The noise levels of NCSN, in variance-preserving form."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kddim.schedules.base import Schedule


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class GeometricSchedule(Schedule):
    """Schedule whose noise levels form a geometric sequence (Song and Ermon, arXiv 1907.05600).

    The level at time `t` is `sigma = sigma_min * (sigma_max / sigma_min)**t`. NCSN, and the
    variance-exploding SDE (Song et al., ICLR 2021, arXiv 2011.13456), add noise to the image as
    it is: `x + sigma * noise`. This package divides that by `sqrt(1 + sigma**2)`:

        signal_rate = 1 / sqrt(1 + sigma**2)        noise_rate = sigma / sqrt(1 + sigma**2)

    Both hold the same information, and the score of the former is `signal_rate` times the latter's.
    Images are normalised to unit variance here, and in [0, 1] in the papers, so that a level of
    theirs is about three to four times as large here.

    Args:
        sigma_min: Noise level at time 0, above 0.
        sigma_max: Noise level at time 1, above `sigma_min`.

    Raises:
        ValueError: If a level is not finite, or if they are not in this order.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self):
        valid = 0.0 < self.sigma_min < self.sigma_max < np.inf
        self._expect(valid, "finite 0 < sigma_min < sigma_max")

    def log_snr(self, diffusion_times: Any) -> Any:
        """Return the log-SNR, which falls evenly with time."""
        start, end = np.log(self.sigma_min), np.log(self.sigma_max)
        return -2.0 * (float(start) + diffusion_times * float(end - start))

    def time_at_log_snr(self, log_snr: Any) -> Any:
        """Return the diffusion times of log-SNRs."""
        start, end = float(np.log(self.sigma_min)), float(np.log(self.sigma_max))
        return (-0.5 * log_snr - start) / (end - start)
