"""Processes that train one model together, such as one on each host of a cluster.

The variables of the framework describe them, as for any program of that framework: `TF_CONFIG`
with TensorFlow, and with JAX those of `keras.distribution.initialize`. All processes compute the
same, each its part of every training batch. Only the first one writes files.
"""

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_JAX = "KERAS_DISTRIBUTION_"
_joined: list["Place"] = []  # the place of this process, while it trains with others


@dataclasses.dataclass(frozen=True)
class Place:
    """Place of a process among those that train together.

    Attributes:
        index: Number of the process, from 0. The first one writes the files.
        count: Number of processes.
    """

    index: int
    count: int


def described(backend: str) -> Place | None:
    """Return the place that the variables of the environment give this process.

    Args:
        backend: Name of the framework that computes.

    Returns:
        The place, or None if there is one process only, or if the framework is PyTorch.

    Raises:
        ValueError: If the variables cannot be understood.
    """
    if backend == "jax":
        count = _number(f"{_JAX}NUM_PROCESSES", 1)
        index = _number(f"{_JAX}PROCESS_ID", 0)
        return _place(index, count, f"{_JAX}PROCESS_ID")
    if backend != "tensorflow" or not os.environ.get("TF_CONFIG"):
        return None
    text = os.environ["TF_CONFIG"]
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        sizes = {kind: len(addresses) for kind, addresses in cluster.items()}
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"Expected a cluster and a task in TF_CONFIG. Received: {text}") from error
    if set(sizes) - {"chief", "worker"} or (sizes and kind not in sizes):
        raise ValueError(
            "Expected workers, and perhaps a chief, in the cluster of TF_CONFIG, and this process "
            f"among them. Received: {text}"
        )
    before = sizes.get("chief", 0) if kind == "worker" else 0
    return _place(before + index, sum(sizes.values()), "index of TF_CONFIG")


def check_framework(backend: str) -> None:
    """Raise if the environment describes several processes of another framework.

    Each of them would train a model of its own.

    Args:
        backend: Name of the framework that computes.

    Raises:
        ValueError: If the variables describe processes of TensorFlow or JAX, and this framework
            is another one.
    """
    for other, name in (("tensorflow", "TF_CONFIG"), ("jax", f"{_JAX}*")):
        place = None
        with contextlib.suppress(ValueError):  # the other framework would refuse the variables
            place = described(other)
        if place is not None and other != backend:
            raise ValueError(
                f"Expected the backend {other}, because {name} describes {place.count} processes. "
                f"Received: {backend}. Several hosts train with --backend tensorflow (TF_CONFIG) "
                f"or --backend jax ({_JAX}*). Choose one, or unset {name}."
            )


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    if value and not value.isdecimal():
        raise ValueError(f"Expected a number in {name}. Received: {value}")
    return int(value) if value else default


def _place(index: int, count: int, name: str) -> Place | None:
    if not 0 <= index < max(count, 1):
        raise ValueError(f"Expected a {name} below the number of processes, {count}. Received: {index}")  # fmt: skip
    return Place(index, count) if count > 1 else None


@contextlib.contextmanager
def joined(place: Place) -> Iterator[None]:
    """Count as one of several processes in the block."""
    _joined.append(place)
    try:
        yield
    finally:
        _joined.pop()


def count() -> int:
    """Return the number of processes that train together, 1 for a process of its own."""
    return _joined[-1].count if _joined else 1


def index() -> int:
    """Return the number of this process among them, from 0."""
    return _joined[-1].index if _joined else 0


def agree(value: float) -> float:
    """Return the value of the first process in all of them.

    All must call it at the same place of the program. A process of its own gets its own value.
    """
    if count() == 1:
        return value
    from kddim import backend

    return backend.sums_over_hosts([value if index() == 0 else 0.0])[0] / backend.local_devices()


def any_of(flags: list[Any]) -> list[bool]:
    """Return for each flag whether it is true in one of the processes.

    All must call it at the same place of the program.
    """
    if count() == 1:
        return [bool(flag) for flag in flags]
    from kddim import backend

    return [total > 0.0 for total in backend.sums_over_hosts([float(bool(f)) for f in flags])]


@contextlib.contextmanager
def watched(folder: str | os.PathLike) -> Iterator[None]:
    """Say in a clear error that another process ended, and how to go on.

    Args:
        folder: Folder of the run.

    Raises:
        ValueError: If an operation of the block fails because another process ended.
    """
    from kddim import backend

    try:
        yield
    except backend.errors_of_hosts() as error:
        if count() == 1:
            raise
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "abort" in line or "unavailable" in line.lower()), lines[0])  # fmt: skip
        raise ValueError(
            f"Expected all {count()} processes of the training to go on. Received: one that ended "
            f"or cannot be reached ({reason.strip():.200}). Start all of them again with kddim "
            f"train --resume {shlex.quote(os.fspath(folder))} --devices all: they go on from the "
            "newest checkpoint."
        ) from error


@contextlib.contextmanager
def folder_of(folder: str | os.PathLike, files: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the folder that this process writes: the given one, or a temporary one.

    Args:
        folder: Folder of the first process. It must be visible to all of them.
        files: Files and folders within it that the others read, and receive a copy of.

    Raises:
        ValueError: If this process is not the first one, and one of the files is not there.
    """
    if index() == 0:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="kddim-") as scratch:
        target = Path(scratch) / (Path(folder).name or "run")
        for name in files:
            source = Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target / name)
            elif source.is_file():
                target.mkdir(exist_ok=True)
                shutil.copy2(source, target / name)
        yield target
