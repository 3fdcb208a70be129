"""Failures of the operations on files, for tests of what a killed process leaves."""

import os
import sys
import threading


class Killed(BaseException):
    """The end of a process, after which nothing is written any more."""


class Faults:
    """Failure of an operation on the files of a folder, and of the later ones if it is a kill.

    Python tells an audit hook of each operation before it happens.
    """

    TAKE_ROOM = ("os.mkdir", "os.rename", "os.link")
    CHANGES = (*TAKE_ROOM, "os.remove", "os.rmdir", "shutil.rmtree")

    def __init__(self):
        self.folder, self.left, self.error = None, 0, None
        sys.addaudithook(self.hook)  # stays until the process ends

    def hook(self, event, arguments):
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)  # fmt: skip
        if not (writes or event in (self.TAKE_ROOM if self.error else self.CHANGES)):
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""  # fmt: skip
        if not path.startswith(str(self.folder)) or path.endswith(".lock"):
            return
        self.left -= 1
        if self.left == 0 or (self.left < 0 and self.error is None):
            raise Killed if self.error is None else self.error

    def after(self, count, folder, error=None):
        """Fail at operation `count` on `folder`: die, or raise `error` once."""
        self.folder, self.left, self.error = folder, count, error

    def stop(self):
        self.folder = None
