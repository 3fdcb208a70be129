"""A folder in which one attack runs its commands, and the judgement of each."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faults.attack import Failure
from faults.process import MEMORY_BUDGET, Process, Report

_STOPPED = {130, 143, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL}


class Box:
    """Folder of one attack.

    Args:
        folder: Folder of the attack. Commands run in its subfolder `files`.
        base: Folder of prepared models and images, see `faults.base`.
        seed: Seed of everything random in the attack.

    Attributes:
        files: Working directory of the commands.
        reports: Reports of all commands so far.
        random: Generator of random choices.
        times: Number of attacks that this one counts as.
    """

    def __init__(self, folder: Path, base: Path, seed: int):
        self.folder, self.base = folder, base
        self.files, self.cache = folder / "files", folder / "cache"
        self.files.mkdir(parents=True)
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.reports: list[Report] = []
        self.times = 1
        self._count = 0
        self._mounts: list[Path] = []

    def close(self, keep: bool = False) -> None:
        """Unmount file systems, and remove the folder unless `keep` is true."""
        for path in self._mounts:
            subprocess.run(["umount", "-l", path], check=False, capture_output=True)
        if not keep:
            with contextlib.suppress(OSError):
                _make_writable(self.folder)
            # `shutil.rmtree` calls itself for each level, and an attack makes 1,500.
            subprocess.run(["rm", "-rf", self.folder], check=False)

    def use(self, *names: str) -> None:
        """Copy prepared files or folders into the working directory."""
        for name in names:
            source, target = self.base / name, self.files / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, target)

    def path(self, name: str) -> Path:
        """Return a path in the working directory."""
        return self.files / name

    def start(self, *command: Any, env: dict[str, str] | None = None, **options: Any) -> Process:
        """Start a command, see `Process` for the options."""
        self._count += 1
        settings = {"KDDIM_CACHE": str(self.cache), "KDDIM_MEMORY": str(int(MEMORY_BUDGET))}
        words = tuple(str(word) for word in command)
        log = self.folder / f"log{self._count}"
        return Process(words, self.files, log, settings | (env or {}), **options)

    def kddim(self, *command: Any, allowed: tuple[str, ...] = (), **options: Any) -> Report:
        """Run a command to its end and judge it.

        Args:
            *command: Arguments.
            allowed: Beginnings of relative paths that may change even if the command fails.
            **options: Options of `start`.

        Raises:
            Failure: If the command ended in a bad way.
        """
        before = tree(self.files)
        report = self.start(*command, **options).wait()
        self.judge(report)
        after = tree(self.files)
        if report.status == 2:
            changed = [
                path
                for path in sorted(before.keys() | after.keys())
                if before.get(path) != after.get(path) and not path.startswith(allowed or ("\0",))
            ]
            diverged = "diverged" in report.err  # a run that began leaves its folder
            if changed and not diverged:
                raise Failure("lost", f"a refused command changed {changed[:5]}")
        writing = any(name.endswith(".lock") for name in allowed)  # another process has the lock
        if report.status == 0 and not writing:
            self.no_leftovers()
        return report

    def refused(self, *command: Any, says: str = "", **options: Any) -> Report:
        """Run a command that must be refused, with a message that contains `says`."""
        report = self.kddim(*command, **options)
        if report.status != 2:
            raise Failure("wrong", f"exit status {report.status}: {_words(command)}")
        if says.lower() not in report.err.lower():
            raise Failure("wrong", f"the message does not say {says!r}: {report.err[-300:]}")
        return report

    def done(self, *command: Any, **options: Any) -> Report:
        """Run a command that must succeed."""
        report = self.kddim(*command, **options)
        if report.status != 0:
            raise Failure("lost", f"{_words(command)} fails: {report.err[-300:]}")
        return report

    def judge(self, report: Report) -> None:
        """Raise if a command hung, took too much memory, or ended in a bad way."""
        self.reports.append(report)
        if report.over:
            raise Failure(
                report.over,
                f"{_words(report.command)}: {report.seconds:.0f} s, {report.peak / 1e9:.1f} GB",
            )
        if "Traceback (most recent call last)" in report.text:
            raise Failure("traceback", report.err.strip()[-400:])
        ended = {0, 2, *(_STOPPED if report.killed else ())}
        if report.status not in ended:
            raise Failure("traceback", f"exit status {report.status}: {report.err[-300:]}")
        if "\x1b" in report.text:
            raise Failure("wrong", f"an escape code reaches the terminal: {report.text[-200:]!r}")
        if report.status == 2:
            _check_message(report)

    def no_leftovers(self) -> None:
        """Raise if hidden temporary files are in the working directory."""
        left = [path for path in tree(self.files) if leftover(path)]
        if left:
            raise Failure("lost", f"leftovers: {left[:5]}")

    def mount(self, name: str, size: int) -> Path:
        """Mount an empty file system of `size` bytes, and return its folder."""
        folder = self.files / name
        folder.mkdir(exist_ok=True)
        options = f"size={size},mode=777"
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "faults", folder],
            check=True,
            capture_output=True,
        )
        self._mounts.append(folder)
        return folder

    def grow(self, folder: Path, size: int) -> None:
        """Change the size of a file system that `mount` made."""
        command = ["mount", "-o", f"remount,size={size}", folder]
        subprocess.run(command, check=True, capture_output=True)

    def kill_when(
        self, process: Process, number: int, ready: Callable[[], bool], longest: float = 60.0
    ) -> Report:
        """Send a signal as soon as `ready` is true, and return the report."""
        import time

        end = time.monotonic() + longest
        while process.poll() is None and not ready() and time.monotonic() < end:
            time.sleep(0.0005)
        process.send(number)
        return process.wait()


def leftover(path: str) -> bool:
    """Return True if a relative path belongs to a temporary file of kddim."""
    hidden = [part for part in Path(path).parts if part.startswith(".")]
    return any(
        ".partial" in part or part.endswith(".unfinished") or part.count(".") >= 2
        for part in hidden
    )


def tree(folder: Path) -> dict[str, str]:
    """Return the content of all files below a folder, as hashes by relative path."""
    with _deep():
        return dict(_walk(folder))


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    for parent, folders, files in os.walk(os.fsencode(folder)):
        for name in folders + files:
            path = os.path.join(parent, name)
            relative = os.fsdecode(os.path.relpath(path, os.fsencode(folder)))
            if os.path.islink(path):
                yield relative, "link"
            elif os.path.isfile(path):
                size = os.path.getsize(path)
                yield relative, _hash(path) if size < 5e7 else str(size)
            else:
                yield relative, "folder or other"


def _hash(path: bytes) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        return type(error).__name__


def _make_writable(folder: Path) -> None:
    with _deep():
        for parent, folders, _ in os.walk(folder):
            for name in folders:
                with contextlib.suppress(OSError):
                    os.chmod(os.path.join(parent, name), 0o755)


@contextlib.contextmanager
def _deep() -> Iterator[None]:
    """Let `os.walk`, which calls itself for each level, go 1,500 levels deep."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _check_message(report: Report) -> None:
    lines = report.err.strip().splitlines()
    errors = [line for line in lines if line.startswith("kddim: error: ")]
    # Without arguments a verb prints its help.
    if len(errors) != 1 or lines[-1] != errors[0]:
        if not lines or "Usage:" not in report.text:
            raise Failure("wrong", f"not one line of error: {report.err[-400:]}")
    elif len(errors[0]) < 24 or errors[0].endswith((": ", "Received:")):
        raise Failure("wrong", f"an error without words: {errors[0]}")


def _words(command: Any) -> str:
    text = " ".join(map(str, command))
    return text if len(text) < 200 else f"{text[:200]}..."
