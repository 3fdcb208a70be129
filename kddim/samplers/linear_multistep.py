"""A multistep method whose weights are given."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np

from kddim.samplers.base import Rates
from kddim.samplers.multistep import Multistep


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class LinearMultistep(Multistep):
    """Linear multistep method with given weights, one network call per step.

    Each step is a step of DDIM with a weighted sum of the last predicted noises. The weights of
    each step are given. `kddim.tuning` fits them to the trajectories of a model, so that few
    steps end near the images of many.

    Args:
        order: Largest number of predictions that a step combines. It follows from `table`.
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.
        table: Weights of each step, the latest prediction first. Step `i` has 1 to `i + 1` of
            them, and their sum is near 1.

    Raises:
        ValueError: If a step has no weights, more than there are predictions, or one that is not
            finite, or if `times` or `clip` is invalid. In sampling, if the number of steps is not
            that of the table.

    Example:
        >>> sampler = LinearMultistep(times="log_snr", table=[[1.0], [1.3, -0.3], [2.0, -1.0]])
        >>> model.generate(16, diffusion_steps=3, sampler=sampler, seed=0)
    """

    order: int = 1
    table: tuple[tuple[float, ...], ...] = ((1.0,),)

    highest_order = 16
    combined = "noise"
    first_division = 1
    host_options: ClassVar[tuple[str, ...]] = ("times", "table")

    def __post_init__(self):
        table = tuple(tuple(float(weight) for weight in row) for row in self.table)
        object.__setattr__(self, "table", table)
        fits = all(1 <= len(row) <= step + 1 for step, row in enumerate(table))
        if not table or not fits or not all(np.isfinite(row).all() for row in table):
            raise ValueError(
                "Expected `table` with finite weights for each step: one for the first step, at "
                f"most two for the second, and so on. Received: {self.table}"
            )
        object.__setattr__(self, "order", max(map(len, table)))
        super().__post_init__()

    def weights(self, rates: Rates) -> np.ndarray:
        """Return the weights of the table.

        Raises:
            ValueError: If it has another number of steps.
        """
        if len(self.table) != len(rates.noise):
            raise ValueError(
                f"Expected diffusion_steps={len(self.table)}, the number of steps of the "
                f"sampler's table. Received: {len(rates.noise)}"
            )
        return np.array([row + (0.0,) * (self.order - len(row)) for row in self.table])
