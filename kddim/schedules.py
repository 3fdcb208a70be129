"""Diffusion schedules: from diffusion time to the rates of noise and signal.

A noisy image is `signal_rate * image + noise_rate * noise`, with
`noise_rate**2 + signal_rate**2 == 1`. In the DDIM paper's notation (Song, Meng and
Ermon, ICLR 2021, arXiv 2010.02502) `signal_rate = sqrt(alpha)`; in DDPM's (Ho, Jain
and Abbeel, NeurIPS 2020, arXiv 2006.11239) `sqrt(alpha_bar)`.
"""

import abc
import dataclasses
from typing import Any

import keras
import numpy as np

from kddim import registry
from kddim.backend import array_module, to_numpy


class Schedule(registry.Configurable, abc.ABC):
    """Maps diffusion times in [0, 1] (0 = clean, 1 = noise) to rates.

    A subclass defines `log_snr` and `time_at_log_snr`; it may define `__call__` where
    a more direct formula for the rates exists. Write the formulas against
    `kddim.backend.array_module(x)`, so that they run on NumPy arrays in float64 and
    on tensors inside compiled steps. docs/extending.md shows an example.
    """

    @abc.abstractmethod
    def log_snr(self, diffusion_times: Any) -> Any:
        """Log signal-to-noise ratio, `2 log(signal_rate / noise_rate)`.

        Args:
            diffusion_times: floats in [0, 1], any shape.

        Returns:
            The same shape; falls with time, and may be infinite at the ends.
        """

    @abc.abstractmethod
    def time_at_log_snr(self, log_snr: Any) -> Any:
        """The inverse of `log_snr`: the diffusion time with a given log-SNR."""

    def __call__(self, diffusion_times: Any) -> tuple[Any, Any]:
        """Rates at the given times.

        Args:
            diffusion_times: floats in [0, 1], any shape, usually `(batch, 1, 1, 1)`.
                NumPy arrays and Python floats give NumPy arrays of their precision,
                tensors give tensors.

        Returns:
            `(noise_rates, signal_rates)`, each of the shape of `diffusion_times`.
        """
        xp = array_module(diffusion_times)
        log_snr = self.log_snr(diffusion_times)
        return _sigmoid(xp, -log_snr) ** 0.5, _sigmoid(xp, log_snr) ** 0.5

    def training_times(self, uniform: Any) -> Any:
        """The diffusion times to train at, from uniform random numbers in [0, 1).

        Continuous schedules return their argument.
        """
        return uniform


def _sigmoid(xp: Any, x: Any) -> Any:
    # Not by tanh, which loses all digits of small values in float32.
    return np.exp(-np.logaddexp(0.0, -x)) if xp is np else xp.sigmoid(x)


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class CosineSchedule(Schedule):
    """The angle schedule of the keras.io example.

    `angle(t) = acos(max_signal_rate) + t (acos(min_signal_rate) - acos(max_signal_rate))`,
    `signal_rate = cos(angle)`, `noise_rate = sin(angle)`: a simplified continuous form
    of the cosine schedule of Nichol and Dhariwal (arXiv 2102.09672, Sec. 3.2).

    Args:
        min_signal_rate: signal rate at time 1, in [0, max_signal_rate).
        max_signal_rate: signal rate at time 0, in (min_signal_rate, 1].
    """

    min_signal_rate: float = 0.02
    max_signal_rate: float = 0.95

    def __post_init__(self):
        if not 0.0 <= self.min_signal_rate < self.max_signal_rate <= 1.0:
            raise ValueError(
                "CosineSchedule expects 0 <= min_signal_rate < max_signal_rate <= 1. "
                f"Received: min_signal_rate={self.min_signal_rate}, "
                f"max_signal_rate={self.max_signal_rate}"
            )

    @property
    def _angles(self) -> tuple[float, float]:
        return float(np.arccos(self.max_signal_rate)), float(np.arccos(self.min_signal_rate))

    def __call__(self, diffusion_times: Any) -> tuple[Any, Any]:
        xp = array_module(diffusion_times)
        start, end = self._angles
        angles = start + diffusion_times * (end - start)
        return xp.sin(angles), xp.cos(angles)

    def log_snr(self, diffusion_times: Any) -> Any:
        xp = array_module(diffusion_times)
        noise_rates, signal_rates = self(diffusion_times)
        with np.errstate(divide="ignore"):
            return 2.0 * (xp.log(signal_rates) - xp.log(noise_rates))

    def time_at_log_snr(self, log_snr: Any) -> Any:
        xp = array_module(log_snr)
        start, end = self._angles
        with np.errstate(over="ignore"):
            return (xp.arctan(xp.exp(-0.5 * log_snr)) - start) / (end - start)


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class LinearBetaSchedule(Schedule):
    """DDPM's schedule: `alpha_bar_k = prod_{i<=k} (1 - beta_i)` with linear betas.

    Time `k / num_timesteps` has `alpha_bar_k`, and time 0 has signal rate 1. Between
    these times `log(alpha_bar)` is interpolated linearly. Training uses the discrete
    times alone, as in Ho et al. (arXiv 2006.11239, Sec. 4).

    Args:
        num_timesteps: T, at least 2.
        beta_start: beta_1, in (0, 1).
        beta_end: beta_T, in (0, 1), at least `beta_start`.
    """

    num_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self):
        if not (self.num_timesteps >= 2 and 0.0 < self.beta_start <= self.beta_end < 1.0):
            raise ValueError(
                "LinearBetaSchedule expects num_timesteps >= 2 and "
                "0 < beta_start <= beta_end < 1. Received: "
                f"num_timesteps={self.num_timesteps}, beta_start={self.beta_start}, "
                f"beta_end={self.beta_end}"
            )

    @property
    def _log_alpha_bars(self) -> np.ndarray:
        betas = np.linspace(self.beta_start, self.beta_end, self.num_timesteps)
        return np.append(0.0, np.cumsum(np.log1p(-betas)))

    def __call__(self, diffusion_times: Any) -> tuple[Any, Any]:
        xp = array_module(diffusion_times)
        log_alpha_bars = self._log_alpha_bar(diffusion_times)
        return (-xp.expm1(log_alpha_bars)) ** 0.5, xp.exp(0.5 * log_alpha_bars)

    def _log_alpha_bar(self, diffusion_times: Any) -> Any:
        position = diffusion_times * self.num_timesteps
        return _interpolate(position, self._log_alpha_bars)

    def log_snr(self, diffusion_times: Any) -> Any:
        xp = array_module(diffusion_times)
        log_alpha_bars = self._log_alpha_bar(diffusion_times)
        with np.errstate(divide="ignore"):
            return log_alpha_bars - xp.log(-xp.expm1(log_alpha_bars))

    def time_at_log_snr(self, log_snr: Any) -> Any:
        """Looks `log(alpha_bar) = -softplus(-log_snr)` up in the table of timesteps."""
        xp = array_module(log_snr)
        log_alpha_bars = -xp.logaddexp(xp.zeros_like(log_snr), -log_snr)
        table = -self._log_alpha_bars
        if xp is np:
            return np.interp(-log_alpha_bars, table, np.linspace(0.0, 1.0, len(table)))
        table, flat = xp.cast(table, log_alpha_bars.dtype), xp.reshape(-log_alpha_bars, (-1,))
        index = xp.clip(xp.searchsorted(table, flat) - 1, 0, self.num_timesteps - 1)
        left, right = xp.take(table, index), xp.take(table, index + 1)
        fraction = xp.clip((flat - left) / (right - left), 0.0, 1.0)
        times = (xp.cast(index, fraction.dtype) + fraction) / self.num_timesteps
        return xp.reshape(times, xp.shape(log_snr))

    def training_times(self, uniform: Any) -> Any:
        xp = array_module(uniform)
        return (xp.floor(uniform * self.num_timesteps) + 1.0) / self.num_timesteps


def _interpolate(position: Any, table: np.ndarray) -> Any:
    """`table` at fractional positions in [0, len(table) - 1], linear in between."""
    xp = array_module(position)
    if xp is np:
        dtype = np.result_type(position)
        dtype = dtype if np.issubdtype(dtype, np.floating) else np.dtype("float64")
        return np.interp(position, np.arange(len(table)), table).astype(dtype)
    index = xp.clip(xp.floor(position), 0, len(table) - 2)
    fraction = position - index
    table = xp.cast(table, position.dtype)
    index = xp.cast(index, "int32")
    return (1.0 - fraction) * xp.take(table, index) + fraction * xp.take(table, index + 1)


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


NAMES: dict[str, type[Schedule]] = {
    "cosine": CosineSchedule,
    "linear_beta": LinearBetaSchedule,
    "log_snr_linear": LogSNRLinearSchedule,
}


def get(identifier: Any) -> Schedule:
    """A schedule from its name, its configuration, or itself.

    Raises:
        ValueError: nothing of the kind is known.
    """
    return registry.resolve(identifier, "schedule", Schedule, NAMES)


def check_terminal_rate(schedule: Schedule, prediction_type: str) -> None:
    """Refuses a schedule without signal at time 1 for predictions that divide by it.

    Raises:
        ValueError: the prediction is the noise, and the signal rate at time 1 is 0.
    """
    _, signal_rate = schedule(np.array([1.0]))
    if prediction_type == "noise" and float(to_numpy(signal_rate)[0]) < 1e-6:
        raise ValueError(
            "Expected a schedule whose signal rate at time 1 is above zero, since a noise "
            f"prediction is divided by it. Received: {schedule}. "
            'Use prediction_type="velocity" or "image", or a schedule that ends above zero.'
        )
