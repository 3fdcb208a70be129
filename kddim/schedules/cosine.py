"""The angle schedule of the keras.io example."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kddim.backend import array_module
from kddim.schedules.base import Schedule


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Schedule of the keras.io example, with an angle that grows linearly with time.

    `signal_rate = cos(angle)` and `noise_rate = sin(angle)`, with
    `angle(t) = acos(max_signal_rate) + t * (acos(min_signal_rate) - acos(max_signal_rate))`.
    It is a simple continuous form of the cosine schedule of Nichol and Dhariwal (ICML 2021, arXiv
    2102.09672, Section 3.2).

    Args:
        min_signal_rate: Signal rate at time 1, in [0, max_signal_rate).
        max_signal_rate: Signal rate at time 0, in (min_signal_rate, 1].

    Raises:
        ValueError: If a rate lies outside its range.
    """

    min_signal_rate: float = 0.02
    max_signal_rate: float = 0.95

    def __post_init__(self):
        valid = 0.0 <= self.min_signal_rate < self.max_signal_rate <= 1.0
        self._expect(valid, "0 <= min_signal_rate < max_signal_rate <= 1")

    @property
    def _angles(self) -> tuple[float, float]:
        return float(np.arccos(self.max_signal_rate)), float(np.arccos(self.min_signal_rate))

    def __call__(self, diffusion_times: Any) -> tuple[Any, Any]:
        xp = array_module(diffusion_times)
        start, end = self._angles
        angles = start + diffusion_times * (end - start)
        return xp.sin(angles), xp.cos(angles)

    def log_snr(self, diffusion_times: Any) -> Any:
        """Return the log-SNR at diffusion times: that of the angle between the two ends."""
        xp = array_module(diffusion_times)
        noise_rates, signal_rates = self(diffusion_times)
        with np.errstate(divide="ignore"):
            # In float32, the cosine of a right angle is slightly below zero.
            return 2.0 * (xp.log(xp.maximum(signal_rates, 0.0)) - xp.log(noise_rates))

    def time_at_log_snr(self, log_snr: Any) -> Any:
        """Return the diffusion times of log-SNRs, from their angles."""
        xp = array_module(log_snr)
        start, end = self._angles
        with np.errstate(over="ignore"):
            return (xp.arctan(xp.exp(-0.5 * log_snr)) - start) / (end - start)


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class FineCosineSchedule(CosineSchedule):
    """`CosineSchedule` that ends with half of the noise, for images with finer detail.

    The last prediction of a sampler is an average of all images that fit to what is left of the
    noise. At the example's noise rate of 0.31 it has no grain and no fine edges. Here the noise
    rate is 0.14 at time 0.

    Args:
        min_signal_rate: Signal rate at time 1, in [0, max_signal_rate).
        max_signal_rate: Signal rate at time 0, in (min_signal_rate, 1].

    Raises:
        ValueError: If a rate lies outside its range.
    """

    max_signal_rate: float = 0.99
