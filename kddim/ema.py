"""Exponential moving average of the weights."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim.backend import to_numpy
from kddim.checks import is_number


def check(ema: Any) -> float:
    """Return `ema` as a float.

    Args:
        ema: Decay of the average, in [0, 1).

    Raises:
        ValueError: If it is not a number in [0, 1).
    """
    if not is_number(ema) or not 0.0 <= ema < 1.0:
        raise ValueError(f"Expected `ema` in [0, 1). Received: {ema!r}")
    return float(ema)


def update(network: keras.Model, ema_network: keras.Model, ema: float, steps: Any) -> None:
    """Move the averages towards the weights, once per training step.

    `average = d average + (1 - d) weight`, with the decay `d = min(ema, (1 + n) / (10 + n))`
    after `n` steps. This warm-up forgets the untrained weights. The statistics of batch
    normalisation are averaged too. Counters and the states of seed generators are copied. A
    layer with LoRA enabled counts with its effective kernel.

    Args:
        network: The trained network.
        ema_network: Network of the same structure, whose variables are assigned.
        ema: Decay that is reached after the warm-up, in [0, 1).
        steps: Integer variable `n`, which is increased by one.

    Raises:
        ValueError: If the two networks have different variables.
    """
    n = ops.cast(steps.value, "float32")
    decay = ops.minimum(ema, (1.0 + n) / (10.0 + n))
    weights, averages = (
        list(effective_values(network)),
        [v for _, v in effective_values(ema_network)],
    )
    if [tuple(w.shape) for w, _ in weights] != [tuple(v.shape) for v in averages]:
        raise ValueError(
            "Expected an average with the variables of the network. Received: "
            f"{len(averages)} variables for {len(weights)}, or others. Was a layer added to one "
            "of the two networks after the model was made? Make the model anew with "
            "`network=`."
        )
    for (value, _), average in zip(weights, averages):
        if keras.backend.is_float_dtype(average.dtype):
            value = decay * average.value + (1.0 - decay) * ops.cast(value, average.dtype)
        average.assign(value)
    steps.assign(steps.value + 1)


def distance(network: keras.Model, ema_network: keras.Model) -> float:
    """Return the L2 distance of the averages from the trained weights, relative to the latter.

    The statistics of batch normalisation are left out: their scale is that of the activations.

    Args:
        network: The trained network.
        ema_network: Network of the same structure.
    """
    trained = {id(variable) for variable in network.trainable_variables}
    difference, size = 0.0, 0.0
    for (value, variable), (_, average) in zip(
        effective_values(network), effective_values(ema_network)
    ):
        if id(variable) in trained:
            weight = to_numpy(value).astype("float64")
            difference += float(np.sum((to_numpy(average.value) - weight) ** 2))
            size += float(np.sum(weight**2))
    return math.sqrt(difference / size) if size else 0.0


def effective_values(network: keras.Model) -> Iterator[tuple[Any, Any]]:
    """Yield the value that each variable stands for, and the variable.

    `layer.enable_lora` leaves the variable of the kernel, and adds two of low rank.

    Args:
        network: The trained network, or its average.
    """
    adapted = [layer for layer in network._flatten_layers() if hasattr(layer, "lora_kernel_a")]
    kernels = {id(layer._kernel): layer for layer in adapted}
    added = {id(v) for layer in adapted for v in (layer.lora_kernel_a, layer.lora_kernel_b)}
    for variable in network.variables:
        if id(variable) in kernels:
            yield kernels[id(variable)].kernel, variable
        elif id(variable) not in added:
            yield ops.convert_to_tensor(variable.value), variable
