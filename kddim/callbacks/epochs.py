"""Epochs at which a callback acts, and their numbers over several calls of `fit`."""

import time
from typing import Any, ClassVar

import keras

from kddim.checks import check_count


class EpochCallback(keras.callbacks.Callback):
    """Base class of callbacks that act after some epochs and number them over all fits.

    Args:
        every: Number of epochs from one action to the next, at least 1.

    Attributes:
        epochs: Number of epochs that have ended, in all fits.
        epoch_start: Time at which the epoch began, as `time.perf_counter` tells it.
        resumed_step: Number of steps of the first epoch that a resumed `fit` passes over.
        kept: Names of the attributes that decide later epochs. They hold JSON values.

    Raises:
        ValueError: If `every` is below 1.
    """

    kept: ClassVar[tuple[str, ...]] = ("epochs",)

    def __init__(self, every: int = 1):
        super().__init__()
        self.resumed_step = 0
        self.every = check_count("every", every)
        self.epochs = 0
        self.epoch_start = 0.0
        self._offset: int | None = None

    def get_state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the callback, as JSON values."""
        return {name: getattr(self, name) for name in self.kept}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over the state that `get_state` returned in another process."""
        for name in self.kept:
            setattr(self, name, state[name])

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Forget the offset of the last fit."""
        self._offset = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock of the epoch, and find the offset in the first one."""
        self.epoch_start = time.perf_counter()
        if self._offset is None:  # zero for a fit that goes on from `initial_epoch`
            self._offset = max(0, self.epochs - epoch)

    def count(self, epoch: int) -> int:
        """Return the number of an epoch that ends, counted from 1 over all fits.

        Args:
            epoch: Index of the epoch in this fit, from 0.
        """
        number = epoch + 1 + (self._offset or 0)
        self.epochs = max(self.epochs, number)
        return number

    def is_due(self, epoch: int) -> bool:
        """Return True for every `every`-th epoch of a fit, and for its last.

        The last epoch is that of `fit(epochs=...)`, or the one in which a callback earlier in
        the list set `model.stop_training`.

        Args:
            epoch: Index of the epoch in this fit, from 0.
        """
        last = epoch + 1 == self.params.get("epochs") or self.model.stop_training
        return last or (epoch + 1) % self.every == 0
