"""Limit of the time of training."""

import collections
import itertools
import time

import keras

from kddim import hosts
from kddim.progress import tell


class TimeLimitCallback(keras.callbacks.Callback):
    """Stop training before an epoch that would end after a time limit.

    The next epoch is expected to take as long as the longest of the last ten, including the
    time of other callbacks. Put this callback first, so that the others can tell that an epoch
    is the last.

    Args:
        seconds: Time limit in seconds, above 0. A training that is resumed from a checkpoint
            has the time that was left.

    Raises:
        ValueError: If `seconds` is not above 0.
    """

    def __init__(self, seconds: float):
        super().__init__()
        if not seconds > 0:
            raise ValueError(f"Expected `seconds` above 0. Received: {seconds}")
        self.seconds = seconds
        self._begins: collections.deque[float] = collections.deque(maxlen=11)
        self._start = 0.0
        self._earlier = 0.0  # seconds of training before it was resumed

    def get_state(self) -> dict[str, float]:
        """Return what a checkpoint keeps of the callback, as JSON values."""
        return {"elapsed": self.elapsed}

    def set_state(self, state: dict[str, float]) -> None:
        """Take over the state that `get_state` returned in another process."""
        self._earlier = float(state["elapsed"])

    @property
    def elapsed(self) -> float:
        """Time of training in seconds, with that before it was resumed."""
        return self._earlier + time.monotonic() - self._start

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the clock."""
        self._start = time.monotonic()
        self._begins.clear()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note when the epoch begins."""
        self._begins.append(time.monotonic())

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop the training if another epoch might exceed the limit."""
        now = time.monotonic()
        begins = [*self._begins, now]
        longest = max(end - begin for begin, end in itertools.pairwise(begins))
        last = epoch + 1 == self.params.get("epochs")
        # Twice: once for the remaining callbacks of this epoch, and once for the next epoch.
        if not last and hosts.agree(self._earlier + now - self._start + 2.0 * longest) > self.seconds:  # fmt: skip
            self.model.stop_training = True
            tell(f"time limit of {self.seconds:.0f} s: epoch {epoch + 1} is the last")
