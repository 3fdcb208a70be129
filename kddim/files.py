"""Files that are written as a whole or not at all, and paths that may be written to."""

import contextlib
import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_PARTIAL = ".partial"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` at the end.

    Missing folders are created. If the block raises, the temporary file is removed and `path`
    stays as it was. The temporary path has the suffix of `path`, because libraries choose
    formats by it.

    Args:
        path: The file to write.
        durable: If true, the content is flushed to the disk before the file is renamed, so
            that a power failure leaves the old file or the new one.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}{_PARTIAL}{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        if durable:
            _flush(partial)
        os.replace(partial, path)
        if durable:
            _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file, or the list of the files in a folder, is on the disk."""
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_partial_files(folder: Path) -> None:
    """Remove the temporary files that a killed `atomic_write` left in a folder.

    Call it only while no other process writes there.

    Args:
        folder: Folder to clean, without its subfolders. It need not exist.
    """
    for path in folder.glob(f".*{_PARTIAL}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write a JSON file as a whole or not at all.

    Args:
        path: The file to write.
        content: JSON values.
    """
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file as a whole or not at all.

    Args:
        path: File to write.
        rows: Values by column. Columns that a row lacks stay empty in it.
    """
    columns = dict.fromkeys(name for row in rows for name in row)
    with atomic_write(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, or None if it cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def check_output(path: str | os.PathLike, overwrite: bool) -> Path:
    """Return `path` if it may be written to.

    Args:
        path: File or folder to write.
        overwrite: If true, something may be there already.

    Raises:
        ValueError: If something is there already and `overwrite` is false, if a parent is a
            file, or if the folder is read-only.
    """
    path = Path(path)
    occupied = any(path.iterdir()) if path.is_dir() else path.exists()
    if occupied and not overwrite:
        raise ValueError(
            f"Expected an output that does not exist yet. Received: {path}, which does. "
            "Choose another, or overwrite it with --overwrite (overwrite=True)."
        )
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ValueError(f"Expected a folder at {above}. Received: a file")
    if not os.access(above, os.W_OK):
        raise ValueError(f"Expected a folder to write to. Received: {above}, which is read-only")
    return path
