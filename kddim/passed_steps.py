"""Steps of a training that goes on within an epoch."""

from typing import Any

import keras


class PassedSteps:
    """A training function whose first steps read their batches and compute nothing.

    A training that was stopped within an epoch goes on with it: Keras counts the steps of the
    epoch and reads its batches from the beginning.

    Args:
        model: Compiled model whose `train_function` is wrapped.
        steps: Number of steps to pass over.

    Attributes:
        function: The wrapped function.
        left: Number of steps to pass over that are left.
    """

    def __init__(self, model: keras.Model, steps: int):
        self.function = model.train_function
        self.left = steps
        self._executed = model.steps_per_execution
        self._logs = {key: float(value) for key, value in model.get_metrics_result().items()}

    def __call__(self, *arguments: Any) -> Any:
        """Return the logs, with JAX also the state, as the wrapped function does."""
        if not self.left:
            return self.function(*arguments)
        self.left = max(0, self.left - self._executed)
        if keras.backend.backend() != "torch":  # these functions read their batches themselves
            for _ in range(self._executed):
                next(arguments[-1])
        if keras.backend.backend() == "jax":
            return self._logs, arguments[0]
        return self._logs
