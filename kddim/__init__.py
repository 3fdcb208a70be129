"""Denoising diffusion implicit models in Keras 3.

`import kddim` does not start Keras. The public names are imported when they are first used or
when Keras is imported, whichever comes first. `keras.saving.load_model` therefore knows every
class after `import kddim`. `kddim/registration.py` explains how.

If it is imported before TensorFlow, `import kddim` turns on TensorFlow's oneDNN kernels on x86
processors. TensorFlow does so itself only where the processor has AVX512-VNNI or newer instructions.
On others a training step takes 2 to 3 times as long without them. `TF_ENABLE_ONEDNN_OPTS=0` keeps them
off.
"""

import importlib
import os
import platform
from typing import TYPE_CHECKING, Any

from kddim.registration import register_with_keras

__version__ = "0.1.0"

__all__ = [
    "Denoiser",
    "DiffusionModel",
    "averages",
    "batches",
    "callbacks",
    "data",
    "evaluation",
    "experiments",
    "guidance",
    "images",
    "latents",
    "learning_rates",
    "metrics",
    "networks",
    "objective",
    "optimizers",
    "presets",
    "samplers",
    "schedules",
    "training_times",
    "tuning",
    "weightings",
]
_MODULES = {"Denoiser": "kddim.denoiser", "DiffusionModel": "kddim.model"}

if TYPE_CHECKING:
    from kddim import (
        averages,
        batches,
        callbacks,
        data,
        evaluation,
        experiments,
        guidance,
        images,
        latents,
        learning_rates,
        metrics,
        networks,
        objective,
        optimizers,
        presets,
        samplers,
        schedules,
        training_times,
        tuning,
        weightings,
    )
    from kddim.denoiser import Denoiser
    from kddim.model import DiffusionModel


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'kddim' has no attribute {name!r}")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    return importlib.import_module(f"kddim.{name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # TensorFlow reads it at its import
register_with_keras()
