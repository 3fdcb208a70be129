"""Epochs at which a callback acts, and their numbers over several calls of `fit`."""

import time

import keras

from kddim.checks import check_count


class EpochCallback(keras.callbacks.Callback):
    """Base class of callbacks that act after some epochs and number them over all fits.

    Args:
        every: Number of epochs from one action to the next, at least 1.

    Attributes:
        epochs: Number of epochs that have ended, in all fits.
        epoch_start: Time at which the epoch began, as `time.perf_counter` tells it.

    Raises:
        ValueError: If `every` is below 1.
    """

    def __init__(self, every: int = 1):
        super().__init__()
        self.every = check_count("every", every)
        self.epochs = 0
        self.epoch_start = 0.0
        self._offset: int | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._offset = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
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
