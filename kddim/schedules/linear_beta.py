"""DDPM's schedule."""

import dataclasses

import keras
import numpy as np

from kddim.schedules.discrete_beta import DiscreteBetaSchedule


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class LinearBetaSchedule(DiscreteBetaSchedule):
    """DDPM's schedule: `alpha_bar_k = prod_{i<=k} (1 - beta_i)` with linear betas.

    Time `k / num_timesteps` has `alpha_bar_k`, and time 0 has signal rate 1 (Ho et al.,
    NeurIPS 2020, arXiv 2006.11239, Sec. 4); see `DiscreteBetaSchedule`.

    Args:
        num_timesteps: T, at least 2.
        beta_start: beta_1, in (0, 1).
        beta_end: beta_T, in (0, 1), at least `beta_start`.

    Raises:
        ValueError: an argument outside its range.
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

    def betas(self) -> np.ndarray:
        return np.linspace(self.beta_start, self.beta_end, self.num_timesteps)
