"""Several processes at once on one output, one cache, one run."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from faults.areas.arguments import check_run
from faults.areas.cache import STATS, same
from faults.attack import Attack, wrong_if
from faults.base import TRAIN
from faults.box import Box
from faults.compare import differences
from faults.process import Report

GENERATE = ("generate", "run", "-n", 30, "--batch-size", 5, "--diffusion-steps", 5)
SWEEP = ("sweep", "run", "digits", "-n", 8, "--steps", "1,2", "--eta", "0,1", "--encoder", "random_conv")  # fmt: skip


def attacks(random: random.Random) -> Iterator[Attack]:
    for output in ("g", "g.npz"):
        for number in range(4):
            yield Attack(f"load/overwrite {output}/{number}", "load", _overwrite(output, number), "5")  # fmt: skip
            yield Attack(f"load/same {output}/{number}", "load", _same_output(output, number), "5")
    for number in range(3):
        yield Attack(f"load/distinct/{number}", "load", _distinct)
        yield Attack(f"load/cache/{number}", "load", _cache)
        yield Attack(f"load/sweep/{number}", "load", _sweep, "5")
        yield Attack(f"load/train/{number}", "load", _train, "5")
    yield Attack("load/generate from a run that trains", "load", _reader)


def _together(box: Box, commands: list[tuple[Any, ...]]) -> list[Report]:
    processes = [box.start(*command) for command in commands]
    reports = []
    while any(process.poll() is None for process in processes):
        pass_time()
    for process in processes:
        reports.append(process.wait())
        box.judge(reports[-1])
    return reports


def pass_time() -> None:
    """Sleep for a moment."""
    import time

    time.sleep(0.01)


def _overwrite(output: str, number: int) -> Callable[[Box], None]:
    """Other seeds at once: what is there at the end is of one that says so."""

    def act(box: Box) -> None:
        box.use("run")
        expected = {}
        for seed in range(3):
            box.done(*GENERATE, "--seed", seed, "-o", output)
            expected[seed] = box.folder / f"{seed}{output}"
            box.path(output).rename(expected[seed])
        commands = [(*GENERATE, "--seed", s, "-o", output, "--overwrite") for s in expected]
        reports = _together(box, commands)
        done = [seed for seed, report in zip(expected, reports) if report.status == 0]
        wrong_if(not done, "none succeeds: " + reports[0].err[-200:])
        found = [s for s in expected if not differences(expected[s], box.path(output))]
        wrong_if(not found, "the files are of no seed")
        wrong_if(found[0] not in done, f"seeds {done} succeed, the files are of seed {found[0]}")
        box.no_leftovers()

    return act


def _same_output(output: str, number: int) -> Callable[[Box], None]:
    """The same command at once: one succeeds, the others are told."""

    def act(box: Box) -> None:
        box.use("run")
        box.done(*GENERATE, "-o", output)
        expected = box.folder / output
        box.path(output).rename(expected)
        reports = _together(box, [(*GENERATE, "-o", output)] * 4)
        wrong_if(differences(expected, box.path(output)), "another result than of one process")
        done = [report for report in reports if report.status == 0]
        wrong_if(not done, "all fail though the output is complete")
        for report in reports:
            hidden = report.status == 2 and ".unfinished" in report.err
            wrong_if(hidden, f"a message about hidden files: {report.err[-300:]}")
        box.no_leftovers()

    return act


def _distinct(box: Box) -> None:
    box.use("run")
    reports = _together(box, [(*GENERATE, "--seed", s, "-o", f"out/g{s}") for s in range(4)])
    wrong_if(any(report.status for report in reports), "distinct names fail")
    for seed in range(4):
        wrong_if(len(list(box.path(f"out/g{seed}").iterdir())) != 31, "images are missing")
    box.no_leftovers()


def _cache(box: Box) -> None:
    box.use("pictures")
    reports = _together(box, [(*STATS, f"{n}.npz") for n in range(4)])
    wrong_if(any(report.status for report in reports), "a shared cache fails")
    for number in range(1, 4):
        same(box, "0.npz", f"{number}.npz")


def _sweep(box: Box) -> None:
    box.use("run")
    box.done(*SWEEP, "-o", "s")
    box.path("s").rename(box.folder / "s")
    reports = _together(box, [(*SWEEP, "-o", "s")] * 3)
    wrong_if(all(report.status for report in reports), "all fail: " + reports[0].err[-200:])
    box.done(*SWEEP, "-o", "s")
    wrong_if(differences(box.folder / "s", box.path("s")), "another table than of one process")


def _train(box: Box) -> None:
    """Two trainings into one folder: one is refused, the other is whole."""
    commands = [(*TRAIN, "--epochs", 3, "--seed", s, "-o", "new") for s in (0, 1)]
    reports = _together(box, commands)
    done = [seed for seed, report in zip((0, 1), reports) if report.status == 0]
    wrong_if(len(done) != 1, f"{len(done)} of 2 trainings into one folder succeed")
    check_run(box.path("new"))
    box.done(*commands[done[0]][:-1], "alone")
    different = [
        name
        for name in differences(box.path("alone"), box.path("new"))
        if not name.startswith(("checkpoints", "logs"))
    ]
    wrong_if(different, f"the run is mixed with another: {different[:5]}")


def _reader(box: Box) -> None:
    """A model can be read at any time while it is written."""
    box.use("run")
    box.path("run").rename(box.path("new"))
    process = box.start(*TRAIN, "--epochs", 12, "-o", "new", "--overwrite")
    while process.poll() is None:
        report = box.kddim("info", "new", allowed=("new", ".new.lock"))
        if report.status == 2:
            words = ("there is no", "File not found", "No such file")  # it was set aside meanwhile
            absent = any(word in report.err for word in words)
            wrong_if(not absent, f"half a model: {report.err[-300:]}")
    box.judge(process.wait())
