"""Record of a run that can be read while it lasts."""

import os
import time
from pathlib import Path
from typing import Any

from kddim.callbacks.epochs import EpochCallback
from kddim.files import write_csv
from kddim.plots import plot_history


class HistoryCallback(EpochCallback):
    """Write `history.csv` after every epoch, and draw `history.png` from time to time.

    Unlike `keras.callbacks.CSVLogger`, it writes columns for values that only some epochs have,
    such as `val_kid`.

    Args:
        directory: Folder that receives the files.
        title: Title of the figure.
        redraw_seconds: Shortest time between two drawings in seconds. The figure is also drawn
            at the end of training.

    Attributes:
        rows: List of one dictionary per epoch, with `epoch` (from 1), `seconds` and the logs.
    """

    kept = (*EpochCallback.kept, "rows")

    def __init__(self, directory: str | os.PathLike, title: str = "", redraw_seconds: float = 60.0):
        super().__init__()
        self.directory = Path(directory)
        self.title = title
        self.redraw_seconds = redraw_seconds
        self.rows: list[dict[str, Any]] = []
        self._drawn = 0.0

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Add a row to `history.csv`, and draw the curves if they are old."""
        now = time.perf_counter()
        row = {"epoch": epoch + 1, "seconds": round(now - self.epoch_start, 3)}
        self.rows.append(row | {key: float(value) for key, value in (logs or {}).items()})
        write_csv(self.directory / "history.csv", self.rows)
        if now - self._drawn > self.redraw_seconds:
            self._draw()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Draw the curves."""
        if self.rows:
            self._draw()

    def _draw(self) -> None:
        plot_history(self.rows, self.directory / "history.png", self.title)
        self._drawn = time.perf_counter()
