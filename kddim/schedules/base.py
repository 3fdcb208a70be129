"""The base class of schedules, and the check of their direction."""

import abc
from typing import Any

import numpy as np

from kddim import registry
from kddim.backend import array_module, to_numpy


class Schedule(registry.Configurable, abc.ABC):
    """Function from diffusion times in [0, 1] to noise rates and signal rates.

    Time 0 is the clean image, time 1 is noise. A subclass is a frozen dataclass. It defines
    `log_snr` and `time_at_log_snr`, and may define `__call__` if the rates have a more direct
    formula. Formulas use `kddim.backend.array_module(x)`, so that they run on NumPy arrays in
    float64 and on tensors inside compiled steps. docs/extending.md has an example.
    """

    @abc.abstractmethod
    def log_snr(self, diffusion_times: Any) -> Any:
        """Return the log signal-to-noise ratio, `2 * log(signal_rate / noise_rate)`.

        Args:
            diffusion_times: Floats in [0, 1], array or tensor of any shape.

        Returns:
            Array or tensor of the same shape. The values fall with time, and may be infinite at
            times 0 and 1.
        """

    @abc.abstractmethod
    def time_at_log_snr(self, log_snr: Any) -> Any:
        """Return the diffusion times that have the given log-SNRs, the inverse of `log_snr`.

        Args:
            log_snr: Floats, array or tensor of any shape.

        Returns:
            Diffusion times of the same shape.
        """

    def __call__(self, diffusion_times: Any) -> tuple[Any, Any]:
        """Return the rates at diffusion times.

        Args:
            diffusion_times: Floats in [0, 1] of any shape, usually `(batch, 1, 1, 1)`.

        Returns:
            `(noise_rates, signal_rates)`, each in [0, 1] and of the shape of `diffusion_times`.
            NumPy arrays and Python floats give NumPy values of the same precision, tensors give
            tensors.
        """
        xp = array_module(diffusion_times)
        log_snr = self.log_snr(diffusion_times)
        return _sigmoid(xp, -log_snr) ** 0.5, _sigmoid(xp, log_snr) ** 0.5

    def training_times(self, uniform: Any) -> Any:
        """Return the diffusion times to train at.

        Continuous schedules return their argument.

        Args:
            uniform: Uniform random numbers in [0, 1), array or tensor of any shape.

        Returns:
            Diffusion times in [0, 1], of the same shape.
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
    worst = int(np.argmin(falls))
    first, last = (0, -1) if falls[worst] else (worst, worst + 1)
    raise ValueError(
        "Expected a schedule whose signal-to-noise ratio falls from time 0, the clean image, to "
        f"time 1, the noise. Received: {schedule}, with signal rate {signal_rates[first]:.4g} at "
        f"time {times[first]:.4g} and {signal_rates[last]:.4g} at time {times[last]:.4g}. "
        "Correct its `log_snr` or its rates."
    )


def _sigmoid(xp: Any, x: Any) -> Any:
    # A formula with tanh would lose all digits of small values in float32.
    return np.exp(-np.logaddexp(0.0, -x)) if xp is np else xp.sigmoid(x)
