"""An attack: a name, an area, and a function that attacks in a box."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

# Good outcomes: refused in one line with exit status 2; done, skipped or recovered, and right.
GOOD = ("clean", "handled")
# "memory": above the limit of resident memory. "wrong": success although the result is not what
# was asked, or a message that is not so. "lost": old results destroyed, or leftovers that stay
# or block the same command.
BAD = ("traceback", "hang", "memory", "wrong", "lost")
OUTCOMES = GOOD + BAD
# The attack itself failed, which says nothing about kddim.
BROKEN = "broken"

AREAS = (
    "arguments",
    "settings",
    "images",
    "models",
    "interruptions",
    "disk full",
    "numbers",
    "load",
    "determinism",
    "kills",
)


@dataclasses.dataclass(frozen=True)
class Attack:
    """One attack.

    Args:
        name: Unique name, which replays the attack.
        area: One of `AREAS`.
        act: Function of a `Box`. It raises `Failure`, or returns if kddim behaved well.
        finding: Number of the finding in docs/reliability.md that the attack belongs to, or "".
        limit: Largest time of the whole attack in seconds.
    """

    name: str
    area: str
    act: Callable[[Any], None]
    finding: str = ""
    limit: float = 400.0

    def seed(self, seed: int) -> int:
        """Return the seed of this attack in a run with another seed."""
        return zlib.crc32(f"{seed} {self.name}".encode())


class Failure(Exception):
    """An outcome in `BAD`, and the reason."""

    def __init__(self, outcome: str, why: str):
        assert outcome in BAD, outcome
        super().__init__(f"{outcome}: {why}")
        self.outcome = outcome
        self.why = why


def wrong_if(condition: Any, why: str) -> None:
    """Fail as "wrong" if a condition holds."""
    if condition:
        raise Failure("wrong", why)


def lost_if(condition: Any, why: str) -> None:
    """Fail as "lost" if a condition holds."""
    if condition:
        raise Failure("lost", why)
