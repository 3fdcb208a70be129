"""Training for so long and no longer."""

import collections
import itertools
import time

import keras


class TimeLimitCallback(keras.callbacks.Callback):
    """Ends training before an epoch that would not end within the limit.

    The longest of the last ten epochs, with what other callbacks did in it, is taken
    for the length of the next. Put it first: callbacks after it then know the last epoch
    as the last.

    Args:
        seconds: from the beginning of training, above 0.
    """

    def __init__(self, seconds: float):
        super().__init__()
        if not seconds > 0:
            raise ValueError(f"Expected `seconds` above 0. Received: {seconds}")
        self.seconds = seconds
        self._begins: collections.deque[float] = collections.deque(maxlen=11)
        self._start = 0.0

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._start = time.monotonic()
        self._begins.clear()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._begins.append(time.monotonic())

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        now = time.monotonic()
        begins = [*self._begins, now]
        longest = max(end - begin for begin, end in itertools.pairwise(begins))
        last = epoch + 1 == self.params.get("epochs")
        # The rest of this epoch's callbacks, and the next epoch with its own.
        if not last and now - self._start + 2.0 * longest > self.seconds:
            self.model.stop_training = True
            print(f"the time limit of {self.seconds:.0f} s is near: epoch {epoch + 1} is the last")
