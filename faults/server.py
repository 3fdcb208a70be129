"""Runs attacks in forked processes of one parent that has imported everything."""

import contextlib
import importlib
import json
import os
import pkgutil
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from faults.attack import BROKEN, Attack, Failure
from faults.base import TRAIN, in_fork, prepare
from faults.box import Box

QUIET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ABSL_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "HF_HUB_OFFLINE": "1",
}


def set_environment(backend: str) -> None:
    """Choose the backend and one thread per process, before anything is imported."""
    os.environ.update(QUIET | {"KERAS_BACKEND": backend})


def refuse_connections() -> None:
    """Let no process of this one reach the network, so that results do not depend on it."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise OSError("no network during the attacks")

    socket.socket.connect = socket.getaddrinfo = refuse  # type: ignore[assignment,method-assign]


def import_everything(work: Path) -> None:
    """Import kddim, and all modules that its commands import late.

    A first child trains and generates, and tells which modules it imported. Nothing is
    computed in this process, since threads of a framework would not survive a fork.
    """
    import kddim

    for module in pkgutil.walk_packages(kddim.__path__, "kddim."):
        if not module.name.endswith(("__main__", "tfds")):
            importlib.import_module(module.name)
    names = work / "modules.txt"
    in_fork(lambda: _tell_modules(work / "probe", names))
    shutil.rmtree(work / "probe")
    for name in names.read_text().split():
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _tell_modules(run: Path, names: Path) -> None:
    from kddim import cli

    _call(cli.main, [*TRAIN, "--epochs", "1", "-o", str(run), "--overwrite"])
    _call(cli.main, ["generate", str(run), "-n", "1", "-o", str(run / "new.npz")])
    names.write_text("\n".join(sys.modules))


def _call(main: Any, arguments: list[str]) -> None:
    with contextlib.suppress(SystemExit):
        main(arguments)


class Server:
    """Runs attacks, some at once, and writes one line of a ledger per attack.

    Args:
        work: Folder for prepared files and boxes. It is emptied.
        ledger: File that receives one JSON line per attack.
        seed: Seed of all attacks.
        jobs: Number of attacks at once.
        keep: If true, the boxes stay for a look at them.
    """

    def __init__(self, work: Path, ledger: Path, seed: int, jobs: int, keep: bool = False):
        self.work, self.ledger, self.seed, self.jobs, self.keep = work, ledger, seed, jobs, keep
        self.results: list[dict[str, Any]] = []
        self._running: dict[int, tuple[Attack, float, Path]] = {}
        self._count = 0

    def prepare(self) -> None:
        """Import everything and make the base files."""
        subprocess.run(["rm", "-rf", self.work], check=False)  # an attack makes 1,500 levels
        self.work.mkdir(parents=True)
        refuse_connections()
        import_everything(self.work)
        prepare(self.work / "base")
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:
            print(f"warning: {threads} threads in the parent; forks may hang", file=sys.stderr)

    def run(self, attacks: Iterable[Attack], seconds: float) -> list[dict[str, Any]]:
        """Run attacks until all are done or the time is over, and return their results.

        Args:
            attacks: Attacks in their order.
            seconds: Time after which no attack is started.
        """
        waiting, end = list(attacks), time.monotonic() + seconds
        total = len(waiting)
        try:
            while self._running or (waiting and time.monotonic() < end):
                while waiting and len(self._running) < self.jobs and time.monotonic() < end:
                    self._start(waiting.pop(0))
                self._collect(total)
                time.sleep(0.005)
        finally:
            for pid in self._running:
                _kill_tree(pid)
        if waiting:
            print(f"time is over: {len(waiting)} attacks were not made", file=sys.stderr)
        return self.results

    def _start(self, attack: Attack) -> None:
        self._count += 1
        folder = self.work / f"box{self._count}"
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                result = self._drive(attack, folder)
                folder.with_suffix(".json").write_text(json.dumps(result))
            finally:
                os._exit(0)
        self._running[pid] = (attack, time.monotonic(), folder)

    def _drive(self, attack: Attack, folder: Path) -> dict[str, Any]:
        box = Box(folder, self.work / "base", attack.seed(self.seed))
        outcome, why = "handled", ""
        try:
            attack.act(box)
            if box.reports and box.reports[-1].status == 2:
                outcome = "clean"
        except Failure as failure:
            outcome, why = failure.outcome, failure.why
        except BaseException:
            outcome, why = BROKEN, traceback.format_exc()[-1500:]
        finally:
            box.close(self.keep)
        last = box.reports[-1] if box.reports else None
        return {
            "name": attack.name,
            "area": attack.area,
            "finding": attack.finding,
            "seed": self.seed,
            "outcome": outcome,
            "why": why,
            "times": box.times,
            "commands": [" ".join(report.command)[:400] for report in box.reports],
            "status": last and last.status,
            "seconds": round(sum(report.seconds for report in box.reports), 2),
            "peak": max((report.peak for report in box.reports), default=0),
            "output": (last.text.strip()[:600] if last else ""),
        }

    def _collect(self, total: int) -> None:
        for pid in list(self._running):
            attack, begin, folder = self._running[pid]
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._running[pid]
                self._note(self._read(attack, folder), total)
            elif time.monotonic() - begin > attack.limit:
                _kill_tree(pid)

    def _read(self, attack: Attack, folder: Path) -> dict[str, Any]:
        path = folder.with_suffix(".json")
        if path.exists():
            result = json.loads(path.read_text())
            path.unlink()
            return result
        why = f"no result: killed, or not done within {attack.limit:.0f} s"
        return {
            "name": attack.name,
            "area": attack.area,
            "finding": attack.finding,
            "seed": self.seed,
            "outcome": BROKEN,
            "why": why,
        }

    def _note(self, result: dict[str, Any], total: int) -> None:
        self.results.append(result)
        with self.ledger.open("a") as file:
            file.write(json.dumps(result) + "\n")
        number = len(self.results)
        if result["outcome"] not in ("clean", "handled"):
            why = " ".join(result["why"].split())[:200]
            print(f"{number}/{total} {result['outcome']:>9} {result['name']}: {why}", flush=True)
        elif number % 50 == 0:
            print(f"{number}/{total}", flush=True)


def _kill_tree(pid: int) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.Error):
                each.kill()
