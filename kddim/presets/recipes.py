"""Recipes: named settings of a training run.

A recipe holds settings of `kddim.training.TrainingConfig`. To add one, write a table here and a
line in `kddim.names.RECIPES`.
"""

import importlib
from typing import Any

from kddim.checks import check_choice
from kddim.names import RECIPES

# The keras.io example "Denoising Diffusion Implicit Models". Every setting that decides its
# numbers stands here, so that it stays the example's if a default changes.
EXAMPLE: dict[str, Any] = {
    "image_size": 64,
    "widths": (32, 64, 96, 128),
    "block_depth": 2,
    "patch_size": 1,
    "attention_levels": (),
    "normalization": "batch",
    "batch_size": 64,
    "epochs": 50,
    "repeats": 5,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "learning_rate_decay": 0.0,
    "weight_decay": 1e-4,
    "ema": 0.999,
    "schedule": "cosine",
    "prediction_type": "noise",
    "loss_type": "noise",
    "loss": "mean_absolute_error",
    "training_times": "uniform",
    "weighting": "constant",
    "flip": False,
    "validation_split": 0.2,
    "kid_steps": 5,
    "every": 1,
}

# Many cheap steps: a narrow network and small batches, and Muon to make the most of each. docs/recipes.md
# compares recipes at equal cost.
FAST: dict[str, Any] = {
    "widths": (16, 32, 48, 64),
    "batch_size": 16,
    "optimizer": "muon",
    "learning_rate": 2e-3,
    "learning_rate_decay": 0.5,
    "schedule": "fine_cosine",
    "loss": "huber",
    "tune_steps": (5,),
}


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes."""
    return tuple(RECIPES)


def recipe(name: str) -> dict[str, Any]:
    """Return the settings of a recipe.

    Args:
        name: Name of the recipe: "example" is the keras.io example's, and "fast" takes more
            and cheaper steps in the same time.

    Returns:
        Keyword arguments of `kddim.training.TrainingConfig`.

    Raises:
        ValueError: If there is no such recipe.

    Example:
        >>> TrainingConfig("oxford_flowers102", **kddim.presets.recipe("example"))
    """
    check_choice("preset of settings", name, tuple(RECIPES))
    module, _, table = RECIPES[name].rpartition(".")
    return dict(getattr(importlib.import_module(module), table))
