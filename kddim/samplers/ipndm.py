"""The improved pseudo linear multistep method, iPNDM."""

import dataclasses

import keras
import numpy as np

from kddim.samplers.base import Rates
from kddim.samplers.multistep import Multistep

# Weights of the Adams-Bashforth methods of order 1 to 4 for equal steps, the latest prediction
# first (Zhang and Chen, arXiv 2204.13902, Eq. 36 to 39).
WEIGHTS = (
    np.array([1.0]),
    np.array([3.0, -1.0]) / 2.0,
    np.array([23.0, -16.0, 5.0]) / 12.0,
    np.array([55.0, -59.0, 37.0, -9.0]) / 24.0,
)


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class IPNDM(Multistep):
    """Adams-Bashforth method with the constant weights of equal steps, one network call per step.

    Each step is a step of DDIM with a weighted sum of the last predicted noises, whose weights
    are those of equal steps on every grid: `(55, -59, 37, -9) / 24` for order 4. This is PNDM
    (Liu, Ren, Lin and Zhao, ICLR 2022, arXiv 2202.09778, Eq. 12) without its Runge-Kutta
    steps at the beginning, which Zhang and Chen (ICLR 2023, arXiv 2204.13902) name iPNDM. The
    first steps have a lower order. Order 1 is DDIM.

    `AdamsBashforth` computes its weights from the grid. It is more accurate with many steps.
    With 10 steps or fewer, constant weights extrapolate less and often give better images.

    Args:
        order: Order of the method, 1 to 4: the number of predictions combined.
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If `order` is not 1 to 4, or if `times` or `clip` is invalid.

    Example:
        >>> model.generate(16, diffusion_steps=5, sampler=IPNDM(times="karras"), seed=0)
    """

    order: int = 4

    highest_order = 4
    combined = "noise"
    first_division = 1

    def weights(self, rates: Rates) -> np.ndarray:
        """Return the weights of equal steps."""
        weights = np.zeros((len(rates.noise), self.order))
        for step in range(len(weights)):
            known = WEIGHTS[min(step, self.order - 1)]
            weights[step, : len(known)] = known
        return weights
