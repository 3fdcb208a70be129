"""A training that is killed and resumed until it ends as if it had never been stopped.

`python -m faults.kills --backend jax --kills 30` kills trainings at random moments and in the
middle of their writes. Each is resumed, killed again, and at last compared with a run that was
never stopped: weights, averaged weights, history, KID, samples.
"""

import argparse
import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from faults.compare import differences, kid_history, loads
from faults.hooks import kill_in_kid, kill_in_write
from faults.process import Process, Report

TRAIN = (
    "train", "digits", "--limit", "200", "--widths", "8,16", "--block-depth", "1", "--batch-size",
    "16", "--epochs", "6", "--every", "1", "--kid-encoder", "random_conv", "--kid-images", "32",
    "--kid-steps", "2", "--checkpoint-steps", "3",
)  # fmt: skip
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Moments to kill at: half of them random in time, the others in the middle of a write.
WRITES = {
    "checkpoint": "*/checkpoints/*",
    "history": "*history*.csv",
    "model": "*.model*.keras",
    "samples": "*/samples/*",
    "state": "*state*.json",
}
MOMENTS = ("random",) * 5 + ("checkpoint",) * 2 + ("history", "model", "samples", "state", "kid")
PER_STORY = 5
DETERMINISTIC = {"TF_DETERMINISTIC_OPS": "1", "TF_NUM_INTRAOP_THREADS": "1"}


@dataclasses.dataclass
class Story:
    """One training: its kills, and why it is not as an uninterrupted one."""

    number: int
    kills: list[str] = dataclasses.field(default_factory=list)
    why: str = ""


class Killer:
    """Kills trainings of one backend.

    Args:
        work: Folder for the runs.
        seed: Seed of all moments.
    """

    def __init__(self, work: Path, seed: int):
        self.work, self.random, self._count = work, random.Random(seed), 0
        self.whole = work / "whole"
        self.seconds = 0.0

    def uninterrupted(self) -> None:
        """Train without a kill, twice: the second time tells the time without compilation."""
        for name in ("first", "whole"):
            report = self.start((*TRAIN, "-o", name)).wait()
            if report.status:
                raise RuntimeError(f"the uninterrupted run fails: {report.err[-1000:]}")
            self.seconds = report.seconds
        if found := self._compare("first"):
            raise RuntimeError(f"two uninterrupted runs differ: {found}")

    def start(self, command: tuple[str, ...], hook: Callable[[], None] | None = None) -> Process:
        """Start a command in a fork of this process."""
        self._count += 1
        log = self.work / f"log{self._count % 10}"
        cache = {"KDDIM_CACHE": str(self.work / "cache")}
        return Process(command, self.work, log, cache, hook, cpu=240.0)

    def story(self, number: int, kills: int) -> Story:
        """Kill one training some times, resume it to its end, and compare it."""
        story, run = Story(number), f"run{number}"
        command: tuple[str, ...] | None = (*TRAIN, "-o", run)
        while command and len(story.kills) < kills and not story.why:
            start = time.time()
            report, moment = self._kill(command)
            state = self.work / run / "state.json"
            # Before training begins there is nothing to save, and the same command goes on.
            trained = state.is_file() and state.stat().st_mtime > start
            story.why = self._judge(report, moment, trained)
            if report.status == 0:
                command = None  # it ended before the moment came
            else:
                story.kills.append(f"{moment}: status {report.status} after {report.seconds:.1f} s")
                command = self._next(run)
        if not story.why:
            story.why = self._finish(command, run)
        if not story.why:
            shutil.rmtree(self.work / run)
        return story

    def _kill(self, command: tuple[str, ...]) -> tuple[Report, str]:
        moment, sent = self.random.choice(MOMENTS), self.random.choice(SIGNALS)
        hook = self._hook(moment, sent)
        process = self.start(command, hook)
        process._killed = True
        if hook is None:
            end = time.monotonic() + self.random.random() * 1.1 * self.seconds
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.002)
            process.send(sent)
        return process.wait(), f"{moment} {signal.Signals(sent).name}"

    def _hook(self, moment: str, sent: int) -> Callable[[], None] | None:
        if moment == "kid":
            return kill_in_kid(self.random.randrange(3), sent)
        if moment in WRITES:
            # Small files never reach many bytes: their first flush counts.
            after = 1 if moment in ("history", "state") else int(10 ** self.random.uniform(0, 5))
            return kill_in_write(WRITES[moment], self.random.randrange(3), after, sent)
        return None

    def _judge(self, report: Report, moment: str, trained: bool) -> str:
        if report.over:
            return f"{moment}: {report.over}"
        if "Traceback" in report.text:
            return f"{moment}: {report.err[-600:]}"
        if report.status == 2:
            return f"{moment}: refused: {report.err[-400:]}"
        if trained and report.status > 0 and "resume" not in report.err:
            return f"{moment}: status {report.status} without the way on: {report.err[-300:]!r}"
        if report.status not in (0, 130, 143, -9, -2, -15):
            return f"{moment}: status {report.status}: {report.err[-300:]}"
        return ""

    def _next(self, run: str) -> tuple[str, ...]:
        """Return the command that goes on, or begins again if nothing was kept yet."""
        kept = list((self.work / run / "checkpoints").glob("[!.]*"))
        again = (*TRAIN, "-o", run, "--overwrite")
        return ("train", "--resume", run) if kept else again

    def _finish(self, command: tuple[str, ...] | None, run: str) -> str:
        if command:
            report = self.start(command).wait()
            if report.status != 0 and "finished" not in report.err:
                return f"does not end: status {report.status}: {report.err[-600:]}"
        return self._compare(run)

    def _compare(self, run: str) -> str:
        path = self.work / run
        names = [n for n in differences(self.whole, path) if not n.startswith(("checkpoints", "logs"))]  # fmt: skip
        if names:
            return f"differs from the uninterrupted run in {names[:6]}"
        if kid_history(self.whole) != kid_history(path):
            return "another KID or best epoch in config.json"
        if not loads(path / "model.keras"):
            return "model.keras cannot be loaded"
        return self._compare_checkpoints(path)

    def _compare_checkpoints(self, path: Path) -> str:
        """Compare the final weights, which model.keras need not hold: it is the best epoch's."""
        last = [newest(each / "checkpoints") for each in (self.whole, path)]
        if None in last:
            return "" if last == [None, None] else "only one of the runs has checkpoints"
        first, second = (_numbers(each) for each in last)
        different = [
            k for k in first.keys() | second.keys() if not np.array_equal(first.get(k), second.get(k), equal_nan=True)
        ]  # fmt: skip
        return f"the last checkpoint differs in {sorted(different)[:6]}" if different else ""


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint in a folder, or None."""
    found = sorted(folder.glob("[!.]*.npz"), key=lambda path: path.name)
    return found[-1] if found else None


def _numbers(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint, without texts (which hold times)."""
    with np.load(path) as content:
        arrays = {name: content[name] for name in content.files}
    return {name: a for name, a in arrays.items() if a.dtype.kind in "fiub" and a.dtype != np.uint8}


def main(arguments: list[str] | None = None) -> int:
    """Kill trainings, write what happened as JSON, and return 0 if all ended well."""
    parser = argparse.ArgumentParser(prog="python -m faults.kills", description=__doc__)
    parser.add_argument("--backend", default="torch", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--kills", type=int, default=40, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--work", type=Path, default=Path("build/kills"), help="folder for runs")
    parser.add_argument("--output", "-o", type=Path, default=Path("build/kills.json"))
    options = parser.parse_args(arguments)
    killer = _prepared(options)
    stories, count = [], 0
    while count < options.kills and len(stories) < options.kills:
        story = killer.story(len(stories), min(PER_STORY, options.kills - count))
        stories.append(story)
        count += len(story.kills)
        print(f"{count}/{options.kills} kills, run {story.number}: {story.why or 'as uninterrupted'}", flush=True)  # fmt: skip
    bad = [story for story in stories if story.why]
    content: dict[str, Any] = {"backend": options.backend, "kills": count, "bad": len(bad)}
    content["stories"] = [dataclasses.asdict(story) for story in stories]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2))
    return int(bool(bad))


def _prepared(options: argparse.Namespace) -> Killer:
    from faults.server import import_everything, set_environment

    set_environment(options.backend)
    work = options.work.absolute()
    os.environ.update(DETERMINISTIC | {"JAX_COMPILATION_CACHE_DIR": str(work / "jax")})
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    import_everything(work)
    killer = Killer(work, options.seed)
    killer.uninterrupted()
    return killer


if __name__ == "__main__":
    sys.exit(main())
