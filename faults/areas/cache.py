"""A cache that is corrupted, full, read-only or poisoned gives the same scores."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from faults.areas.models import flip
from faults.attack import Attack, wrong_if
from faults.box import Box

STATS = ("stats", "pictures", "--image-size", "8", "--encoder", "random_conv", "-o")


def attacks(random: random.Random) -> Iterator[Attack]:
    for tenth in range(10):
        yield _attack(f"models/cache truncated/{tenth}", _truncate(tenth))
    for number in range(30):
        yield _attack(f"models/cache flips/{number}", _flip)
    for name, change in {
        "empty files": lambda box, path: path.write_bytes(b""),
        "text": lambda box, path: path.write_text("hello"),
        "folder": _folder,
        "link to itself": _link,
        "other features": _other,
        "nan features": _nan,
    }.items():
        yield _attack(f"models/cache {name}", change)
    yield Attack("models/cache is a file", "models", _is_file)
    yield Attack("models/cache full", "models", _full)
    yield Attack("models/cache nowhere", "models", _nowhere)


def _attack(name: str, change: Callable[[Box, Path], object]) -> Attack:
    def act(box: Box) -> None:
        box.use("pictures")
        box.done(*STATS, "first.npz")
        entries = [path for path in box.cache.rglob("*") if path.is_file()]
        wrong_if(not entries, "nothing is cached")
        for path in entries:
            change(box, path)
        box.done(*STATS, "second.npz")
        same(box, "first.npz", "second.npz")

    return Attack(name, "models", act)


def same(box: Box, first: str, second: str) -> None:
    """Raise unless two files of statistics hold the same features."""
    features = [np.load(box.path(name))["features"] for name in (first, second)]
    wrong_if(not np.array_equal(*features), "other features than without the attack")


def _truncate(tenth: int) -> Callable[[Box, Path], None]:
    def change(box: Box, path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * tenth // 10])

    return change


def _flip(box: Box, path: Path) -> None:
    path.write_bytes(flip(path.read_bytes(), box.random))


def _folder(box: Box, path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(box: Box, path: Path) -> None:
    path.unlink()
    os.symlink(path, path)


def _change_features(path: Path, value: float) -> None:
    if path.suffix == ".npz":
        content = dict(np.load(path))
        content["features"] = content["features"] * 0 + np.float32(value)
        np.savez(path, **content)


def _other(box: Box, path: Path) -> None:
    """An entry whose features have fewer rows than it claims."""
    if path.suffix == ".npz":
        content = dict(np.load(path))
        content["features"] = content["features"][:5]
        np.savez(path, **content)


def _nan(box: Box, path: Path) -> None:
    _change_features(path, float("nan"))


def _is_file(box: Box) -> None:
    box.use("pictures")
    box.cache.write_text("hello")
    box.done(*STATS, "first.npz")


def _full(box: Box) -> None:
    box.use("pictures")
    full = box.mount("full", 4096)
    box.done(*STATS, "first.npz", env={"KDDIM_CACHE": str(full)})
    box.done(*STATS, "second.npz")
    same(box, "first.npz", "second.npz")


def _nowhere(box: Box) -> None:
    box.use("pictures")
    box.done(*STATS, "first.npz", env={"KDDIM_CACHE": "/proc/nowhere"})
