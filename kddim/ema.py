"""The exponential moving average of the weights."""

from typing import Any

import keras
from keras import ops


def check(ema: Any) -> float:
    """`ema` as a float.

    Raises:
        ValueError: it is no number in [0, 1).
    """
    if not isinstance(ema, (int, float)) or not 0.0 <= ema < 1.0:
        raise ValueError(f"Expected `ema` in [0, 1). Received: {ema!r}")
    return float(ema)


def update(network: keras.Model, ema_network: keras.Model, ema: float, steps: Any) -> None:
    """Moves the averages towards the weights, as one training step does.

    `average = d average + (1 - d) weight`, with the decay
    `d = min(ema, (1 + n) / (10 + n))` after `n` steps: the warm-up forgets the untrained
    weights. Batch normalisation's statistics are averaged too; counters and the states of
    seed generators are copied.

    Args:
        network: the trained network.
        ema_network: of the same structure; its variables are assigned.
        ema: the decay that is reached.
        steps: integer variable, `n`; it is counted up.
    """
    n = ops.cast(steps.value, "float32")
    decay = ops.minimum(ema, (1.0 + n) / (10.0 + n))
    for weight, average in zip(network.variables, ema_network.variables):
        value = ops.convert_to_tensor(weight.value)
        if keras.backend.is_float_dtype(weight.dtype):
            value = decay * average.value + (1.0 - decay) * value
        average.assign(value)
    steps.assign(steps.value + 1)
