"""State of a training run, read from the files of its folder while it lasts and afterwards."""

import csv
import dataclasses
import math
import os
import shlex
import socket
import statistics
import time
from pathlib import Path
from typing import Any

import psutil

from kddim.files import read_json
from kddim.progress import duration

CONFIG, STATE, HISTORY, SKIPPED = "config.json", "state.json", "history.csv", "skipped.txt"
CHECKPOINTS = "checkpoints"
PRESET = "weights.npz"  # the folder of a preset has a config.json too
# A process on another host is taken for alive so many seconds after its last sign of life.
SIGN_OF_LIFE_SECONDS = 900.0


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """Content of the files of a run folder. A file that is missing or damaged is empty.

    Args:
        folder: The run folder.
        config: Content of `config.json`.
        state: Content of `state.json`, which a run writes every few seconds.
        history: Rows of `history.csv`: numbers by column, without those that an epoch lacks.
    """

    folder: Path
    config: dict[str, Any]
    state: dict[str, Any]
    history: list[dict[str, float]]

    @property
    def training(self) -> dict[str, Any]:
        """Settings of the run."""
        return _dictionary(self.config.get("training"))

    @property
    def epochs_done(self) -> int:
        """Number of epochs that have ended."""
        told = _number(self.state, "epoch")
        written = self.history[-1]["epoch"] if self.history else 0
        return int(written if told is None else told)

    @property
    def epochs(self) -> int | None:
        """Number of epochs of the whole run."""
        found = _number(self.state, "epochs") or _number(self.training, "epochs")
        return None if found is None else int(found)

    @property
    def best(self) -> dict[str, float] | None:
        """Row of the epoch with the lowest KID."""
        measured = [row for row in self.history if math.isfinite(row.get("val_kid", math.nan))]
        return min(measured, key=lambda row: row["val_kid"], default=None)

    @property
    def seconds_per_epoch(self) -> float | None:
        """Median time of the last epochs in seconds. The first one compiles, and counts less."""
        seconds = [row["seconds"] for row in self.history[-10:] if "seconds" in row]
        return statistics.median(seconds) if seconds else None

    @property
    def images_per_second(self) -> float | None:
        """Speed without the time between epochs, or over whole epochs if it is not recorded."""
        speed = _number(self.state, "images_per_second")
        steps = _number(self.state, "steps_per_epoch") or _number(self.training, "steps_per_epoch")
        images, seconds = _number(self.training, "batch_size"), self.seconds_per_epoch
        if speed is None and steps and images and seconds:
            return steps * images / seconds
        return speed

    @property
    def seconds_left(self) -> float | None:
        """Time that is left in seconds at the speed of the last epochs."""
        if self.seconds_per_epoch is None or self.epochs is None:
            return None
        steps = _number(self.state, "steps_per_epoch")
        part = self.step / steps if steps else 0.0
        return max(0.0, (self.epochs - self.epochs_done - part) * self.seconds_per_epoch)

    @property
    def step(self) -> int:
        """Number of steps of the next epoch that have ended."""
        return int(_number(self.state, "step") or 0)

    @property
    def updated(self) -> float | None:
        """Time of the last sign of life, in seconds since 1970."""
        times = [_number(self.state, "updated")]
        if self.history:
            times.append((self.folder / HISTORY).stat().st_mtime)
        return max((t for t in times if t is not None), default=None)


def read_run(folder: str | os.PathLike) -> RunFiles:
    """Read the files of a run.

    Args:
        folder: The run folder.

    Raises:
        ValueError: If there is no run folder.
    """
    folder = Path(folder)
    if not is_run(folder):
        raise ValueError(
            f"Expected a run folder (one that holds {CONFIG} or {STATE}). Received: {folder}"
        )
    return RunFiles(
        folder,
        _dictionary(read_json(folder / CONFIG)),
        _dictionary(read_json(folder / STATE)),
        read_history(folder / HISTORY),
    )


def is_run(path: str | os.PathLike) -> bool:
    """Return True for a folder that a training run has begun to write."""
    folder, names = Path(path), (CONFIG, STATE, CHECKPOINTS)
    begun = folder.is_dir() and any((folder / name).exists() for name in names)
    return begun and not (folder / PRESET).exists()


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of `history.csv`, empty if it cannot be read.

    Args:
        path: The file.

    Returns:
        Numbers by column, one dictionary per epoch, without cells that hold no number.
    """
    try:
        with path.open(newline="", errors="replace") as file:
            rows = [_numbers(row) for row in csv.DictReader(file)]
    except (OSError, csv.Error):
        return []
    return [row for row in rows if math.isfinite(row.get("epoch", math.nan))]


def describe_state(run: RunFiles) -> dict[str, str]:
    """Return lines of text on the state of a run, by name."""
    running = _is_running(run)
    found = {"state": _state(run, running)}
    if not running and not _is_finished(run):
        found["go on"] = _way_on(run)
    if run.seconds_per_epoch is not None:
        speed = run.images_per_second
        per_second = "" if speed is None else f"{float(f'{speed:.3g}'):,g} images per second, "
        found["speed"] = f"{per_second}{duration(run.seconds_per_epoch)} per epoch"
    if run.seconds_left is not None and not _is_finished(run):
        found["time left"] = duration(run.seconds_left)
    if run.best:
        found["best KID"] = f"{run.best['val_kid']:.6g} in epoch {run.best['epoch']:.0f}"
    if run.history:
        found["last losses"] = _last_losses(run.history[-1])
    skipped = _count_lines(run.folder / SKIPPED)
    if skipped:
        found["skipped files"] = f"{skipped:,}, see {run.folder / SKIPPED}"
    return found


def _state(run: RunFiles, running: bool) -> str:
    total = "?" if run.epochs is None else run.epochs
    if _is_finished(run):
        return f"finished, {run.epochs_done} of {total} epochs"
    seen = "" if run.updated is None else f"; last sign of life {_ago(run.updated)}"
    steps = _number(run.state, "steps_per_epoch")
    step = f", step {run.step}" + (f" of {steps:.0f}" if steps else "") if run.step else ""
    place = f"at epoch {run.epochs_done} of {total}{step}"
    if not running:
        return f"stopped {place}{seen}"
    here = run.state.get("host") == socket.gethostname()
    where = f"process {run.state['pid']}" if here else f"on {run.state.get('host')}"
    return f"running ({where}) {place}{seen}"


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    days = round(seconds / 86400)
    return f"{days} days ago" if days > 1 else f"{duration(seconds)} ago"


def _way_on(run: RunFiles) -> str:
    if (run.folder / CHECKPOINTS).is_dir() and any((run.folder / CHECKPOINTS).iterdir()):
        return f"kddim train --resume {shlex.quote(str(run.folder))}"
    return "no checkpoint was saved; train again with --overwrite"


def _is_finished(run: RunFiles) -> bool:
    if "finished" in run.state:
        return run.state["finished"] is True
    # A run of an older version has no state.
    return run.epochs is not None and run.epochs_done >= run.epochs


def _is_running(run: RunFiles) -> bool:
    """Return True if the process that wrote the state last is still there."""
    updated, pid = _number(run.state, "updated"), _number(run.state, "pid")
    if _is_finished(run) or updated is None or pid is None:
        return False
    if run.state.get("host") != socket.gethostname():
        return time.time() - (run.updated or 0.0) < SIGN_OF_LIFE_SECONDS
    try:
        process = psutil.Process(int(pid))
        # A process that began after the state was written has taken the number over.
        return process.create_time() <= updated + 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, OverflowError):
        return False


def _last_losses(row: dict[str, float]) -> str:
    losses = {key: value for key, value in row.items() if key.endswith("loss")}
    return ", ".join(f"{key} {value:.4g}" for key, value in losses.items())


def _count_lines(path: Path) -> int:
    try:
        return sum(bool(line.strip()) for line in path.read_text(errors="replace").splitlines())
    except OSError:
        return 0


def _dictionary(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _number(content: dict[str, Any], key: str) -> float | None:
    """Return a finite number of a JSON object, or None if there is none."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if abs(value) < 1e18 else None


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    found = {}
    for key, text in row.items():
        try:
            found[key] = float(text)
        except (TypeError, ValueError):
            continue
    return found
