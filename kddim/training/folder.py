"""Files of a run folder: those of an earlier run are kept until a new model exists."""

import logging
import os
import shutil
from pathlib import Path

from kddim import runs
from kddim.files import remove_partial_files

log = logging.getLogger("kddim")

CHECKPOINTS, STATE, SKIPPED = "checkpoints", "state.json", "skipped.txt"
_FOLDERS = (runs.SAMPLES, CHECKPOINTS, runs.AVERAGES)
# Files that a run writes. All others in its folder belong to the user.
_WRITTEN = (
    runs.MODEL,
    runs.CONFIG,
    STATE,
    SKIPPED,
    "bad_batch.npz",
    "history.csv",
    "history.png",
    f"{runs.SAMPLES}/epoch_*.png",
    f"{CHECKPOINTS}/step_*.npz",
    f"{runs.AVERAGES}/step_*.npz",
    "logs/**/events.out.tfevents.*",
)


def set_earlier_aside(folder: Path) -> None:
    """Move the files of an earlier run into a hidden folder within a run folder.

    They stay there until the new run has a model, so that a run that fails costs nothing. If
    the run of now never had a model, its files are removed, and the one before it stays aside.

    Args:
        folder: Run folder. It need not exist.
    """
    clean(folder)
    if (folder / runs.EARLIER).is_dir():
        if not (folder / runs.MODEL).is_file():
            _remove(folder)
            return
        shutil.rmtree(folder / runs.EARLIER)
    _move(folder, folder / runs.EARLIER)


def settle_earlier(folder: Path) -> None:
    """Remove the earlier run if the new one has a model, else bring it back.

    Args:
        folder: Run folder.
    """
    earlier = folder / runs.EARLIER
    if not earlier.is_dir():
        return
    if not (folder / runs.MODEL).is_file():
        log.info("%s: no new model was made, the earlier run stays", folder)
        _remove(folder)
        _move(earlier, folder)
    shutil.rmtree(earlier)


def discard_earlier(folder: Path) -> None:
    """Remove the earlier run as soon as the new one has a model."""
    if (folder / runs.MODEL).is_file():
        shutil.rmtree(folder / runs.EARLIER, ignore_errors=True)


def clean(folder: Path) -> None:
    """Remove the temporary files that a killed run left in its folder."""
    for part in (folder, *(folder / name for name in _FOLDERS)):
        remove_partial_files(part)


def _files(folder: Path) -> list[Path]:
    return [path for pattern in _WRITTEN for path in folder.glob(pattern) if path.is_file()]


def _remove(folder: Path) -> None:
    for path in _files(folder):
        path.unlink()
    _remove_empty(folder)


def _move(folder: Path, target: Path) -> None:
    """Move the files of a run. The model goes first and comes last: it is worth most."""
    for path in _files(folder):
        place = target / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    for name in _FOLDERS:
        part = folder / name
        if part.is_dir() and not any(part.iterdir()):
            part.rmdir()
