"""Presets: recipes, which are named settings of training, and models in the package.

Nothing here imports Keras until a model is loaded or packed.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kddim.presets.card import Card
from kddim.presets.catalogue import is_preset, names
from kddim.presets.recipes import recipe, recipe_names

if TYPE_CHECKING:
    from kddim.presets.loading import load_model
    from kddim.presets.packing import pack

__all__ = ["Card", "is_preset", "load_model", "names", "pack", "recipe", "recipe_names"]
_MODULES = {"load_model": "kddim.presets.loading", "pack": "kddim.presets.packing"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'kddim.presets' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
