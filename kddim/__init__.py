"""Denoising diffusion implicit models in Keras 3.

The public names are imported when they are first used, or as soon as Keras is imported, so
that `kddim --help` answers without Keras, and that `keras.saving.load_model` knows every class
once both packages are imported, in any order. `kddim/registration.py` says how.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kddim.registration import register_with_keras

__version__ = "0.1.0"

__all__ = [
    "DiffusionModel",
    "callbacks",
    "data",
    "evaluation",
    "experiments",
    "images",
    "latents",
    "metrics",
    "networks",
    "samplers",
    "schedules",
]

if TYPE_CHECKING:
    from kddim import (
        callbacks,
        data,
        evaluation,
        experiments,
        images,
        latents,
        metrics,
        networks,
        samplers,
        schedules,
    )
    from kddim.model import DiffusionModel


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'kddim' has no attribute {name!r}")
    if name == "DiffusionModel":
        return importlib.import_module("kddim.model").DiffusionModel
    return importlib.import_module(f"kddim.{name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


register_with_keras()
