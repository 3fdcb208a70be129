"""Averages of several lengths while training, from which any length is reconstructed later."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kddim.backend import to_numpy
from kddim.power_average import check_length
from kddim.power_tracking import PowerAverages, sizes_of
from kddim.snapshots import Snapshot, SnapshotFolder

log = logging.getLogger("kddim")


class PowerAverageCallback(keras.callbacks.Callback):
    """Keep averages with power-function profiles (EDM2, arXiv 2312.02696), and store snapshots.

    `kddim.averages.reconstruct` computes the average of any length from the snapshots, after
    training. The model itself, its moving average and its files stay as they are.

    The updates are part of the compiled training step. With a `RunCheckpoint` behind it, a
    training that was stopped goes on with the same averages, bit by bit. Snapshots are float32:
    float16 would be the largest part of the error of a reconstruction.

    Args:
        directory: Folder of the snapshots, `step_00001500.npz` and so on.
        lengths: Lengths of the averages, each in (0, 0.2887): their standard deviation relative
            to the number of steps. The two of EDM2 suit lengths of 0.02 to 0.25.
        snapshots: Largest number of snapshots besides the last one, at least 2. There are more
            than half as many. Each takes `4 len(lengths)` bytes per weight.
        every_steps: Smallest number of steps between two snapshots, at least 1. The number
            doubles whenever there would be too many of them.

    Raises:
        ValueError: If an option is out of range. In `fit`, if the folder holds snapshots of an
            earlier training that was not restored.

    Example:
        >>> average = kddim.callbacks.PowerAverageCallback("averages")
        >>> model.fit(train, epochs=50, callbacks=[average])
        >>> best = kddim.averages.reconstruct("averages", 0.15, model)
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        lengths: Sequence[float] = (0.05, 0.10),
        *,
        snapshots: int = 32,
        every_steps: int = 1,
    ):
        super().__init__()
        self.lengths = tuple(check_length(length) for length in lengths)
        if not self.lengths or len(set(self.lengths)) < len(self.lengths):
            raise ValueError(f"Expected different lengths, at least one. Received: {lengths!r}")
        self.folder = SnapshotFolder(directory, snapshots, every_steps)
        self.resumed_step = 0
        self._averages: PowerAverages | None = None
        self._attached: Any = None
        self._restored: tuple[np.ndarray, ...] = ()
        self._begun = False
        self._steps, self._start, self._passed = 0, 0, 0

    def get_state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the callback, as JSON values."""
        return {"lengths": list(self.lengths)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over the state that `get_state` returned in another process.

        Args:
            state: The state.

        Raises:
            ValueError: If the lengths are others.
        """
        if state["lengths"] != list(self.lengths):
            raise ValueError(
                f"Expected the lengths of the training that was stopped, {state['lengths']}. "
                f"Received: {list(self.lengths)}. Make the callback with these lengths."
            )

    def restore_averages(self, values: tuple[np.ndarray, ...]) -> None:
        """Take over the averages of a checkpoint. `RunCheckpoint` calls it before training.

        Args:
            values: Values of `PowerAverages.variables`.
        """
        self._restored = values

    def before_fit(self, model: keras.Model, data: Any, callbacks: list[Any]) -> None:
        """Give the averages to the training step. `DiffusionModel.fit` calls it.

        Args:
            model: Model that trains.
            data: Training data of `fit`.
            callbacks: All callbacks of `fit`.
        """
        averages = self._averages
        if averages is None or averages.sizes != sizes_of(model.network):
            averages, self._begun = PowerAverages(model.network, self.lengths), False
        self._averages = model.power_averages = averages
        self._attached = model

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Refuse a folder of another training, and put restored averages in place."""
        if self._attached is None:
            raise ValueError(
                "Expected the `fit` of a kddim.DiffusionModel. Received: another training loop."
            )
        if not (self._begun or self._restored) and self.folder.paths():
            raise ValueError(
                "Expected a folder without snapshots of another training. Received: "
                f"{self.folder.folder}, which holds some. Call RunCheckpoint.restore(model, "
                "directory) before fit to go on with that training, or remove them."
            )
        if self._restored:
            self._synced().assign(self._restored)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Take note of the steps done, and forget snapshots of steps that are done again."""
        self._start = self._steps = self._synced().steps
        self._passed, self.resumed_step = self.resumed_step, 0
        if not self._begun or self._restored:
            self.folder.forget(self._steps)
        self._begun, self._restored = True, ()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Write a snapshot if one is due. A full disk does not end training."""
        done = batch + 1 - self._passed
        if done <= 0:  # a resumed training passes over the steps done before
            return
        before, self._steps = self._steps, self._start + done
        if self.folder.is_due(before, self._steps):
            try:
                self._save()
            except OSError as error:
                log.warning("no snapshot was written, and the training goes on: %s", error)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Store the averages at the end, at which the reconstructed ones will end, too."""
        if self._steps and self._steps not in self.folder.paths():
            self._save()

    def _save(self) -> None:
        averages = self._synced()
        if not averages.steps:
            raise ValueError(
                f"Expected averages of {self._steps} steps. Received: averages that were never "
                "updated. Call `super().train_step` where the model overrides `train_step`."
            )
        values = to_numpy(averages.values.value)
        self.folder.save(Snapshot(averages.steps, self.lengths, tuple(averages.sizes), values))

    def _synced(self) -> PowerAverages:
        assert self.model is not None  # with JAX, looking at it updates all variables
        assert self._averages is not None
        return self._averages

    def close(self) -> None:
        """Take the averages out of the training step. `DiffusionModel.fit` calls it."""
        if self._attached is not None:
            self._attached.power_averages = None
            self._attached = None
