"""Distributions of the diffusion times that training draws."""

import abc
import dataclasses
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import names, registry
from kddim.backend import to_numpy

# Log-SNRs beyond this are as good as infinite in float32.
_MOST_LOG_SNR = 40.0


class TimeDistribution(registry.Configurable, abc.ABC):
    """Distribution of diffusion times, given by its quantiles. Subclasses are frozen dataclasses."""

    @abc.abstractmethod
    def times(self, uniform: Any, schedule: Any) -> Any:
        """Return the quantiles of the distribution.

        Args:
            uniform: Tensor of numbers in (0, 1], uniform for random times.
            schedule: The `Schedule` of the model.

        Returns:
            Diffusion times in [0, 1], a tensor of the same shape. They rise with `uniform`.
        """


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class UniformTimes(TimeDistribution):
    """Uniform diffusion times, as in DDPM and in the keras.io example."""

    def times(self, uniform: Any, schedule: Any) -> Any:
        """Return the uniform numbers themselves."""
        return uniform


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class LogNormalTimes(TimeDistribution):
    """Times at which the logarithm of the noise level is normal.

    The noise level is `sigma = noise_rate / signal_rate`, for images of unit variance. EDM
    (Karras et al., NeurIPS 2022, arXiv 2206.00364, Table 1) draws `log(sigma)` with mean -1.2 and
    standard deviation 1.2 for images of standard deviation 0.5. Divided by 0.5, this is a mean of
    -0.5. The distribution is cut off at the noise levels of the schedule.

    Args:
        mean: Mean of `log(sigma)`.
        std: Standard deviation of `log(sigma)`, above 0.

    Raises:
        ValueError: If `std` is not above 0, or if an argument is not finite.
    """

    mean: float = -0.5
    std: float = 1.2

    def __post_init__(self):
        if not (math.isfinite(self.mean) and 0.0 < self.std < math.inf):
            raise ValueError(f"Expected a finite mean and a finite std > 0. Received: {self}")

    def times(self, uniform: Any, schedule: Any) -> Any:
        """Return times whose log noise level is normal within the range of the schedule."""
        low, high = (self._probability(schedule, time) for time in (0.0, 1.0))
        quantile = ops.erfinv(
            ops.clip(2.0 * (low + uniform * (high - low)) - 1.0, -0.999999, 0.999999)
        )
        log_sigma = self.mean + self.std * math.sqrt(2.0) * quantile
        return ops.clip(schedule.time_at_log_snr(-2.0 * log_sigma), 0.0, 1.0)

    def _probability(self, schedule: Any, time: float) -> float:
        """Return the probability of noise levels below that of a time."""
        log_snr = float(to_numpy(schedule.log_snr(np.array([time])))[0])
        log_sigma = -0.5 * float(np.clip(log_snr, -_MOST_LOG_SNR, _MOST_LOG_SNR))
        return 0.5 * (1.0 + math.erf((log_sigma - self.mean) / (self.std * math.sqrt(2.0))))


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class LogitNormalTimes(LogNormalTimes):
    """Times at which the logit of the time of flow matching is normal.

    That time is `sigma / (1 + sigma)`, so that its logit is `log(sigma)`: the distribution is
    `LogNormalTimes` with other defaults (Esser et al., ICML 2024, arXiv 2403.03206, section 3.1).

    Args:
        mean: Mean of the logit.
        std: Standard deviation of the logit, above 0.

    Raises:
        ValueError: As in `LogNormalTimes`.
    """

    mean: float = 0.0
    std: float = 1.0


NAMES: dict[str, type[TimeDistribution]] = registry.load_table(names.TIME_DISTRIBUTIONS)


def get(identifier: Any) -> TimeDistribution:
    """Return a distribution of times.

    Args:
        identifier: Name of a distribution, its configuration, or a `TimeDistribution`.

    Raises:
        ValueError: If `identifier` is none of these.
    """
    return registry.resolve(identifier, "distribution of times", TimeDistribution, NAMES)
