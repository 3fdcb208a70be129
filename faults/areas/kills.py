"""Trainings that are killed and resumed many times, on every backend: `faults.kills`."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator

from faults.attack import Attack, wrong_if
from faults.box import Box

KILLS = {"torch": 40, "jax": 30, "tensorflow": 30}


def attacks(random: random.Random) -> Iterator[Attack]:
    from kddim.cli import app

    if "resume" in {parameter.name for parameter in app.commands["train"].params}:
        for backend, kills in KILLS.items():
            yield Attack(f"kills/{backend}", "kills", _kill(backend, kills), "2", 2400.0)


def _kill(backend: str, kills: int) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        result = box.folder / "kills.json"
        command = [sys.executable, "-m", "faults.kills", "--backend", backend, "--kills", str(kills)]  # fmt: skip
        command += ["--seed", str(box.random.randrange(10**6)), "--work", str(box.folder / "work")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [*command, "--output", str(result)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        wrong_if(not result.exists(), f"no result: {done.stderr[-600:]}")
        found = json.loads(result.read_text())
        box.times = found["kills"]
        bad = [story for story in found["stories"] if story["why"]]
        wrong_if(bad, f"{len(bad)} of {len(found['stories'])} runs: {bad[:1]}")

    return act
