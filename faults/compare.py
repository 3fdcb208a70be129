"""Comparison of two outputs, without what may differ: times, and names of folders."""

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Columns and keys that hold times, speeds and versions.
TIMES = ("second", "minute", "time", "speed", "per_s", "version", "date", "rate_of", "share")


def differences(first: Path, second: Path) -> list[str]:
    """Return the names of the files that differ between two files or folders."""
    if first.is_file() or second.is_file():
        return [] if same_file(first, second) else [first.name]
    names = {str(p.relative_to(root)) for root in (first, second) for p in _files(root)}
    return [name for name in sorted(names) if not same_file(first / name, second / name)]


def _files(root: Path) -> list[Path]:
    skipped = {"config.json", "record.json", "state.json"}
    kept = [p for p in root.rglob("*") if p.is_file() and p.name not in skipped]
    # Curves are drawn from history.csv; plots of seconds differ.
    return [p for p in kept if p.name not in ("history.png", "sweep.png", "sweep.md")]


def same_file(first: Path, second: Path) -> bool:
    """Return True if two files hold the same arrays, pixels or rows."""
    if not first.is_file() or not second.is_file():
        return False
    suffix = first.suffix.lower()
    if suffix == ".npz":
        return _same_arrays(dict(np.load(first)), dict(np.load(second)))
    if suffix == ".png":
        return np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(second)))
    if suffix == ".csv":
        return read_rows(first) == read_rows(second)
    if suffix == ".keras":
        return _same_arrays(read_weights(first), read_weights(second))
    return first.read_bytes() == second.read_bytes()


def _same_arrays(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[k], second[k], equal_nan=first[k].dtype.kind == "f") for k in first
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, without its columns of time."""
    with path.open(newline="") as file:
        return [
            {k: v for k, v in row.items() if not any(word in k for word in TIMES)}
            for row in csv.DictReader(file)
        ]


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of a `.keras` file by name, with those of the optimiser."""
    import h5py

    found: dict[str, np.ndarray] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    with zipfile.ZipFile(path) as file, h5py.File(io.BytesIO(file.read("model.weights.h5"))) as h5:
        h5.visititems(note)
    return found


def kid_history(run: Path) -> Any:
    """Return what config.json of a run tells of KID, and of its best epoch."""
    content = json.loads((run / "config.json").read_text())
    return content.get("kid"), content.get("best_epoch")


def loads(path: Path) -> bool:
    """Return True if a `.keras` file is whole and its weights are finite."""
    try:
        with zipfile.ZipFile(path) as file:
            whole = file.testzip() is None
        return whole and all(np.isfinite(w).all() for w in read_weights(path).values())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False
