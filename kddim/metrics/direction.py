"""Directions of values in the logs, for Keras' callbacks that monitor them."""

from typing import Any

import keras

try:
    from keras.src.trainers.compile_utils import MetricsList
except ImportError:  # another Keras; its callbacks then need `mode="min"`
    MetricsList = keras.metrics.Metric


class LowerIsBetter(MetricsList):
    """Entry of `model.metrics` that says that lower values of a name are better.

    `ModelCheckpoint`, `EarlyStopping` and `ReduceLROnPlateau` with `mode="auto"` look for the
    direction of what they monitor inside the lists of metrics in `model.metrics`. A value that
    a callback adds to the logs, such as `val_kid`, is in none of them. This list holds one
    metric of its name. It has no variables, measures nothing and adds nothing to the logs, so
    that one object serves any number of models.

    Args:
        name: Name of the value in the logs, without the prefix `val_`.

    Example:
        >>> KID = LowerIsBetter("kid")
        >>> class Model(keras.Model):
        ...     @property
        ...     def metrics(self):
        ...         return [*super().metrics, KID]
    """

    def __init__(self, name: str):
        keras.metrics.Metric.__init__(self, name=f"{name}_direction")
        self.output_name = None
        self.metrics = [_Lower(name=name)]

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def reset_state(self) -> None:
        """Do nothing."""

    def result(self) -> dict[str, Any]:
        """Return an empty dictionary."""
        return {}

    def get_result(self) -> dict[str, Any]:
        """Return an empty dictionary."""
        return {}


class _Lower(keras.metrics.Metric):
    _direction = "down"
