"""The same seed gives the same result: across processes, batch sizes and backends."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from faults.areas.interruptions import VERBS
from faults.attack import Attack, wrong_if
from faults.base import TRAIN
from faults.box import Box
from faults.compare import differences


def attacks(random: random.Random) -> Iterator[Attack]:
    for verb in VERBS:
        for real in (False, True):
            name = f"determinism/{verb}/{'process' if real else 'fork'}"
            yield Attack(name, "determinism", _twice(verb, real))
    for seed in (0, 1, -1, 2**40):
        yield Attack(f"determinism/train/{seed}", "determinism", _train(seed))
    for size in (1, 3, 7):
        yield Attack(f"determinism/batch size {size}", "determinism", _batch_size(size))
    for backend in ("tensorflow", "jax"):
        yield Attack(f"determinism/backend {backend}", "determinism", _backend(backend))
    yield Attack("determinism/seeds differ", "determinism", _seeds_differ)


def _twice(verb: str, real: bool) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        command, output, inputs = VERBS[verb]
        box.use(*inputs)
        box.done(*command)
        box.path(output).rename(box.folder / output)
        box.done(*command, real=real, env={"KDDIM_CACHE": str(box.folder / "other")})
        different = differences(box.folder / output, box.path(output))
        wrong_if(different, f"the same command gives another result: {different[:5]}")

    return act


def _train(seed: int) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        for name in ("first", "second"):
            box.done(*TRAIN, "--epochs", 2, "--flip", "--seed", seed, "-o", name)
        different = differences(box.path("first"), box.path("second"))
        different = [name for name in different if not name.startswith(("checkpoints", "logs"))]
        wrong_if(different, f"two trainings differ: {different[:5]}")

    return act


def _images(box: Box, *options: Any, **more: Any) -> np.ndarray:
    command = ("generate", "run", "-n", 9, "--diffusion-steps", 3, "-o", "new.npz", "--overwrite")
    box.done(*command, *options, **more)
    return np.load(box.path("new.npz"))["images"].astype(int)


def _batch_size(size: int) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        box.use("run")
        difference = np.abs(_images(box) - _images(box, "--batch-size", size)).max()
        wrong_if(difference > 1, f"pixels differ by {difference}")

    return act


def _backend(backend: str) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        box.use("run")
        other = _images(box, "--backend", backend, real=True, cpu=120.0)
        difference = np.abs(_images(box) - other).max()
        wrong_if(difference > 2, f"pixels differ by {difference}")

    return act


def _seeds_differ(box: Box) -> None:
    box.use("run")
    wrong_if(np.array_equal(_images(box), _images(box, "--seed", 1)), "seeds do not matter")
