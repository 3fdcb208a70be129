"""All attacks, by area."""

import random

from faults.areas import (
    arguments,
    arrays,
    cache,
    determinism,
    disk,
    images,
    interruptions,
    kills,
    load,
    models,
    numbers,
    references,
    settings,
)
from faults.attack import Attack

_MODULES = (
    arguments,
    settings,
    images,
    arrays,
    models,
    references,
    cache,
    interruptions,
    disk,
    numbers,
    load,
    determinism,
    kills,
)


def all_attacks(seed: int) -> list[Attack]:
    """Return all attacks in random order, so that any beginning of them is a fair sample."""
    found = [attack for module in _MODULES for attack in module.attacks(random.Random(seed))]
    names = [attack.name for attack in found]
    assert len(names) == len(set(names)), sorted(n for n in set(names) if names.count(n) > 1)
    random.Random(seed).shuffle(found)
    # Attacks at known findings first.
    return sorted(found, key=lambda attack: not attack.finding)
