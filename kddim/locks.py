"""Locks on outputs, so that two processes do not write to the same one."""

import contextlib
import errno
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from kddim import signals
from kddim.files import LOCK, check_place, make_folder, writing

log = logging.getLogger("kddim")

_WAIT = 0.2  # seconds, for a process that is just releasing the lock
# Errors of file systems that know no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_held: dict[tuple[Path, int], int] = {}


@contextlib.contextmanager
def output_lock(path: str | os.PathLike, wait: float = _WAIT) -> Iterator[None]:
    """Hold the right to write an output, or raise if another process has it.

    The lock is a hidden file `.NAME.lock` beside the output, which names the process that
    holds it. The system releases the lock when the process ends, however it ends. A thread may
    take the same lock several times. On NFS, Lustre and SMB the lock holds between machines
    only if the file system is mounted with locks. A file system without locks is said in a
    log line, and the block runs without one.

    Args:
        path: File or folder that the block writes. Missing parents are created. The lock
            removes those that are empty at the end.
        wait: Time in seconds to wait for the other process. -1 waits as long as it takes.

    Raises:
        ValueError: If another process, or another thread, writes the output, or if nothing
            can be written there.
    """
    signals.unwind()
    path = Path(os.path.realpath(check_place(path)))
    key = (path, threading.get_ident())
    if key in _held:
        _held[key] += 1
        try:
            yield
        finally:
            _held[key] -= 1
        return
    with _parents(path), _locked(path, wait):
        _held[key] = 1
        try:
            yield
        finally:
            del _held[key]


@contextlib.contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Create the missing parents of a path, and remove those that are empty at the end."""
    missing = [parent for parent in path.parents if not parent.exists()]
    with writing(path):
        make_folder(path.parent)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty
            for folder in missing:
                folder.rmdir()


@contextlib.contextmanager
def _locked(path: Path, wait: float) -> Iterator[None]:
    from filelock import FileLock, Timeout

    file = _lock_file(path)
    lock = FileLock(file, timeout=wait)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"Expected an output that no other process writes. Received: {path}, which is being "
            f"written by {_holder(file)}. Wait for it, or choose another output."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.info("%s: the file system has no locks; let no other process write there", path)
        yield
        return
    try:
        _sign(file)
        yield
    finally:
        # Removed while it is held: whoever opened it before sees that it has no name any more.
        with contextlib.suppress(OSError):  # Windows removes no open file
            file.unlink()
        lock.release()
        if os.name == "nt":
            with contextlib.suppress(OSError):
                file.unlink()


def _lock_file(path: Path) -> Path:
    """Return the lock file of an output: beside it, or inside if its parent is read-only."""
    inside = path.is_dir() and not os.access(path.parent, os.W_OK)
    return (path if inside else path.parent) / f".{path.name}{LOCK}"


def _sign(file: Path) -> None:
    """Write the holder into a lock file, for the message of others."""
    with contextlib.suppress(OSError):  # a full disk, or Windows
        file.write_text(f"process {os.getpid()} on {socket.gethostname()}")


def _holder(file: Path) -> str:
    """Return the process that holds a lock, as far as its file tells."""
    with contextlib.suppress(OSError, ValueError):
        return file.read_text().strip() or "another process"
    return "another process"
