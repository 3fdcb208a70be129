"""State of a run, for others to read while it lasts."""

import os
import socket
import time
from pathlib import Path
from typing import Any

from kddim.callbacks.epochs import EpochCallback
from kddim.files import write_json
from kddim.training.folder import STATE, discard_earlier

_SECONDS = 10.0  # between two signs of life


class StateCallback(EpochCallback):
    """Write `state.json` into a run folder: how far the run is, and when it was alive last.

    Put it behind the callbacks that write the model: it removes an earlier run that was kept
    until the new one has a model.

    Args:
        folder: Run folder.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self._place = {"epoch": 0, "step": 0}
        self._speed: float | None = None
        self._written = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._place = {"epoch": epoch, "step": 0}
        self.write()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._place["step"] = batch + 1
        if time.monotonic() - self._written > _SECONDS:
            self.write()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._place = {"epoch": epoch + 1, "step": 0}
        self._speed = (logs or {}).get("images_per_second")
        self.write()
        discard_earlier(self.folder)

    def write(self, finished: bool = False) -> None:
        """Write the file.

        Args:
            finished: True if nothing is left to train.
        """
        self._written = time.monotonic()
        state: dict[str, Any] = self._place | {
            "epochs": self.params.get("epochs"),
            "steps_per_epoch": self.params.get("steps"),
            "finished": finished,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "updated": time.time(),
            "images_per_second": self._speed,
        }
        write_json(self.folder / STATE, state)
