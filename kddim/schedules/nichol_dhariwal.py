"""The cosine schedule of improved DDPM."""

import dataclasses

import keras
import numpy as np

from kddim.schedules.discrete_beta import DiscreteBetaSchedule


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class NicholDhariwalSchedule(DiscreteBetaSchedule):
    """Cosine schedule of improved DDPM, with clipped betas.

    With `f(t) = cos(pi / 2 * (t + offset) / (1 + offset))**2` and T = `num_timesteps`,
    `beta_k = min(1 - f(k / T) / f((k - 1) / T), max_beta)` (Nichol and Dhariwal, ICML 2021, arXiv
    2102.09672, Eq. 17). `signal_rate**2 = alpha_bar_k = prod_{i<=k} (1 - beta_i)` at time `k / T`,
    and 1 at time 0. `log(alpha_bar)` is interpolated linearly between these times.

    The last beta is the only one that is clipped by default, and leaves a signal rate of 4.9e-5 at
    time 1. Noise predictions are divided by it, which multiplies the errors of the network in the
    first sampling steps. Sample with `clip`, as the paper does, or predict the velocity.

    Args:
        num_timesteps: Number of timesteps T, at least 2.
        offset: `s` of the paper, at least 0. It keeps the first betas from being too small.
        max_beta: Upper limit of the betas, in (0, 1).

    Raises:
        ValueError: If an argument lies outside its range.
    """

    num_timesteps: int = 1000
    offset: float = 0.008
    max_beta: float = 0.999

    def __post_init__(self):
        in_range = 0.0 <= self.offset < np.inf and 0.0 < self.max_beta < 1.0
        wanted = "num_timesteps >= 2, a finite offset >= 0 and 0 < max_beta < 1"
        self._expect(self.num_timesteps >= 2 and in_range, wanted)

    def betas(self) -> np.ndarray:
        """Return the betas of a squared cosine, at most `max_beta`, `(num_timesteps,)`."""
        times = np.linspace(0.0, 1.0, self.num_timesteps + 1)
        f = np.cos(0.5 * np.pi * (times + self.offset) / (1.0 + self.offset)) ** 2
        return np.minimum(1.0 - f[1:] / f[:-1], self.max_beta)
