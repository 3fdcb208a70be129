"""kddim: denoising diffusion implicit models in Keras 3."""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

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


def _started_as_command() -> bool:
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    if program == "-m":  # Python is looking for the module of `python -m MODULE`
        options = sys.orig_argv
        return "-m" in options and options[options.index("-m") + 1 :][:1] == ["kddim"]
    return program in ("kddim", "kddim.exe", "kddim-script.py")


# The command line answers `--help` without Keras, and imports what a verb needs when it
# runs. Everyone else gets all names at once, and their classes registered with Keras,
# so that `keras.saving.load_model` knows them.
if not _started_as_command():
    for _name in __all__:
        globals()[_name] = __getattr__(_name)
