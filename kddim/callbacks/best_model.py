"""The best model so far, on disk."""

import math
import os
from pathlib import Path

from kddim.callbacks.epochs import EpochCallback


class BestModelCallback(EpochCallback):
    """Save the model whenever a monitored value is lower than ever before.

    Unlike `keras.callbacks.ModelCheckpoint`, it does nothing and prints no warning after epochs
    without a value. Put it after the callback that adds the value to the logs.

    Args:
        path: The `.keras` file to write.
        monitor: Key of the value in the logs. None saves the model after the last epoch, and
            every `every` epochs before.
        every: Number of epochs between two saves if `monitor` is None, at least 1.

    Attributes:
        best: Lowest value so far, or None.
        best_epoch: Epoch of the lowest value, counted from 1. With `monitor=None`, the last
            epoch that was saved.

    Raises:
        ValueError: If `every` is below 1.
    """

    kept = (*EpochCallback.kept, "best", "best_epoch")

    def __init__(self, path: str | os.PathLike, monitor: str | None = "val_kid", every: int = 1):
        super().__init__(every)
        self.path = Path(path)
        self.monitor = monitor
        self.best: float | None = None
        self.best_epoch: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save the model if its figure is the best so far, or if it is due and none is watched."""
        if self.monitor is None:
            finite = math.isfinite((logs or {}).get("loss", 0.0))
            if finite and self.is_due(epoch):
                self._save(epoch, None)
            return
        value = (logs or {}).get(self.monitor)
        if value is not None and value == value and (self.best is None or value < self.best):
            self._save(epoch, float(value))

    def _save(self, epoch: int, value: float | None) -> None:
        self.model.save(self.path)
        self.best, self.best_epoch = value, epoch + 1
