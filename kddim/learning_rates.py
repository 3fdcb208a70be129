"""Learning-rate schedules."""

import dataclasses
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class ConstantThenLinear(keras.optimizers.schedules.LearningRateSchedule):
    """Constant learning rate that falls linearly to zero in the last steps.

    A short decay after a long constant rate gives much of what a decay over the whole run gives
    (Hägele et al., NeurIPS 2024, arXiv 2405.18392), and its start can be decided late.

    Args:
        learning_rate: Rate before the decay, above 0.
        steps: Number of steps of the whole run, at least 1.
        decay: Share of the steps in which the rate falls, in (0, 1].

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> keras.optimizers.AdamW(ConstantThenLinear(1e-3, steps=5000, decay=0.2))
    """

    learning_rate: float
    steps: int
    decay: float = 0.2

    def __post_init__(self):
        if not (self.learning_rate > 0 and self.steps >= 1 and 0.0 < self.decay <= 1.0):
            raise ValueError(
                f"Expected learning_rate > 0, steps >= 1 and decay in (0, 1]. Received: {self}"
            )

    def __call__(self, step: Any) -> Any:
        """Return the learning rate at a step, counted from 0, as a float32 tensor."""
        left = (self.steps - ops.cast(step, "float32")) / (self.decay * self.steps)
        return self.learning_rate * ops.clip(left, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return dataclasses.asdict(self)
