"""Pictures while training."""

import os
from pathlib import Path
from typing import Any

import keras

from kddim import samplers
from kddim.callbacks.due import is_due
from kddim.images import grid, save_png


class ImageGridCallback(keras.callbacks.Callback):
    """Writes a grid of generated images after each epoch, always of the same noises.

    Args:
        directory: receives `epoch_0001.png`, `epoch_0002.png`, ...
        num_rows: rows of the grid.
        num_cols: columns of the grid.
        diffusion_steps: of generation.
        every: draws each so many epochs, and the first and the last.
        sampler: of generation.
        seed: of the noises.
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
        super().__init__()
        if min(num_rows, num_cols, diffusion_steps, every) < 1:
            raise ValueError(
                "Expected num_rows, num_cols, diffusion_steps and every of at least 1. Received: "
                f"{num_rows}, {num_cols}, {diffusion_steps}, {every}"
            )
        self.directory = Path(directory)
        self.num_rows = num_rows
        self.num_cols = num_cols
        self.diffusion_steps = diffusion_steps
        self.every = every
        self.sampler = samplers.get(sampler)
        self.seed = seed

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch > 0 and not is_due(self, epoch, self.every):
            return
        images = self.model.generate(
            self.num_rows * self.num_cols, self.diffusion_steps, self.sampler, seed=self.seed
        )
        save_png(self.directory / f"epoch_{epoch + 1:04d}.png", grid(images, self.num_cols))
