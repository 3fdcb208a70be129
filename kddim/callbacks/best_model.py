"""The best model so far, on disk."""

import math
import os
from pathlib import Path

import keras

from kddim.callbacks.due import is_due


class BestModelCallback(keras.callbacks.Callback):
    """Saves the model whenever a value is the lowest yet.

    Unlike `keras.callbacks.ModelCheckpoint` it says nothing of epochs that did not
    measure the value. Put it after the callback that measures.

    Args:
        path: the `.keras` file, written whole or not at all.
        monitor: key of the logs; None saves after the last epoch, and `every` before.
        every: with `monitor=None`, saves each so many epochs.

    Attributes:
        best: the lowest value, or None.
        best_epoch: its epoch, counted from 1; with `monitor=None` the last one saved.
    """

    def __init__(self, path: str | os.PathLike, monitor: str | None = "val_kid", every: int = 1):
        super().__init__()
        if every < 1:
            raise ValueError(f"Expected `every` of at least 1. Received: {every}")
        self.path = Path(path)
        self.monitor = monitor
        self.every = every
        self.best: float | None = None
        self.best_epoch: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.monitor is None:
            finite = math.isfinite((logs or {}).get("loss", 0.0))
            if is_due(self, epoch, self.every) and finite:
                self._save(epoch, None)
            return
        value = (logs or {}).get(self.monitor)
        if value is not None and value == value and (self.best is None or value < self.best):
            self._save(epoch, float(value))

    def _save(self, epoch: int, value: float | None) -> None:
        self.model.save(self.path)
        self.best, self.best_epoch = value, epoch + 1
