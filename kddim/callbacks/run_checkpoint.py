"""Checkpoints of a training run, from which `fit` goes on exactly."""

import json
import logging
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim import hosts
from kddim.backend import to_numpy
from kddim.callbacks.states import random_state, set_random_state, set_states, states_of
from kddim.checkpoints import CheckpointFolder, RunState, restore_variables, scalars_of
from kddim.checks import check_count
from kddim.passed_steps import PassedSteps
from kddim.signals import Handlers, Interrupted

log = logging.getLogger("kddim")

_STEPS_OF_HOSTS = 8  # between two questions to the other processes that train together


class RunCheckpoint(keras.callbacks.Callback):
    """Write checkpoints from which a stopped training goes on as if it had never stopped.

    A checkpoint holds the weights, the moving average and its warm-up, the optimiser, the
    learning rate, the averages of `PowerAverageCallback`, all seed generators, the epoch and the step within it, the metrics of the
    epoch so far, the order of the data, and the states of the callbacks of kddim and of
    Keras' `EarlyStopping`, `ModelCheckpoint` and `ReduceLROnPlateau`. On a CPU, the weights
    at the end are bitwise those of a training that was not stopped.

    Ctrl-C and SIGTERM save a checkpoint after the step that runs, and end `fit` with a
    `KeyboardInterrupt` whose message says how to go on. A second one ends it at once.

    The order of the data is restored for a `kddim.data.ImageDataset`, and for any data set that
    has `get_state()` (JSON values) and `set_state(state)`. Batches of the interrupted epoch that
    were trained on are read again and passed over.

    Args:
        directory: Folder of the checkpoints, `step_00001500.npz` and so on.
        every_steps: Number of steps between two checkpoints, at least 1. None is no limit.
        every_minutes: Minutes between two checkpoints, above 0. None is no limit.
        keep: Number of checkpoints to keep, at least 1. If the newest is damaged, `restore`
            takes the one before.

    Attributes:
        seconds: Time that writing took so far in this process, in seconds.

    Raises:
        ValueError: If an option is out of range. In `fit`, if the folder holds checkpoints of
            an earlier training that was not restored.

    Example:
        >>> checkpoint = kddim.callbacks.RunCheckpoint("checkpoints")
        >>> model.fit(train, epochs=50, callbacks=[checkpoint])

        In another process, after building and compiling the model in the same way:

        >>> state = kddim.callbacks.RunCheckpoint.restore(model, "checkpoints")
        >>> model.fit(train, epochs=50, initial_epoch=state.epoch, callbacks=[checkpoint])
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        every_steps: int | None = None,
        every_minutes: float | None = 5.0,
        keep: int = 2,
    ):
        super().__init__()
        if every_minutes is not None and not every_minutes > 0:
            raise ValueError(f"Expected `every_minutes` above 0. Received: {every_minutes}")
        self.every_steps = None if every_steps is None else check_count("every_steps", every_steps)
        self.every_seconds = None if every_minutes is None else 60.0 * every_minutes
        self.folder = CheckpointFolder(directory, check_count("keep", keep))
        self.way_on = (
            f"Go on with RunCheckpoint.restore(model, {str(directory)!r}) and "
            "fit(..., initial_epoch=state.epoch)."
        )
        self.seconds = 0.0
        self._handlers = Handlers(self._on_signal)
        self._data: Any = None
        self._others: list[Any] = []
        self._restored: RunState | None = None
        self._started = False
        self._steps = 0
        self._last_steps, self._last_time = 0, 0.0
        self._forget_position()

    def _forget_position(self) -> None:
        self._epoch, self._step = 0, 0
        self._finished: int | None = None
        self._random: dict[str, Any] = {}
        self._data_state: Any = None
        self._end_of_epoch: RunState | None = None  # position after the epoch's last batch
        self._in_batch = True  # no signal is acted on before the first epoch
        self._saving = False
        self._signal: int | None = None

    @staticmethod
    def restore(model: keras.Model, directory: str | os.PathLike) -> RunState:
        """Restore a compiled model and its optimiser from the newest whole checkpoint.

        The next `fit` of the model, with a `RunCheckpoint` of the same directory among its
        callbacks, goes on from there.

        Args:
            model: Model that was built and compiled with the arguments of the stopped training.
            directory: Folder of the checkpoints.

        Returns:
            The position. Pass its `epoch` as the `initial_epoch` of `fit`.

        Raises:
            ValueError: If there is no whole checkpoint, if the model has other variables than
                the checkpoint, or if it was not compiled.
        """
        if not model.compiled:
            raise ValueError(
                "Expected a compiled model. Received: one that was not. Call `compile` with the "
                "arguments of the run first."
            )
        state, arrays, names = CheckpointFolder(directory).load()
        assert state.path is not None
        restore_variables(model, arrays, names, state.path)
        model.restored_state = state
        return state

    def before_fit(self, model: keras.Model, data: Any, callbacks: list[Any]) -> None:
        """Take note of the data and the other callbacks. `DiffusionModel.fit` calls it.

        Args:
            model: Model that trains.
            data: Training data of `fit`.
            callbacks: All callbacks of `fit`.
        """
        self._data, self._others = data, [other for other in callbacks if other is not self]
        state = getattr(model, "restored_state", None)
        if state is not None and state.path.parent.resolve() == self.folder.folder.resolve():
            model.restored_state = None
            self._restored = state
            self._steps = state.steps
            set_states(self._others, state.details["callbacks"], training=False)
            for other in self._others:
                other.resumed_step = state.step
                if state.averages and hasattr(other, "restore_averages"):
                    other.restore_averages(state.averages)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Refuse a folder of another training, and begin to catch signals."""
        resumes = self._restored is not None
        if not resumes and not self._started and self.folder.paths():
            raise ValueError(
                "Expected a folder without checkpoints of another training. Received: "
                f"{self.folder.folder}, which holds some. Call RunCheckpoint.restore(model, "
                "directory) before fit to go on from them, or remove them."
            )
        self._started = True
        self._forget_position()
        self.folder.clean()
        self._last_steps, self._last_time = self._steps, time.monotonic()
        self._handlers.install()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Go to the restored step of the epoch, or save if it is time to."""
        self._epoch, self._step, self._end_of_epoch = epoch, 0, None
        state, self._restored = self._restored, None
        if state is not None:
            self._go_on(state)
        self._note_beginning()
        self._in_batch = False
        if state is None:
            self._act()

    def _note_beginning(self) -> None:
        """Take note of what decides the data of an epoch, before its first batch is read."""
        self._random = random_state()
        self._data_state = self._data.get_state() if hasattr(self._data, "get_state") else None

    def _go_on(self, state: RunState) -> None:
        """Bring the data, the metrics and Keras' callbacks to the position of a checkpoint."""
        set_states(self._others, state.details["callbacks"], training=True)
        if hasattr(self._data, "set_state") and state.details["data"] is not None:
            self._data.set_state(state.details["data"])
        set_random_state(state.details["random"])
        if state.step:
            model = self.model
            for variable, value in zip(model.metrics_variables, state.metrics):
                variable.assign(value)
            model.train_function = PassedSteps(model, state.step)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Put off signals until the end of the step."""
        self._in_batch = True

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Count the step, then save or stop if it is time to."""
        function = self._model.train_function
        passing = isinstance(function, PassedSteps)
        if not passing:
            self._steps += batch + 1 - self._step
        elif not function.left:
            self._model.train_function, passing = function.function, False
        self._step = batch + 1
        if self._step == self.params.get("steps"):
            self._end_of_epoch = self._position()
        self._in_batch = passing
        if not passing:
            self._act()

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Take note of the end of the epoch's steps, before validation resets the metrics."""
        if self._end_of_epoch is None and self._step:  # validation resets the metrics
            self._end_of_epoch = self._position()

    def on_test_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Put off signals until the end of the batch."""
        self._in_batch = True

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stop if a signal asked for it."""
        self._in_batch = False
        if self._signal is not None and hosts.count() == 1:
            self._stop()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Count the epoch as finished."""
        self._finished = epoch + 1

    def on_train_end(self, logs: dict | None = None) -> None:
        """Save the last checkpoint, and give the signals back."""
        if self._finished is not None:  # else no epoch was left to train
            self._epoch, self._step, self._end_of_epoch = self._finished, 0, None
            self._note_beginning()
            self.save()
        self.close()

    def close(self) -> None:
        """Give the signals back. `DiffusionModel.fit` calls it however it ends."""
        self._handlers.remove()
        self._in_batch = True
        function = self._model and self._model.train_function
        if isinstance(function, PassedSteps):
            self._model.train_function = function.function

    def _act(self) -> None:
        """Save if it is time to, and stop if a signal asked for it, here or on another host."""
        if hosts.count() > 1 and self._steps % _STEPS_OF_HOSTS:
            return
        due = self.every_steps is not None and self._steps - self._last_steps >= self.every_steps
        if self.every_seconds is not None:
            due = due or time.monotonic() - self._last_time >= self.every_seconds
        due, stop = hosts.any_of([due, self._signal is not None])
        if stop:
            self._stop()
        if due:
            self._try_to_save()
            if self._signal is not None and hosts.count() == 1:  # it came during writing
                self._stop()

    def _try_to_save(self) -> None:
        """Save, or say why not: a training does not end because a disk is full for a while."""
        try:
            self.save()
        except OSError as error:
            log.warning("no checkpoint was written, and the training goes on: %s", error)
            self._last_steps, self._last_time = self._steps, time.monotonic()

    def save(self) -> Path:
        """Write a checkpoint of the present position, and return its path.

        Raises:
            ValueError: If a weight is not finite. The checkpoints before stay.
        """
        start, self._saving = time.monotonic(), True
        try:
            path = self.folder.save(self.model, self._end_of_epoch or self._position())
        finally:
            self._saving = False
        self._last_steps, self._last_time = self._steps, time.monotonic()
        self.seconds += self._last_time - start
        return path

    def _position(self) -> RunState:
        # Copies, because PyTorch's variables share their memory with these arrays.
        metrics = tuple(np.array(to_numpy(v.value)) for v in self.model.metrics_variables)
        states, place = states_of(self._others), (self._epoch, self._step, self._steps)
        details = {"callbacks": states, "data": self._data_state, "random": self._random}
        # A copy, because callbacks go on changing their lists.
        details = json.loads(json.dumps(details, default=float))
        metrics = metrics if self._step else ()
        return RunState(*place, time.time(), details, metrics, scalars_of(self.model))

    def _on_signal(self, number: int) -> None:
        if self._signal is not None:
            raise Interrupted(128 + number)
        self._signal = number
        later = self._in_batch or self._saving or (self._step and self._end_of_epoch is None)
        if later or hosts.count() > 1:
            log.info("%s: stopping after this step", signal.Signals(number).name)
        else:
            self._stop()

    def _stop(self) -> None:
        number = self._signal or signal.SIGINT
        # In a thread of its own: a signal may come while a framework traces a function, when
        # its variables have no values in this thread.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(self.save).result()
        raise Interrupted(
            128 + number,
            f"stopped by {signal.Signals(number).name} in epoch {self._epoch + 1} after step "
            f"{self._step}, and saved. {self.way_on}",
        )
