"""Averages with power-function profiles that are kept while a model trains."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim.backend import to_numpy
from kddim.ema import effective_values
from kddim.power_average import gamma_of


class PowerAverages:
    """Averages of several lengths of the weights of a network.

    The statistics of batch normalisation are averaged too. Counters and the states of seed
    generators are not. The averages lie in one variable, so that an update is a few
    operations, however many layers there are.

    Args:
        network: The trained network.
        lengths: Lengths of the averages.

    Attributes:
        sizes: Numbers of values of the variables of the network, in their order.
        variables: The averages, float32 `(lengths, values)`, and the number of steps.
    """

    def __init__(self, network: keras.Model, lengths: Sequence[float]):
        self.lengths = tuple(lengths)
        self.gammas = np.array([gamma_of(length) for length in self.lengths])
        self.sizes = sizes_of(network)
        self.values = keras.Variable(
            np.zeros((len(self.lengths), sum(self.sizes)), "float32"),
            dtype="float32",
            trainable=False,
            name="power_averages",
        )
        self.step = keras.Variable(
            np.zeros((), "int32"), dtype="int32", trainable=False, name="power_average_steps"
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """The averages and the number of steps, which the state of the training step holds."""
        return [self.values, self.step]

    def update(self, network: keras.Model) -> None:
        """Move the averages towards the weights, in a training step.

        `average += share (weights - average)`, with `share = 1 - (1 - 1 / t)**(gamma + 1)` at
        step `t`. The formula with `expm1` keeps the digits of a share in float32.

        Args:
            network: The trained network.
        """
        step = self.step.value + 1
        remaining = ops.log1p(-1.0 / ops.cast(step, "float32"))  # -inf at the first step
        exponents = ops.convert_to_tensor((self.gammas + 1.0)[:, None], "float32")
        shares = -ops.expm1(exponents * remaining)
        weights = ops.concatenate([ops.reshape(v, (-1,)) for v in _float_values(network)])
        average = self.values.value
        self.values.assign(average + shares * (weights[None] - average))
        self.step.assign(step)

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        """Take over the values that `variables` had in another process.

        Args:
            arrays: The averages and the number of steps.

        Raises:
            ValueError: If they are of another network or of another number of lengths.
        """
        shapes = [tuple(v.shape) for v in self.variables]
        if [a.shape for a in arrays] != shapes:
            raise ValueError(
                f"Expected averages of the shapes {shapes}. Received: "
                f"{[a.shape for a in arrays]}. Go on with the lengths and the network of the "
                "training that was stopped."
            )
        for variable, array in zip(self.variables, arrays):
            variable.assign(array)

    @property
    def steps(self) -> int:
        """Number of steps that the averages have seen."""
        return int(to_numpy(self.step.value))


def sizes_of(network: keras.Model) -> list[int]:
    """Return the numbers of values of those variables of a network that are averaged."""
    return [int(np.prod(v.shape)) for _, v in effective_values(network) if _is_float(v)]


def assign_weights(network: keras.Model, values: np.ndarray) -> None:
    """Assign an average to the variables of a network. Counters stay as they are.

    Variances below 0, which a combination of averages may have, become 0.

    Args:
        network: Network of the structure of the one that was averaged.
        values: One average, of `sum(sizes_of(network))` values.
    """
    start = 0
    for _, variable in effective_values(network):
        if _is_float(variable):
            size = int(np.prod(variable.shape))
            part = values[start : start + size].reshape(variable.shape)
            if variable.name.endswith("variance"):
                part = np.maximum(part, 0.0)
            variable.assign(ops.cast(ops.convert_to_tensor(part, "float32"), variable.dtype))
            start += size


def _float_values(network: keras.Model) -> list[Any]:
    return [ops.cast(v, "float32") for v, x in effective_values(network) if _is_float(x)]


def _is_float(variable: Any) -> bool:
    return keras.backend.is_float_dtype(variable.dtype)
