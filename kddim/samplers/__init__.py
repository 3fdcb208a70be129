"""Samplers: from noise to images through a denoiser, one algorithm a file."""

from typing import Any

from kddim import registry
from kddim.samplers.base import Rates, Sampler
from kddim.samplers.ddim import DDIM

__all__ = ["DDIM", "NAMES", "Rates", "Sampler", "get"]

NAMES: dict[str, type[Sampler]] = {
    "ddim": DDIM,
}


def get(identifier: Any) -> Sampler:
    """A sampler from its name, its configuration, or itself.

    Raises:
        ValueError: nothing of the kind is known.
    """
    return registry.resolve(identifier, "sampler", Sampler, NAMES)
