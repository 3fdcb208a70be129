"""Signals that end the command line: one line, the exit status of the signal, no traceback.

While a process starts, native libraries and bare `except` clauses swallow the exception that
Python raises for Ctrl-C. Until something is written, a signal therefore ends the process at
once. Afterwards it raises `Interrupted`, so that temporary files are removed. `check` raises it
again if it was swallowed, and a second signal ends the process at once.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(KeyboardInterrupt):
    """Request of a signal to stop.

    Args:
        status: Exit status of the process: 128 plus the number of the signal.
        message: Line for the user.
    """

    def __init__(self, status: int = 130, message: str = "interrupted"):
        super().__init__(message)
        self.status = status


class Handlers:
    """Handlers of SIGINT and SIGTERM for a task that saves what it has before it stops.

    Args:
        handle: Function of the number of a signal. It runs in the main thread, between two
            instructions of Python.
    """

    def __init__(self, handle: Callable[[int], None]):
        self.handle = handle
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Install the handlers. Outside of the main thread, Python allows none."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if number not in self._before:
                    self._before[number] = signal.signal(number, lambda n, frame: self.handle(n))

    def remove(self) -> None:
        """Install the handlers of before again."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)


class _State:
    """Stage of the process: who handles signals, and which one came."""

    process: int | None = None  # id of the process that installed the handlers
    unwinding = False  # whether a signal raises instead of ending the process
    status: int | None = None  # exit status of the signal that came
    stderr: int | None = None  # standard error, even while it is muted


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Let signals end the process, and restore the handlers before at the end.

    A signal that the process ignores, as under `nohup`, stays ignored. Blocks can be nested.
    """
    if _State.process is not None:
        yield
        return
    before, hook = _install(), sys.unraisablehook
    sys.unraisablehook = functools.partial(_show_unraisable, hook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        _restore()


def _show_unraisable(hook: Callable[[Any], Any], unraisable: Any) -> None:
    """Show an error that Python cannot raise, unless it is an interruption.

    A signal may come while Python collects garbage or runs a `__del__`. `check` raises the
    interruption afterwards.
    """
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        hook(unraisable)


def unwind() -> None:
    """Let signals raise `Interrupted` from now on, because there is something to clean up."""
    _State.unwinding = True


def check() -> None:
    """Raise `Interrupted` if a signal came.

    Raises:
        Interrupted: If a signal came and its exception was swallowed.
    """
    if _State.status is not None:
        raise Interrupted(_State.status)


def leave(status: int) -> NoReturn:
    """End the process after an interruption.

    After a signal, the exit skips the shutdown of the frameworks, which can take seconds and
    can change the exit status.

    Args:
        status: Exit status.
    """
    if _State.status is None:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed
            stream.flush()
    os._exit(status)


def _install() -> dict[int, Any]:
    """Install the handlers, and return those before by the numbers of their signals."""
    before: dict[int, Any] = {}
    _State.process, _State.unwinding, _State.status = os.getpid(), False, None
    with contextlib.suppress(OSError):  # closed
        _State.stderr = os.dup(2)
    for name in _NAMES:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            with contextlib.suppress(ValueError):  # only the main thread handles signals
                before[number] = signal.signal(number, _handle)
    return before


def _restore() -> None:
    if _State.stderr is not None:
        os.close(_State.stderr)
    _State.process = _State.stderr = _State.status = None


def _handle(number: int, frame: Any) -> None:
    if os.getpid() != _State.process:  # a worker that inherited the handler
        os._exit(128 + number)
    first = _State.status is None
    _State.status = 128 + number
    if first and _State.unwinding:
        raise Interrupted(_State.status)
    if _State.stderr is not None:
        with contextlib.suppress(OSError):
            os.write(_State.stderr, b"interrupted\n")
    os._exit(_State.status)
