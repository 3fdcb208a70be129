"""Requests to stop, by Ctrl-C or by the system."""

import signal
import threading
from collections.abc import Callable
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A task that was stopped by a signal, after it saved what it had.

    Args:
        message: What was saved, and how to go on.
        number: Number of the signal, such as `signal.SIGTERM`.
    """

    def __init__(self, message: str, number: int = signal.SIGINT):
        super().__init__(message)
        self.number = int(number)

    @property
    def status(self) -> int:
        """Exit status of a process that the signal stopped: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


class Handlers:
    """Handlers of SIGINT and SIGTERM, as long as a task runs.

    Args:
        handle: Function of the number of a signal. It runs in the main thread, between two
            instructions of Python.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, handle: Callable[[int], None]):
        self.handle = handle
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Install the handlers. Outside of the main thread, Python allows none."""
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                if number not in self._before:
                    self._before[number] = signal.signal(number, lambda n, frame: self.handle(n))

    def remove(self) -> None:
        """Install the handlers of before again."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
