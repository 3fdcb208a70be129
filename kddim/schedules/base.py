"""What every schedule is: a map from diffusion time to the rates of noise and signal."""

import abc
from typing import Any

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


def check_monotonic(schedule: Schedule) -> None:
    """Check that the signal-to-noise ratio falls with time.

    The test compares the angle `atan(noise_rate / signal_rate)` at 257 equally spaced times.
    Unlike the log-SNR, it is finite at both ends.

    Args:
        schedule: The schedule.

    Raises:
        ValueError: If the ratio rises between two of the times, is the same at both ends, or is
            not a number.
    """
    times = np.linspace(0.0, 1.0, 257)
    noise_rates, signal_rates = (to_numpy(rates) for rates in schedule(times))
    angles = np.arctan2(noise_rates, signal_rates)
    # Schedules that compute in float32 round to about 1e-7.
    falls = np.diff(angles) >= -1e-6
    if np.all(falls) and angles[-1] > angles[0]:
        return
    first = 0 if np.all(falls) else int(np.argmin(falls))
    last = len(times) - 1 if np.all(falls) else first + 1
    raise ValueError(
        "Expected a schedule whose signal-to-noise ratio falls from time 0, the clean image, to "
        f"time 1, the noise. Received: {schedule}, with signal rate {signal_rates[first]:.4g} at "
        f"time {times[first]:.4g} and {signal_rates[last]:.4g} at time {times[last]:.4g}. "
        "Correct its `log_snr` or its rates."
    )


def _sigmoid(xp: Any, x: Any) -> Any:
    # Not by tanh, which loses all digits of small values in float32.
    return np.exp(-np.logaddexp(0.0, -x)) if xp is np else xp.sigmoid(x)
