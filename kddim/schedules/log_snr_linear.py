"""The schedule with a linear log signal-to-noise ratio."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kddim.schedules.base import Schedule


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class LogSNRLinearSchedule(Schedule):
    """Schedule whose log signal-to-noise ratio falls linearly with time.

    `log_snr(t) = start_log_snr + t * (end_log_snr - start_log_snr)`, as in variational diffusion
    models (Kingma, Salimans, Poole and Ho, NeurIPS 2021, arXiv 2107.00630).

    Args:
        start_log_snr: Log-SNR at time 0, finite. 2.5 is a signal rate of 0.96.
        end_log_snr: Log-SNR at time 1, finite and below `start_log_snr`. -7.5 is a signal rate of
            0.02.

    Raises:
        ValueError: If an end is not finite, or if `end_log_snr` is not below `start_log_snr`.
    """

    start_log_snr: float = 2.5
    end_log_snr: float = -7.5

    def __post_init__(self):
        valid = -np.inf < self.end_log_snr < self.start_log_snr < np.inf
        self._expect(valid, "finite end_log_snr < start_log_snr")

    def log_snr(self, diffusion_times: Any) -> Any:
        """Return the log-SNR, which falls evenly with time."""
        return self.start_log_snr + diffusion_times * (self.end_log_snr - self.start_log_snr)

    def time_at_log_snr(self, log_snr: Any) -> Any:
        """Return the diffusion times of log-SNRs."""
        return (log_snr - self.start_log_snr) / (self.end_log_snr - self.start_log_snr)
