"""The linear beta schedule of DDPM."""

import dataclasses

import keras
import numpy as np

from kddim.schedules.discrete_beta import DiscreteBetaSchedule


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class LinearBetaSchedule(DiscreteBetaSchedule):
    """Schedule of DDPM, with betas that grow linearly.

    `signal_rate**2 = alpha_bar_k = prod_{i<=k} (1 - beta_i)` at time `k / num_timesteps`, and 1 at
    time 0 (Ho, Jain and Abbeel, NeurIPS 2020, arXiv 2006.11239, Section 4). `log(alpha_bar)` is
    interpolated linearly between these times.

    Args:
        num_timesteps: Number of timesteps T, at least 2.
        beta_start: First beta, beta_1, in (0, 1).
        beta_end: Last beta, beta_T, in [beta_start, 1).

    Raises:
        ValueError: If an argument lies outside its range.
    """

    num_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self):
        valid = self.num_timesteps >= 2 and 0.0 < self.beta_start <= self.beta_end < 1.0
        self._expect(valid, "num_timesteps >= 2 and 0 < beta_start <= beta_end < 1")

    def betas(self) -> np.ndarray:
        """Return betas at equal distances, `(num_timesteps,)`."""
        return np.linspace(self.beta_start, self.beta_end, self.num_timesteps)
