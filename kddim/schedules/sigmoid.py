"""The sigmoid schedule."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kddim.backend import array_module
from kddim.schedules.base import Schedule


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class SigmoidSchedule(Schedule):
    """Schedule whose squared signal rate falls along an interval of the sigmoid function.

    With `u(t) = (start + t * (end - start)) / tau`, the papers define
    `alpha_bar(t) = (sigmoid(u(1)) - sigmoid(u(t))) / (sigmoid(u(1)) - sigmoid(u(0)))` (Jabri,
    Fleet and Chen, ICML 2023, arXiv 2212.11972; Chen 2023, arXiv 2301.10972, Algorithm 1), which
    falls from 1 to 0. Its log-SNR is computed without cancellation at either end, as
    `log(sinh((1 - t) * d) / sinh(t * d)) + log(cosh(u(0) / 2) / cosh(u(1) / 2))` with
    `d = (end - start) / (2 * tau)`.

    Differs from the papers, which clip `alpha_bar` at 1e-9: here
    `signal_rate**2 = m + (1 - m) * alpha_bar` with `m = min_signal_rate**2`, so that the curve
    falls strictly and has an inverse. By default it ends at the signal rate of `CosineSchedule`,
    because noise predictions are divided by the signal rate. The end of the papers is
    `min_signal_rate=1e-9**0.5`. With that value or 0, predict the velocity or the image.

    Args:
        start: Start of the interval, finite and below `end`.
        end: End of the interval, finite.
        tau: Temperature, finite and above 0. The curve is steeper for smaller values.
        min_signal_rate: Signal rate at time 1, in [0, 1).

    Raises:
        ValueError: If an argument lies outside its range.
    """

    start: float = -3.0
    end: float = 3.0
    tau: float = 1.0
    min_signal_rate: float = 0.02

    def __post_init__(self):
        finite = -np.inf < self.start < self.end < np.inf and 0.0 < self.tau < np.inf
        if not (finite and 0.0 <= self.min_signal_rate < 1.0):
            raise ValueError(
                "SigmoidSchedule expects finite start < end, a finite tau > 0 and "
                f"0 <= min_signal_rate < 1. Received: start={self.start}, end={self.end}, "
                f"tau={self.tau}, min_signal_rate={self.min_signal_rate}"
            )

    @property
    def _span(self) -> float:
        return (self.end - self.start) / self.tau

    @property
    def _shift(self) -> float:
        """The constant `log(cosh(u(0) / 2) / cosh(u(1) / 2))`."""
        first, last = abs(self.start / self.tau), abs(self.end / self.tau)
        return float(0.5 * (first - last) + np.log1p(np.exp(-first)) - np.log1p(np.exp(-last)))

    @property
    def _floor(self) -> tuple[float, float]:
        """Logarithms of the lowest SNR, `m / (1 - m)`, and of `1 - m`."""
        rest = np.log1p(-(self.min_signal_rate**2))
        with np.errstate(divide="ignore"):
            return float(2.0 * np.log(self.min_signal_rate) - rest), float(rest)

    def log_snr(self, diffusion_times: Any) -> Any:
        """Return `log((m + SNR) / (1 - m))`, where SNR is that of the papers' `alpha_bar`."""
        xp, t, span = array_module(diffusion_times), diffusion_times, self._span
        with np.errstate(divide="ignore"):
            # log(sinh(x)) = x + log(1 - exp(-2 x)) - log(2)
            ends = xp.log(-xp.expm1(-(1.0 - t) * span)) - xp.log(-xp.expm1(-t * span))
        log_snr = (0.5 - t) * span + ends + self._shift
        lowest, rest = self._floor
        return xp.logaddexp(xp.full_like(log_snr, lowest), log_snr - rest)

    def time_at_log_snr(self, log_snr: Any) -> Any:
        """Return the solution `t` of `sinh((1 - t) * d) / sinh(t * d) = exp(x)`.

        It is `t = (softplus(d - x) - softplus(-d - x)) / (2 * d)`.
        """
        xp, half = array_module(log_snr), 0.5 * self._span
        lowest, rest = self._floor
        lowest = max(lowest, -1e4)  # Without any signal, inf - inf would give nan.
        with np.errstate(divide="ignore"):
            above = xp.log(-xp.expm1(xp.minimum(lowest - log_snr, 0.0)))
        # Below -d - 50 the time is 1 in every precision, and -inf would give nan.
        x = xp.maximum(log_snr + above + rest - self._shift, -half - 50.0)
        zeros = xp.zeros_like(x)
        return (xp.logaddexp(zeros, half - x) - xp.logaddexp(zeros, -half - x)) / self._span
