"""Pictures of generated images while training."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from kddim.callbacks.epochs import EpochCallback
from kddim.checks import check_count
from kddim.images import grid, save_png
from kddim.recipe import Recipe


class ImageGridCallback(EpochCallback):
    """Write a grid of generated images after each epoch, always from the same noises.

    A model with classes draws one image of each class after the other. Epochs are counted over several `fit` calls with the same callback, so that a later fit does
    not overwrite the pictures of an earlier one.

    Args:
        directory: Folder that receives `epoch_0001.png`, `epoch_0002.png`, ...
        num_rows: Number of rows of the grid.
        num_cols: Number of columns of the grid.
        diffusion_steps: Number of steps of sampling.
        every: Number of epochs from one picture to the next. The first and the last epoch have
            pictures too.
        sampler: Name of a sampler, or a `kddim.samplers.Sampler`.
        seed: Seed of the noises.

    Raises:
        ValueError: If a number is below 1, or the sampler is unknown.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        num_rows: int = 3,
        num_cols: int = 6,
        diffusion_steps: int = 20,
        every: int = 1,
        *,
        sampler: Any = "ddim",
        seed: int = 0,
    ):
        super().__init__(every)
        self.directory = Path(directory)
        self.num_rows = check_count("num_rows", num_rows)
        self.num_cols = check_count("num_cols", num_cols)
        self.recipe = Recipe(sampler, diffusion_steps, seed=seed)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save a grid of generated images after the first epoch and after each that is due."""
        number = self.count(epoch)
        if number > 1 and not self.is_due(epoch):
            return
        number_of_images = self.num_rows * self.num_cols
        labels = every_class(self.model, number_of_images)
        images = self.model.generate(number_of_images, labels=labels, **self.recipe.options)
        save_png(grid_path(self.directory, number), grid(images, self.num_cols))


def every_class(model: Any, num_images: int) -> Any:
    """Return labels in the order of the classes, or None for a model without classes."""
    if getattr(model, "num_classes", None) is None:
        return None
    return np.arange(num_images) % model.num_classes


def grid_path(directory: Path, number: int) -> Path:
    """Return the path of the grid of an epoch, counted from 1."""
    return directory / f"epoch_{number:04d}.png"
