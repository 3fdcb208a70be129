"""Files that are written as a whole or not at all, and paths that may be written to."""

import contextlib
import csv
import errno
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kddim import signals
from kddim.budget import size_in_words

# Endings of hidden names beside an output.
UNFINISHED, SHARDS, LOCK = ".unfinished", ".shards", ".lock"
_PARTIAL, _OLD = ".partial", ".replaced"
_PARTIAL_NAME = re.compile(rf"\..+\{_PARTIAL}(\.[^.]+)?")
_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
# Libraries pass the words of the system on without its number. NumPy says how much it wrote.
_NO_ROOM_WORDS = re.compile(rf"{os.strerror(errno.ENOSPC)}|\d+ requested and \d+ written")
_HIDDEN = 16  # bytes that a hidden name beside an output adds to the name
_INSIDE = 64  # bytes of the longest path inside an output


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

    Raises:
        OSError: If the file cannot be written. The message names it, and the room on the disk
            if there is not enough.
    """
    signals.unwind()
    path = Path(path)
    partial = path.with_name(f".{path.stem}{_PARTIAL}{path.suffix}")
    try:
        with writing(path):
            make_folder(path.parent)
            yield partial
            if durable:
                _flush(partial)
            os.replace(partial, path)
            if durable:
                _flush(path.parent)
    finally:
        with contextlib.suppress(OSError):  # such as a path that is too long
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`, and rename it to `path` at the end.

    A folder that was at `path` is replaced as a whole. If the block raises, it stays as it was.

    Args:
        path: The folder to write. Missing parents are created.

    Raises:
        OSError: If the folder cannot be written.
    """
    signals.unwind()
    path = Path(path)
    partial, old = (path.with_name(f".{path.name}{end}") for end in (_PARTIAL, _OLD))
    with writing(path):
        make_folder(path.parent)
        for rest in (partial, old):  # of a process that was killed
            shutil.rmtree(rest, ignore_errors=True)
        try:
            partial.mkdir()
            yield partial
            if path.exists():
                os.replace(path, old)
            os.replace(partial, path)
        finally:
            if old.exists() and not path.exists():
                os.replace(old, path)
            for rest in (partial, old):
                shutil.rmtree(rest, ignore_errors=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise the errors of the system with a message that names the file to write.

    Args:
        path: File or folder that the block writes.

    Raises:
        OSError: If the block raises one. It keeps its type and its `errno`.
    """
    try:
        yield
    except OSError as error:
        told_before = error.strerror is None and error.errno is not None
        if told_before or (error.errno is None and not is_full(error)):
            raise  # the latter is of a library, such as of a download
        if error.filename and Path(error.filename).parent not in (path.parent, *path.parents):
            raise  # of another file, which it names
        told = type(error)(_explanation(error, path))
        told.errno = error.errno
        raise told from error


def is_full(error: OSError) -> bool:
    """Return True if an error says that there is no room on the disk."""
    return error.errno in _NO_ROOM or bool(_NO_ROOM_WORDS.search(str(error)))


def _explanation(error: OSError, path: Path) -> str:
    if not is_full(error):
        return f"Expected to write {path}. Received: {error.strerror}"
    above = next(parent for parent in (path, *path.absolute().parents) if os.path.exists(parent))
    free = size_in_words(shutil.disk_usage(above).free)
    return (
        f"Expected room on the disk for {path}. Received: {os.strerror(errno.ENOSPC)} ({free} "
        "free). Free some, and run the same command again."
    )


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, however many levels they are."""
    # `Path.mkdir` calls itself for each missing parent.
    missing = itertools.takewhile(lambda parent: not parent.is_dir(), (path, *path.parents))
    for folder in reversed(list(missing)):
        folder.mkdir(exist_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file, or the list of the files in a folder, is on the disk."""
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_partial(path: Path) -> bool:
    """Return True for the name of a temporary file of `atomic_write`."""
    return _PARTIAL_NAME.fullmatch(path.name) is not None


def remove_partial_files(folder: Path) -> None:
    """Remove the temporary files that a killed `atomic_write` left in a folder.

    Call it only while no other process writes there.

    Args:
        folder: Folder to clean, without its subfolders. It need not exist.
    """
    for path in folder.glob(f".*{_PARTIAL}*"):
        if path.is_file() and is_partial(path):
            path.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 2) -> None:
    """Write a JSON file as a whole or not at all.

    Args:
        path: The file to write.
        content: JSON values.
        indent: Number of spaces per level. None writes one line.
    """
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=indent) + "\n")


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
        ValueError: If something is there already and `overwrite` is false, or if nothing can
            be written there. What a killed process left in a folder does not count.
    """
    path = check_place(path)
    if not is_empty(path) and not overwrite:
        raise ValueError(
            f"Expected an output that does not exist yet. Received: {path}, which does. "
            "Choose another, or overwrite it with --overwrite (overwrite=True)."
        )
    return path


def is_empty(path: str | os.PathLike) -> bool:
    """Return True if nothing is at a path, or a folder with nothing but what a kill left.

    Args:
        path: File or folder to write.
    """
    path = Path(path)
    if not path.is_dir():
        return not os.path.lexists(path)
    ours = {f".{path.resolve().name}{ending}" for ending in (UNFINISHED, SHARDS, LOCK)}
    return all(is_partial(entry) or entry.name in ours for entry in path.iterdir())


def check_place(path: str | os.PathLike) -> Path:
    """Return `path` if a file or a folder can be written there.

    Args:
        path: File or folder to write.

    Raises:
        ValueError: If the path or a name in it is too long, if a parent is a file, or if the
            folder is read-only.
    """
    path = Path(path)
    absolute = Path(os.path.abspath(path))
    _check_length(absolute)
    above = next(parent for parent in absolute.parents if os.path.lexists(parent))
    if absolute.is_dir():
        above = absolute
    if not above.is_dir():
        raise ValueError(f"Expected a folder at {above}. Received: a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"Expected a folder to write to. Received: {above}, which is read-only")
    return path


def _check_length(path: Path) -> None:
    """Raise if a path has more bytes than the system allows, or a name in it."""
    names = [len(os.fsencode(name)) for name in path.parts]
    longest_name, longest_path = 255 - _HIDDEN, 4095 - _INSIDE
    if os.name == "nt":
        longest_path = 32767 - _INSIDE
    too_long = names[-1] > longest_name or max(names) > 255
    if too_long or len(os.fsencode(path)) > longest_path:
        raise ValueError(
            f"Expected an output path of at most {longest_path} bytes, with names of at most "
            f"{longest_name} bytes. Received: {sum(names)} bytes in {len(names)} names, the "
            f"longest of {max(names)} bytes. Choose a shorter one."
        )
