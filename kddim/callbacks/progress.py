"""Progress of training, as a bar on a terminal and as one line per epoch."""

import collections
import contextlib
import sys
import time
from typing import Any

import keras

from kddim.progress import duration, log_above_bar

REFRESH_SECONDS = 0.1


class Pace:
    """Speed of training, and the time that it will take.

    Args:
        window: Number of steps, and of epochs, that the speed is measured over.
    """

    def __init__(self, window: int = 200):
        self._steps: collections.deque[tuple[float, int]] = collections.deque(maxlen=window)
        self._breaks: collections.deque[float] = collections.deque(maxlen=window)
        self._mark: float | None = None
        self._step = 0

    def skip(self, step: int) -> None:
        """Pass over steps that were not computed, or whose time means nothing.

        Args:
            step: Number of the last of them in its epoch, counted from 1.
        """
        self._mark, self._step = None, step

    def begin_epoch(self) -> None:
        """Start the clock of an epoch. The first step of all is not measured: it compiles."""
        self._step = 0
        if self._steps or self._breaks:
            self._mark = time.perf_counter()

    def end_step(self, step: int) -> None:
        """Note that a step ends.

        Args:
            step: Number of the step in its epoch, counted from 1.
        """
        now = time.perf_counter()
        if self._mark is not None and step > self._step:
            self._steps.append((now - self._mark, step - self._step))
        self._mark, self._step = now, step

    def end_epoch(self) -> None:
        """Note that validation and the callbacks of an epoch end."""
        if self._mark is not None:
            self._breaks.append(time.perf_counter() - self._mark)

    @property
    def seconds_per_step(self) -> float | None:
        """Time of a step in seconds, without the time between epochs. None if it is unknown."""
        steps = sum(count for _, count in self._steps)
        return sum(seconds for seconds, _ in self._steps) / steps if steps else None

    def seconds_left(self, steps: int, epochs: int) -> float | None:
        """Return the time that is left in seconds, or None if it is unknown.

        Args:
            steps: Number of steps that are left.
            epochs: Number of epochs that have not ended.
        """
        each = self.seconds_per_step
        if each is None:
            return None
        breaks = list(self._breaks)[1:] or list(self._breaks)  # the first one compiles
        between = sum(breaks) / len(breaks) if breaks else 0.0
        return steps * each + epochs * between


class TrainingProgress(keras.callbacks.Callback):
    """Show the speed, the time left, the loss and the last KID of training.

    Every epoch gets a line. A terminal shows a bar below the lines as well. Put this callback
    last, behind those that add to the logs, and pass `verbose=0` to `fit`.

    Args:
        batch_size: Number of images per step.
        max_seconds: Time limit of training in seconds, as in `TimeLimitCallback`. None is no
            limit.
        console: `rich.console.Console` to write to. None is standard output.

    Attributes:
        resumed_step: Number of steps of the first epoch that an earlier process has done. They
            are passed over, and do not count for the speed.

    Example:
        >>> progress = kddim.callbacks.TrainingProgress(batch_size=64)
        >>> model.fit(images, batch_size=64, verbose=0, callbacks=[progress])
    """

    def __init__(self, batch_size: int, max_seconds: float | None = None, console: Any = None):
        super().__init__()
        self.batch_size = batch_size
        self.max_seconds = max_seconds
        self.resumed_step = 0
        self.pace = Pace()
        self._console = console or _standard_output()
        self._opened = contextlib.ExitStack()
        self._bar: Any = None
        self._task: Any = None
        self._kid: float | None = None
        self._epoch = 0
        self._start = self._epoch_start = self._shown = 0.0

    def get_state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs, as JSON values."""
        return {"kid": self._kid}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the state that `get_state` of an earlier process returned."""
        self._kid = state["kid"]

    @property
    def images_per_second(self) -> float | None:
        """Speed of the last steps, without the time between epochs. None if it is unknown."""
        seconds = self.pace.seconds_per_step
        return None if seconds is None else self.batch_size / max(seconds, 1e-9)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()
        self.pace.skip(0)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Open the bar before the first epoch, and show the beginning of each one."""
        self._epoch, self._epoch_start = epoch, time.perf_counter()
        self.pace.begin_epoch()
        # Not before the first epoch: callbacks print when training begins.
        if self._bar is None and self._console.is_terminal:
            self._open_bar()
        self._show(0)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Show the step, a few times per second."""
        step = batch + 1
        if step <= self.resumed_step:
            self.pace.skip(step)
        else:
            self.pace.end_step(step)
        last = step == self.params.get("steps")
        if last or time.perf_counter() - self._shown >= REFRESH_SECONDS:
            self._show(step, self._losses(logs or {}), "validating" if last else "")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Print the line of the epoch."""
        self.pace.end_epoch()
        self.resumed_step = 0
        self._kid = (logs or {}).get("val_kid", self._kid)
        words = [self._losses(logs or {}, ("loss", "val_loss", "val_kid")), self._speed()]
        words.append(duration(time.perf_counter() - self._epoch_start))
        if not self._is_last(epoch):
            words.append(self._left(epoch + 1, 0))
        line = f"epoch {epoch + 1}/{self.params.get('epochs')}: {', '.join(filter(None, words))}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Remove the bar."""
        self.close()

    def close(self) -> None:
        """Remove the bar. `DiffusionModel.fit` calls it however it ends."""
        self._opened.close()
        self._bar = None

    def _is_last(self, epoch: int) -> bool:
        return epoch + 1 == self.params.get("epochs") or self.model.stop_training

    def _open_bar(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self._bar = Progress(
            TextColumn("{task.fields[epochs]}", markup=False),
            BarColumn(None, table_column=Column(ratio=1, min_width=4)),
            TextColumn("{task.fields[values]}", markup=False),
            console=self._console,
            expand=True,
            transient=True,  # the lines of the epochs say all
            redirect_stderr=sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", epochs="", values="", total=None)
        self._opened.enter_context(self._bar)
        self._opened.enter_context(log_above_bar())

    def _show(self, step: int, *words: str) -> None:
        """Draw the bar after a step of the epoch, counted from 1, with words behind it."""
        self._shown = time.perf_counter()
        if self._bar is None:
            return
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        kid = "" if self._kid is None else f"KID {self._kid:.4g}"
        words = (*words, kid, self._speed(), self._left(self._epoch, step))
        self._bar.update(
            self._task,
            total=epochs * steps if steps else None,
            completed=self._epoch * steps + step if steps else 0,
            epochs=f"epoch {self._epoch + 1}/{epochs}",
            values=", ".join(filter(None, words)),
        )

    def _losses(self, logs: dict, keys: tuple[str, ...] = ("loss",)) -> str:
        names = {"val_kid": "KID"}
        known = [key for key in keys if logs.get(key) is not None]
        return ", ".join(f"{names.get(key, key)} {logs[key]:.4g}" for key in known)

    def _speed(self) -> str:
        speed = self.images_per_second
        return "" if speed is None else f"{float(f'{speed:.3g}'):,g} images/s"

    def _left(self, epoch: int, step: int) -> str:
        """Return the time left in words, after some epochs and steps of the next one."""
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        if not steps:
            return ""
        left = self.pace.seconds_left((epochs - epoch) * steps - step, epochs - epoch)
        if left is None:
            return ""
        if self.max_seconds is not None:
            left = min(left, self.max_seconds - (time.perf_counter() - self._start))
        return f"{duration(left)} left"


def _standard_output() -> Any:
    """Return a console that is a terminal only if standard output is one.

    Rich would take an environment variable such as FORCE_COLOR for a terminal, and draw a
    widget in a notebook.
    """
    from rich.console import Console

    console = Console(force_jupyter=False)
    animated = sys.stdout.isatty() and not console.is_dumb_terminal
    return Console(force_terminal=animated, force_jupyter=False)
