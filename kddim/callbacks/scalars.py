"""Numbers and pictures of training, for the tools that show them."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import keras

from kddim.callbacks.epochs import EpochCallback
from kddim.callbacks.image_grid import grid_path
from kddim.checks import check_count, reason_of

log = logging.getLogger("kddim")


class ScalarCallback(EpochCallback):
    """Base class of callbacks that hand numbers and pictures to a tool that shows them.

    All numbers have the number of training steps as their axis, counted over all fits:
    `batch/loss` and so on are means over the last `every_steps` steps, and `epoch/loss`,
    `epoch/val_loss`, `epoch/learning_rate` and so on are the logs of an epoch. A tool that fails
    does not end training: it gets a line in the log, and no more numbers. Callbacks of this kind
    stand behind those that add to the logs, and before a `RunCheckpoint`.

    Args:
        samples: Folder of the pictures of an `ImageGridCallback`, which stands before this
            callback. None shows no pictures.
        every_steps: Number of steps from one `batch/loss` to the next, at least 1.

    Attributes:
        step: Number of training steps that have ended, in all fits.

    Raises:
        ValueError: If `every_steps` is below 1.
    """

    kept: ClassVar[tuple[str, ...]] = ("epochs", "step", "_begin", "_point", "_sums", "_count")
    tool = "the tool"

    def __init__(self, samples: str | os.PathLike | None = None, every_steps: int = 10):
        super().__init__()
        self.every_steps = check_count("every_steps", every_steps)
        self.samples = None if samples is None else Path(samples)
        self.step = 0
        self._begin = 0  # value of `step` before the epoch
        self._resumed = self._broken = self._started = False
        self._point: dict[str, float] = {}  # what was written at `step`, and not by an epoch
        self._sums: dict[str, float] = {}  # sums over the steps of the epoch at the last point
        self._count = 0  # number of steps in these sums

    def start(self) -> None:
        """Begin to write, before the first step.

        Raises:
            ValueError: If the tool cannot be used.
        """

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write numbers.

        Args:
            step: Number of training steps.
            scalars: Numbers by name.
        """

    def write_picture(self, step: int, path: Path) -> None:
        """Write a picture.

        Args:
            step: Number of training steps.
            path: PNG file.
        """

    def finish(self) -> None:
        """Write what is left, and close what is open."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the state that `get_state` of an earlier process returned."""
        super().set_state(state)
        self._resumed = True

    @property
    def resume_step(self) -> int:
        """First step with numbers that are not written yet."""
        between_epochs = self._begin == self.step  # else the numbers of the epoch may be missing
        return self.step + 1 if between_epochs and self.step else self.step

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Begin the sums of an epoch, and open the tool before the first one."""
        super().on_epoch_begin(epoch)
        if not self._resumed or self._begin == self.step:
            if not self.step and epoch:  # a fit from `initial_epoch`, without our state
                self.step = epoch * (self.params.get("steps") or 0)
            self._begin, self._sums, self._count = self.step, {}, 0
        self._resumed = False
        if not self._started:
            self.start()
            self._started = True

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Write the means over the last steps, every `every_steps` steps."""
        step = self._begin + batch + 1
        if step <= self.step:  # a resumed fit passes over the steps that were done
            return
        self.step, self._point = step, {}
        if step % self.every_steps == 0:
            self._point = self._since_last_point(batch + 1, logs or {})
            self._attempt(self.write, step, self._point)

    def _since_last_point(self, count: int, logs: Mapping[str, float]) -> dict[str, float]:
        """Return means over the steps since the last point. Keras' logs are those of the epoch."""
        sums = {key: count * float(value) for key, value in logs.items()}
        steps = count - self._count
        means = {key: (total - self._sums.get(key, 0.0)) / steps for key, total in sums.items()}
        self._sums, self._count = sums, count
        return {f"batch/{key}": value for key, value in means.items()}

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write the figures of the epoch and the picture of its samples."""
        number = self.count(epoch)
        rate = {"learning_rate": float(_learning_rate(self.model))}
        values = rate | {key: float(value) for key, value in (logs or {}).items()}
        scalars = {f"epoch/{key}": value for key, value in ({"epoch": number} | values).items()}
        self._attempt(self.write, self.step, scalars)
        picture = self.samples and grid_path(self.samples, number)
        if picture and picture.is_file():
            self._attempt(self.write_picture, self.step, picture)
        self._begin, self._point, self._sums, self._count = self.step, {}, {}, 0

    def on_train_end(self, logs: dict | None = None) -> None:
        """Finish writing."""
        self.close()

    def close(self) -> None:
        """Finish writing. `DiffusionModel.fit` calls it however it ends."""
        if self._started:
            self._started = False
            self._attempt(self.finish)

    def _attempt(self, action: Any, *arguments: Any) -> None:
        """Call a function of the tool, which must not end training."""
        if self._broken:
            return
        try:
            action(*arguments)
        except Exception as error:
            self._broken = True
            log.warning(
                "%s receives no more numbers (%s); training goes on", self.tool, reason_of(error)
            )


def _learning_rate(model: Any) -> Any:
    return keras.ops.convert_to_numpy(model.optimizer.learning_rate)
