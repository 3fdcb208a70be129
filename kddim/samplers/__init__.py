"""Samplers: from noise to images through a denoiser, one algorithm a file."""

from typing import Any

from kddim import registry
from kddim.samplers.adams_bashforth import AdamsBashforth
from kddim.samplers.base import Rates, Sampler
from kddim.samplers.ddim import DDIM
from kddim.samplers.ddpm import DDPM
from kddim.samplers.dpm_solver import DPMSolverPP
from kddim.samplers.heun import Heun
from kddim.samplers.inverse import DDIMInverse, inverse_of

__all__ = [
    "DDIM",
    "DDPM",
    "NAMES",
    "AdamsBashforth",
    "DDIMInverse",
    "DPMSolverPP",
    "Heun",
    "Rates",
    "Sampler",
    "get",
    "inverse_of",
]

NAMES: dict[str, type[Sampler]] = {
    "ddim": DDIM,
    "ddpm": DDPM,
    "heun": Heun,
    "dpm_solver_pp": DPMSolverPP,
    "adams_bashforth": AdamsBashforth,
}


def get(identifier: Any) -> Sampler:
    """A sampler from its name, its configuration, or itself.

    Raises:
        ValueError: nothing of the kind is known.
    """
    return registry.resolve(identifier, "sampler", Sampler, NAMES)
