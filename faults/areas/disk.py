"""A disk that fills at any part of an output."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.areas.arguments import check_run
from faults.areas.interruptions import go_on
from faults.attack import Attack, lost_if, wrong_if
from faults.base import TRAIN
from faults.box import Box, tree
from faults.compare import differences, loads
from faults.hooks import full_after

RANDOM = ("--encoder", "random_conv")
VERBS: dict[str, tuple[tuple[Any, ...], str]] = {
    "generate npz": (("generate", "run", "-n", 400, "--diffusion-steps", 1), "g.npz"),
    "generate folder": (("generate", "run", "-n", 60, "--diffusion-steps", 1), "g"),
    "sweep": (("sweep", "run", "digits", "-n", 8, "--steps", "1,2", "--eta", "0", *RANDOM), "s"),
    "stats": (("stats", "pictures", *RANDOM), "new.npz"),
    "interpolate": (("interpolate", "run", "--num-pairs", 1, "-n", 3, "--grid-size", 2, "--diffusion-steps", 1), "i"),
}  # fmt: skip
LONG = (*TRAIN, "--epochs", "2", "-o", "full/new")
LARGER = (*LONG, "--widths", "16,32")


def attacks(random: random.Random) -> Iterator[Attack]:
    for verb in VERBS:
        for part in range(8):
            name = f"disk full/{verb}/{part}"
            yield Attack(name, "disk full", _verb(verb, (part + 0.5) / 8), "12")
    for part in range(12):
        yield Attack(f"disk full/train/{part}", "disk full", _train((part + 0.5) / 12), "12")
        name = f"disk full/train --overwrite/{part}"
        yield Attack(name, "disk full", _overwrite((part + 0.5) / 12), "3")
    for part in range(24):
        name = f"disk full/train writer/{part}"
        yield Attack(name, "disk full", _writer((part + 0.5) / 24), "12")


def _verb(verb: str, share: float) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        command, output = VERBS[verb]
        box.use("run", "pictures")
        box.done(*command, "-o", output)
        size = _size(box.path(output))
        full = box.mount("full", max(4096, int(share * size) // 4096 * 4096))
        target = (*command, "-o", f"full/{output}")
        report = box.kddim(*target, allowed=("full",))
        if report.status == 0:
            _same(box, output)
            return
        lost_if((full / output).is_file(), "a half-written output under its own name")
        box.grow(full, 64_000_000)
        box.done(*target)
        _same(box, output)
        box.no_leftovers()
        check_told(report.err)

    return act


def check_told(message: str) -> None:
    """Raise unless a message tells that the disk is full, and where."""
    wrong_if("space" not in message.lower(), f"does not tell that the disk is full: {message[-300:]}")  # fmt: skip
    wrong_if("full" not in message.replace("is full", "").replace("disk full", ""), f"does not name the path: {message[-300:]}")  # fmt: skip


def _size(path: Path) -> int:
    """Return the size of a file or a folder on a file system of blocks of 4 kB."""
    files = [path] if path.is_file() else [*path.rglob("*")]
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in files)


def _same(box: Box, output: str) -> None:
    different = differences(box.path(output), box.path("full") / output)
    wrong_if(different, f"another result than on a larger disk: {different[:5]}")


def _measured(box: Box, command: tuple[str, ...] = LONG) -> int:
    full = box.mount("full", 64_000_000)
    box.done(*command)
    size = _size(full / "new")
    shutil.rmtree(full / "new")
    return size


def _train(share: float) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        size = _measured(box)
        box.grow(box.path("full"), int(share * size) // 4096 * 4096 + 4096)
        report = box.kddim(*LONG, allowed=("full",))
        if report.status == 0:
            check_run(box.path("full/new"))
            return
        _check_whole(box.path("full/new"))
        box.grow(box.path("full"), 64_000_000)
        go_on(box, LONG, "full/new")
        check_told(report.err)

    return act


def _check_whole(run: Path) -> None:
    """All models and checkpoints with their final names can be read."""
    for path in run.rglob("*.keras"):
        lost_if(not path.name.startswith(".") and not loads(path), f"{path.name} is half-written")


def _overwrite(share: float) -> Callable[[Box], None]:
    """A full disk does not cost the old model."""

    def act(box: Box) -> None:
        size = _measured(box, LARGER)
        box.use("run")
        full = box.path("full")
        shutil.copytree(box.path("run"), full / "new")
        held = _size(full / "new")
        box.grow(full, held + int(share * max(size - held, 0)) // 4096 * 4096)
        before = tree(full / "new")
        report = box.kddim(*LARGER, "--overwrite", allowed=("full",))
        if report.status == 0:
            check_run(full / "new")
            return
        kept = [p for p in full.rglob("*.keras") if not p.name.startswith(".") and loads(p)]
        lost_if(not kept, f"no model is left of {len(before)} files")
        box.grow(full, 64_000_000)
        box.done(*LARGER, "--overwrite")
        check_run(full / "new")
        check_told(report.err)

    return act


def _writer(share: float) -> Callable[[Box], None]:
    """The same without a file system of its own: a writer that raises at the n-th byte."""

    def act(box: Box) -> None:
        box.path("full").mkdir()
        box.done(*LONG)
        size = sum(p.stat().st_size for p in box.path("full").rglob("*") if p.is_file())
        shutil.rmtree(box.path("full/new"))
        hook = full_after(int(share * size), box.path("full"))
        report = box.kddim(*LONG, allowed=("full",), hook=hook)
        if report.status == 0:
            check_run(box.path("full/new"))
            return
        _check_whole(box.path("full/new"))
        go_on(box, LONG, "full/new")
        check_told(report.err)

    return act
