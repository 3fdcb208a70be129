"""The base class of schedules that are defined by the betas of discrete timesteps."""

import abc
from typing import Any

import numpy as np

from kddim.backend import array_module
from kddim.checks import check_count
from kddim.schedules.base import Schedule

MOST_TIMESTEPS = 1_000_000  # models in use have 1,000 to 4,000


class DiscreteBetaSchedule(Schedule):
    """Schedule with `signal_rate**2 = alpha_bar_k = prod_{i<=k} (1 - beta_i)`, k = 1 to T.

    Time `k / T` has `alpha_bar_k`, and time 0 has signal rate 1. `log(alpha_bar)` is interpolated
    linearly between these times. Training uses only the discrete times, as in Ho, Jain and Abbeel
    (NeurIPS 2020, arXiv 2006.11239, Section 4).

    A subclass is a frozen dataclass with a field `num_timesteps`, which is T. It defines `betas`.
    """

    num_timesteps: int

    def _expect(self, valid: bool, wanted: str) -> None:
        super()._expect(valid, wanted)
        check_count("num_timesteps", self.num_timesteps, 2, MOST_TIMESTEPS)

    @abc.abstractmethod
    def betas(self) -> np.ndarray:
        """Return `beta_1` to `beta_T`, each in (0, 1), as a float64 array `(num_timesteps,)`."""

    @property
    def _log_alpha_bars(self) -> np.ndarray:
        return np.append(0.0, np.cumsum(np.log1p(-self.betas())))

    def _log_alpha_bar(self, diffusion_times: Any) -> Any:
        return _interpolate(diffusion_times * self.num_timesteps, self._log_alpha_bars)

    def __call__(self, diffusion_times: Any) -> tuple[Any, Any]:
        xp = array_module(diffusion_times)
        log_alpha_bars = self._log_alpha_bar(diffusion_times)
        return (-xp.expm1(log_alpha_bars)) ** 0.5, xp.exp(0.5 * log_alpha_bars)

    def log_snr(self, diffusion_times: Any) -> Any:
        """Return the log-SNR at diffusion times, interpolated in the table of `log(alpha_bar)`."""
        xp = array_module(diffusion_times)
        log_alpha_bars = self._log_alpha_bar(diffusion_times)
        with np.errstate(divide="ignore"):
            return log_alpha_bars - xp.log(-xp.expm1(log_alpha_bars))

    def time_at_log_snr(self, log_snr: Any) -> Any:
        """Return diffusion times from the table of `log(alpha_bar) = -softplus(-log_snr)`."""
        xp = array_module(log_snr)
        decay = xp.logaddexp(xp.zeros_like(log_snr), -log_snr)  # -log(alpha_bar)
        table = -self._log_alpha_bars
        if xp is np:
            return np.interp(decay, table, np.linspace(0.0, 1.0, len(table)))
        return xp.reshape(_invert(xp, xp.reshape(decay, (-1,)), table), xp.shape(log_snr))

    def training_times(self, uniform: Any) -> Any:
        """Return the times of the timesteps that hold uniform numbers."""
        xp = array_module(uniform)
        return (xp.floor(uniform * self.num_timesteps) + 1.0) / self.num_timesteps


def _interpolate(position: Any, table: np.ndarray) -> Any:
    """Interpolate `table` `(n,)` linearly at fractional positions in [0, n - 1]."""
    xp = array_module(position)
    if xp is np:
        position = np.asarray(position) * 1.0  # Integers become float64.
        return np.interp(position, np.arange(len(table)), table).astype(position.dtype)
    index = xp.clip(xp.floor(position), 0, len(table) - 2)
    fraction = position - index
    table = xp.cast(table, position.dtype)
    index = xp.cast(index, "int32")
    return (1.0 - fraction) * xp.take(table, index) + fraction * xp.take(table, index + 1)


def _invert(xp: Any, values: Any, table: np.ndarray) -> Any:
    """Return the positions of `values` in a growing table, as fractions of its length.

    Args:
        xp: `keras.ops`.
        values: Tensor `(n,)`.
        table: Growing values `(m,)`, which are interpolated linearly.

    Returns:
        Tensor `(n,)` in [0, 1].
    """
    last = len(table) - 1
    table = xp.cast(table, values.dtype)
    index = xp.clip(xp.searchsorted(table, values) - 1, 0, last - 1)
    left, right = xp.take(table, index), xp.take(table, index + 1)
    fraction = xp.clip((values - left) / (right - left), 0.0, 1.0)
    return (xp.cast(index, fraction.dtype) + fraction) / last
