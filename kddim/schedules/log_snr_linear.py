"""A log signal-to-noise ratio that falls linearly."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kddim.schedules.base import Schedule


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class LogSNRLinearSchedule(Schedule):
    """The log signal-to-noise ratio falls linearly with time.

    `log_snr(t) = start_log_snr + t (end_log_snr - start_log_snr)`, as in variational
    diffusion models (Kingma et al., NeurIPS 2021, arXiv 2107.00630).

    Args:
        start_log_snr: at time 0; 2.5 is a signal rate of 0.96.
        end_log_snr: at time 1, below `start_log_snr`; -7.5 is a signal rate of 0.02.
    """

    start_log_snr: float = 2.5
    end_log_snr: float = -7.5

    def __post_init__(self):
        if not -np.inf < self.end_log_snr < self.start_log_snr < np.inf:
            raise ValueError(
                "LogSNRLinearSchedule expects finite end_log_snr < start_log_snr. "
                f"Received: start_log_snr={self.start_log_snr}, "
                f"end_log_snr={self.end_log_snr}"
            )

    def log_snr(self, diffusion_times: Any) -> Any:
        return self.start_log_snr + diffusion_times * (self.end_log_snr - self.start_log_snr)

    def time_at_log_snr(self, log_snr: Any) -> Any:
        return (log_snr - self.start_log_snr) / (self.end_log_snr - self.start_log_snr)
