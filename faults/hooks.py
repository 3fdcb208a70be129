"""Faults inside of a forked command: a kill at the n-th change of the disk, a full disk."""

import builtins
import errno
import fnmatch
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir")


def kill_at(number: int, log: Path, sent: int = signal.SIGKILL) -> Callable[[], None]:
    """Return a hook that sends a signal to the command before its n-th change of the disk.

    Changes are renames, removals, new folders, and files that are opened to write.

    Args:
        number: Number of the change, from 0. A negative one only counts.
        log: File that receives one line per change.
        sent: Signal to send.
    """

    def hook() -> None:
        count = -1

        def note(what: str) -> None:
            nonlocal count
            count += 1
            with real_open(log, "a") as file:
                file.write(what + "\n")
            if count == number:
                os.kill(os.getpid(), sent)

        real_open = builtins.open
        _wrap_changes(note)
        _wrap_open(lambda path: note(f"open {path}"))

    return hook


def _wrap_changes(note: Callable[[str], None]) -> None:
    for name in CHANGES:
        real = getattr(os, name)

        def changed(*args: Any, _real: Callable = real, _name: str = name, **options: Any) -> Any:
            note(f"{_name} {args[0]}")
            return _real(*args, **options)

        setattr(os, name, changed)


def _wrap_open(note: Callable[[str], None]) -> None:
    real = builtins.open

    def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if isinstance(file, (str, os.PathLike)) and set(mode) & set("wax+"):
            note(os.fspath(file))
        return real(file, mode, *args, **options)

    builtins.open = io.open = opened  # type: ignore[assignment]


class _Full(io.FileIO):
    """A file on a disk that is full after some bytes of all files together."""

    left = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if size > _Full.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _Full.left -= size
        return super().write(data)


def full_after(size: int, folder: Path) -> Callable[[], None]:
    """Return a hook that fills the disk after some bytes written below a folder.

    Only files that Python opens are counted, not those of the H5 library.

    Args:
        size: Number of bytes that fit.
        folder: Folder on the disk that fills.
    """

    def hook() -> None:
        _Full.left = size
        real = builtins.open

        def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:  # fmt: skip
            writes = isinstance(file, (str, os.PathLike)) and set(mode) & set("wax+")
            if not writes or not os.path.abspath(os.fsdecode(file)).startswith(str(folder)):
                return real(file, mode, buffering, *args, **options)
            raw = _Full(file, mode.replace("b", "").replace("t", ""))
            buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffer if "b" in mode else io.TextIOWrapper(buffer, *args, **options)

        builtins.open = io.open = opened  # type: ignore[assignment]

    return hook


class _Killing(io.FileIO):
    """A file whose writer is killed after some bytes."""

    act: Callable[[], None]
    left = 0

    def write(self, data: Any) -> int:
        written = super().write(memoryview(data).cast("B")[: max(1, self.left)])
        self.left -= written
        if self.left <= 0:
            self.left = 1 << 60
            type(self).act()
        return written


def kill_in_write(pattern: str, skip: int, after: int, sent: int) -> Callable[[], None]:
    """Return a hook that sends a signal to the command while it writes a file.

    Args:
        pattern: Pattern of the path of the file, as for `fnmatch`.
        skip: Number of matching files to let pass.
        after: Number of bytes of the file that are written before.
        sent: Signal to send.
    """

    def hook() -> None:
        left, real = skip, builtins.open

        def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:  # fmt: skip
            nonlocal left
            writes = isinstance(file, (str, os.PathLike)) and set(mode) & set("wax+")
            if not writes or not fnmatch.fnmatch(os.path.abspath(os.fsdecode(file)), pattern):
                return real(file, mode, buffering, *args, **options)
            left -= 1
            if left != -1:
                return real(file, mode, buffering, *args, **options)
            _Killing.act = lambda: os.kill(os.getpid(), sent)  # type: ignore[assignment]
            raw = _Killing(file, mode.replace("b", "").replace("t", ""))
            raw.left = after
            buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffer if "b" in mode else io.TextIOWrapper(buffer, *args, **options)

        builtins.open = io.open = opened  # type: ignore[assignment]

    return hook


def kill_in_kid(skip: int, sent: int) -> Callable[[], None]:
    """Return a hook that sends a signal to the command while it measures KID.

    Args:
        skip: Number of measurements to let pass.
        sent: Signal to send.
    """

    def hook() -> None:
        from kddim.metrics.estimators import Unbiased

        left, real = skip, Unbiased.__init__

        def measured(self: Any, *args: Any, **options: Any) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                os.kill(os.getpid(), sent)
            real(self, *args, **options)

        Unbiased.__init__ = measured  # type: ignore[method-assign]

    return hook
