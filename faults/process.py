"""A kddim command in a forked process, with limits of time and memory.

The parent has imported everything and computed nothing, so that a command starts in
milliseconds. Commands whose start itself is attacked run as processes of their own.
"""

import dataclasses
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

MEMORY_LIMIT = 4e9  # bytes of resident memory, above which a command is killed
MEMORY_BUDGET = 3e9  # bytes that the command is told to be free, by KDDIM_MEMORY
_IDLE = 20.0  # seconds without computing, after which a command hangs
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True)
class Report:
    """End of a command.

    Args:
        command: Arguments.
        status: Exit status, or the negative number of the signal that ended it.
        out: Standard output.
        err: Standard error.
        seconds: Duration in seconds.
        peak: Largest resident memory in bytes.
        over: "hang" or "memory" if a limit ended it, else "".
        killed: True if the attack sent a signal.
    """

    command: tuple[str, ...]
    status: int
    out: str
    err: str
    seconds: float
    peak: int
    over: str
    killed: bool

    @property
    def text(self) -> str:
        """Both outputs."""
        return f"{self.out}\n{self.err}"


class Process:
    """A command that runs.

    Args:
        command: Arguments of kddim.
        folder: Working directory.
        log: Path without suffix that receives the two outputs.
        env: Environment variables to set.
        hook: Function that the child calls before the command begins, or None.
        real: If true, start a new Python interpreter instead of a fork.
        cpu: Largest computing time in seconds.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        folder: Path,
        log: Path,
        env: dict[str, str],
        hook: Callable[[], None] | None = None,
        real: bool = False,
        cpu: float = 30.0,
    ):
        self.command, self.log, self.cpu = command, log, cpu
        self.begin = self._worked = time.monotonic()
        self._used, self._over, self._peak, self._killed = 0.0, "", 0, False
        self._end: Report | None = None
        self._limit = MEMORY_LIMIT
        if real:
            self.pid = self._spawn(folder, env)
        else:
            self.pid = self._fork(folder, env, hook)

    def _spawn(self, folder: Path, env: dict[str, str]) -> int:
        with open(f"{self.log}.out", "wb") as out, open(f"{self.log}.err", "wb") as err:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "kddim", *self.command],
                cwd=folder,
                env=os.environ | env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self._popen.pid

    def _fork(self, folder: Path, env: dict[str, str], hook: Callable[[], None] | None) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._become(folder, env)
                status = _main(self.command, hook)
            except BaseException:
                traceback.print_exc()
            finally:
                _leave(status)
        return pid

    def _become(self, folder: Path, env: dict[str, str]) -> None:
        os.setsid()
        os.chdir(folder)
        os.environ.update(env)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        for number, path in enumerate(("/dev/null", f"{self.log}.out", f"{self.log}.err")):
            handle = os.open(path, flags if number else os.O_RDONLY, 0o644)
            os.dup2(handle, number)
            os.close(handle)

    def send(self, number: int) -> None:
        """Send a signal, unless the command has ended."""
        if self.poll() is None:
            self._killed = True
            os.kill(self.pid, number)

    def poll(self) -> Report | None:
        """Return the report if the command has ended, and enforce the limits."""
        if self._end is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._finish(status, usage)
            else:
                self._watch()
        return self._end

    def wait(self) -> Report:
        """Return the report at the end of the command."""
        while (report := self.poll()) is None:
            time.sleep(0.01)
        return report

    def _finish(self, status: int, usage: resource.struct_rusage) -> None:
        seconds = time.monotonic() - self.begin
        self._end_group()
        texts = [
            Path(f"{self.log}.{end}").read_bytes().decode(errors="backslashreplace")
            if Path(f"{self.log}.{end}").exists()
            else ""
            for end in ("out", "err")
        ]
        code = os.waitstatus_to_exitcode(status)
        peak = max(self._peak, usage.ru_maxrss * 1024)
        self._end = Report(self.command, code, *texts, seconds, peak, self._over, self._killed)

    def _end_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def _watch(self) -> None:
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        used = (int(fields[11]) + int(fields[12])) / _TICK
        memory = int(fields[21]) * _PAGE
        self._peak = max(self._peak, memory)
        now = time.monotonic()
        if used > self._used + 0.05:
            self._used, self._worked = used, now
        if memory > self._limit:
            self._stop("memory")
        elif used > self.cpu or now - self._worked > _IDLE or now - self.begin > 5 * self.cpu:
            self._stop("hang")

    def _stop(self, over: str) -> None:
        if not self._over:
            self._over = over
            os.kill(self.pid, signal.SIGKILL)


def _main(command: tuple[str, ...], hook: Callable[[], None] | None) -> int:
    """Run the command line in this process, and return its exit status."""
    from kddim import cli

    try:
        if hook is not None:
            hook()
        cli.main(list(command))
    except SystemExit as stop:
        if isinstance(stop.code, str):
            sys.stderr.write(stop.code)
        return stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
    return 0


def _leave(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    os._exit(status)
