"""Kills and Ctrl-C at random times and at every change of the disk; the rerun must end right."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.areas.arguments import check_run
from faults.attack import Attack, lost_if, wrong_if
from faults.base import TRAIN
from faults.box import Box, leftover, tree
from faults.compare import differences, loads
from faults.hooks import kill_at
from faults.process import Report

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RANDOM = ("--encoder", "random_conv")
# Verbs with an output to complete: command, output, and inputs.
VERBS: dict[str, tuple[tuple[Any, ...], str, tuple[str, ...]]] = {
    "generate folder": (("generate", "run", "-n", 40, "--batch-size", 4, "--diffusion-steps", 5, "-o", "g"), "g", ("run",)),
    "generate npz": (("generate", "run", "-n", 40, "--batch-size", 4, "--diffusion-steps", 5, "-o", "g.npz"), "g.npz", ("run",)),
    "sweep": (("sweep", "run", "digits", "-n", 8, "--steps", "1,2,3", "--eta", "0,1", *RANDOM, "-o", "s"), "s", ("run",)),
    "consistency": (("consistency", "run", "--steps", "1,2,3", "-n", 3, "-o", "c"), "c", ("run",)),
    "reconstruct": (("reconstruct", "run", "digits", "--steps", "1,2", "-n", 4, "-o", "r"), "r", ("run",)),
    "stats": (("stats", "pictures", *RANDOM, "-o", "new.npz"), "new.npz", ("pictures",)),
}  # fmt: skip
LONG = (*TRAIN, "--epochs", "6", "-o", "new")


def attacks(random: random.Random) -> Iterator[Attack]:
    for verb in VERBS:
        for number in range(6):
            finding = {"generate folder": "6", "sweep": "7"}.get(verb, "")
            yield Attack(f"interruptions/{verb}/{number}", "interruptions", _random_kill(verb), finding)  # fmt: skip
    for verb, points in {"generate folder": 12, "sweep": 12, "stats": 4}.items():
        for part in range(points):
            share = part / points
            finding = {"generate folder": "6", "sweep": "7"}.get(verb, "")
            yield Attack(f"interruptions/{verb} at a change/{part}", "interruptions", _kill_at(verb, share), finding)  # fmt: skip
    for part in range(14):
        name = f"interruptions/generate --overwrite at a change/{part}"
        yield Attack(name, "interruptions", _overwrite_folder(part / 14), "6")
    for number in range(15):
        yield Attack(f"interruptions/train/{number}", "interruptions", _train(number), "2")
    for part in range(15):
        yield Attack(f"interruptions/train at a change/{part}", "interruptions", _train_at(part / 15), "2")  # fmt: skip
    for part in range(12):
        name = f"interruptions/train --overwrite at a change/{part}"
        yield Attack(name, "interruptions", _overwrite_run(part), "3")
    for verb in ("sweep", "generate folder", "stats"):
        for change in range(8):
            name = f"interruptions/{verb} at an early change/{change}"
            finding = {"generate folder": "6", "sweep": "7"}.get(verb, "")
            yield Attack(name, "interruptions", _kill_at(verb, change=change), finding)
    for number in range(14):
        name = f"interruptions/start SIGINT/{number}"
        act = _start((number + random.random()) / 2, signal.SIGINT)
        yield Attack(name, "interruptions", act, "8")
    for number in range(24):
        name = f"interruptions/start SIGINT at an import/{number}"
        act = _at_import(int(2400 * (number + random.random()) / 24))
        yield Attack(name, "interruptions", act, "8")
    for number in range(4):
        name = f"interruptions/start SIGTERM/{number}"
        yield Attack(name, "interruptions", _start(7 * random.random(), signal.SIGTERM))


def check_stopped(report: Report, sent: int) -> None:
    """Raise unless an interrupted command says so, or ended by itself.

    Only training catches SIGTERM, which ends other commands in silence.
    """
    silent = sent == signal.SIGTERM and report.command[0] != "train"
    if report.status in (0, 2) or sent == signal.SIGKILL or silent:
        return
    said = report.err.strip().splitlines()
    wrong_if(not said, f"ends with status {report.status} without a word")


def _random_kill(verb: str) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        command, output, inputs = VERBS[verb]
        box.use(*inputs)
        whole = box.done(*command)
        _aside(box, output)
        process = box.start(*command)
        time.sleep(box.random.random() * whole.seconds)
        sent = box.random.choice(SIGNALS)
        process.send(sent)
        report = process.wait()
        box.judge(report)
        check_stopped(report, sent)
        if report.status == 0 and verb != "sweep":
            return  # it was faster
        _rerun(box, command, output)

    return act


def _kill_at(verb: str, share: float = 0.0, change: int = 0) -> Callable[[Box], None]:
    """Kill before a change of the disk, in a share of all of them or with a number."""

    def act(box: Box) -> None:
        command, output, inputs = VERBS[verb]
        box.use(*inputs)
        box.done(*command, hook=kill_at(-1, box.folder / "changes"))
        changes = len((box.folder / "changes").read_text().splitlines())
        _aside(box, output)
        number = change + int(share * changes)
        process = box.start(*command, hook=kill_at(number, box.folder / "killed"))
        process._killed = True  # by itself
        box.judge(process.wait())
        _rerun(box, command, output)

    return act


def _aside(box: Box, output: str) -> None:
    """Keep the uninterrupted result outside of the working directory."""
    box.path(output).rename(box.folder / output)


def _rerun(box: Box, command: tuple[Any, ...], output: str) -> None:
    """The same command again ends, with the uninterrupted result and nothing beside it."""
    complete = box.path(output).exists() and not differences(box.folder / output, box.path(output))
    if complete and command[0] not in ("sweep", "consistency", "reconstruct"):
        command = (*command, "--overwrite")
    box.done(*command)
    different = differences(box.folder / output, box.path(output))
    wrong_if(different, f"another result after the rerun: {different[:5]}")
    box.no_leftovers()


def _overwrite_folder(share: float) -> Callable[[Box], None]:
    """`generate --overwrite` over another set leaves the old set or the new one."""

    def act(box: Box) -> None:
        box.use("run")
        small = ("generate", "run", "-n", 12, "--diffusion-steps", 2, "-o", "g")
        box.done(*small, "--seed", 1, hook=kill_at(-1, box.folder / "changes"))
        _aside(box, "g")
        box.done(*small, "--seed", 0)
        before = tree(box.path("g"))
        command = (*small, "--seed", 1, "--overwrite")
        changes = len((box.folder / "changes").read_text().splitlines())
        # Twice, for the removals of the old files.
        hook = kill_at(int(share * (changes + 14)), box.folder / "killed")
        process = box.start(*command, hook=hook)
        process._killed = True
        box.judge(process.wait())
        old = tree(box.path("g")) == before
        new = not differences(box.folder / "g", box.path("g"))
        lost_if(not old and not new, f"neither set is whole: {sorted(tree(box.path('g')))[:4]}")
        box.done(*command)
        wrong_if(differences(box.folder / "g", box.path("g")), "another result after the rerun")
        box.no_leftovers()

    return act


def resume_command(run: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that goes on with a killed training."""
    from kddim.cli import app

    if "resume" in {parameter.name for parameter in app.commands["train"].params}:
        return ("train", "--resume", run)
    return command


def go_on(box: Box, command: tuple[str, ...], run: str = "new") -> None:
    """Resume a killed training, and raise unless it ends with a whole run.

    A training that was killed before its first checkpoint begins again, which the refusal
    of `--resume` must say.
    """
    begun = box.path(run).is_dir() and any(box.path(run).glob("checkpoints/*"))
    if begun or resume_command(run, command) == command:
        box.done(*resume_command(run, command))
    else:
        report = box.kddim(*resume_command(run, command), allowed=(run,))
        if report.status:
            wrong_if(run not in report.err, f"the refusal names no run: {report.err[-200:]}")
            box.done(*command, "--overwrite")
    check_run(box.path(run))
    box.no_leftovers()


def _train(number: int) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        sent = SIGNALS[number % 3]
        process = box.start(*LONG)
        time.sleep(box.random.random() * 1.2)
        process.send(sent)
        report = process.wait()
        box.judge(report)
        if report.status == 0:
            return
        check_stopped(report, sent)
        rows = _epochs(box.path("new"))
        if sent != signal.SIGKILL and rows:
            told = "resume" in report.err or "run it again" in report.err
            wrong_if(not told, f"does not tell how to go on: {report.err[-200:]!r}")
        go_on(box, LONG)
        lost_if(_epochs(box.path("new")) < 6, "fewer epochs than asked")

    return act


def _epochs(run: Path) -> int:
    path = run / "history.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def _train_at(share: float) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        box.done(*LONG, hook=kill_at(-1, box.folder / "changes"))
        changes = len((box.folder / "changes").read_text().splitlines())
        box.path("new").rename(box.folder / "new")
        process = box.start(*LONG, hook=kill_at(int(share * changes), box.folder / "killed"))
        process._killed = True
        report = process.wait()
        box.judge(report)
        go_on(box, LONG)
        different = differences(box.folder / "new", box.path("new"))
        different = [name for name in different if not name.startswith("checkpoints")]
        wrong_if(different, f"another result than uninterrupted: {different[:5]}")

    return act


def _overwrite_run(number: int) -> Callable[[Box], None]:
    """`train --overwrite` keeps the old model until there is a new one."""

    def act(box: Box) -> None:
        box.use("run")
        box.path("run").rename(box.path("new"))
        command = (*LONG, "--overwrite")
        process = box.start(*command, hook=kill_at(number, box.folder / "killed"))
        process._killed = True
        box.judge(process.wait())
        models = [p for p in box.files.rglob("*.keras") if not leftover(p.name) and loads(p)]
        kept = any(not leftover(p.name) for p in box.files.rglob("checkpoints/*"))
        lost_if(not models and not kept, "the old model is gone and no new one is there")
        box.done(*command)
        check_run(box.path("new"))
        box.no_leftovers()

    return act


def _start(delay: float, sent: int) -> Callable[[Box], None]:
    """A signal while a new interpreter starts ends the command."""

    def act(box: Box) -> None:
        box.use("run")
        command = ("generate", "run", "-n", 4000, "--diffusion-steps", 200, "-o", "g.npz")
        # TensorFlow takes longest to start.
        process = box.start(*command, real=True, env={"KERAS_BACKEND": "tensorflow"})
        time.sleep(delay)
        process.send(sent)
        end = time.monotonic() + 20.0
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if process.poll() is None:
            process.send(signal.SIGKILL)
            process.wait()
            wrong_if(True, f"signal {sent} after {delay} s is swallowed")
        report = process.wait()
        # Before Python's own handlers are there, the interpreter prints what it likes.
        wrong_if(report.status == 0, f"signal {sent} after {delay} s is swallowed")
        if delay > 0.4:
            box.judge(report)

    return act


# Sends SIGINT to its own process at the n-th import.
_SITE = """
import os, signal, sys

class Finder:
    left = int(os.environ["FAULTS_IMPORTS"])
    def find_spec(self, name, path=None, target=None):
        Finder.left -= 1
        if Finder.left == -1:
            open(os.environ["FAULTS_SENT"], "w").close()
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""


def _at_import(number: int) -> Callable[[Box], None]:
    """Send Ctrl-C at the n-th import, which some import statements swallow."""

    def act(box: Box) -> None:
        box.use("run")
        site, sent = box.folder / "site", box.folder / "sent"
        site.mkdir()
        (site / "sitecustomize.py").write_text(_SITE)
        places = os.pathsep.join([str(site), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        env = {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": places, "FAULTS_SENT": str(sent)}
        command = ("generate", "run", "-n", 4000, "--diffusion-steps", 200, "-o", "g.npz")
        process = box.start(*command, real=True, env=env | {"FAULTS_IMPORTS": str(number)})
        process._killed = True
        end = time.monotonic() + 60.0
        while process.poll() is None and time.monotonic() < end and "parts" not in _said(box):
            time.sleep(0.05)
        swallowed = process.poll() is None and sent.exists()
        process.send(signal.SIGKILL)
        report = process.wait()
        wrong_if(swallowed, f"Ctrl-C at import {number} is swallowed")
        if sent.exists() and number > 200:
            box.judge(report)

    return act


def _said(box: Box) -> str:
    path = box.folder / "log1.err"
    return path.read_text() if path.exists() else ""
