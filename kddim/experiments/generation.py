"""Generated images and animations in files, computed in parts that can be resumed."""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kddim.animations import Recorder, save_animation
from kddim.budget import check_memory
from kddim.experiments.base import Cell, Experiment, Result
from kddim.experiments.image_files import check_images_output, write_images
from kddim.experiments.ledger import Ledger, unfinished

_SHOWN = 8  # images in the animation of a larger set
_FRAMES = "frames"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Images(Experiment):
    num_images: int = 18
    diffusion_steps: int = 20
    sampler: Any = "ddim"

    least: ClassVar = {"num_images": 1}
    recorded: ClassVar[tuple[str, ...]] = ("num_images", "diffusion_steps", "sampler")

    def __post_init__(self):
        super().__post_init__()
        self._set(batch_size=min(self.batch_size, self.num_images))

    def frames(self, cell: Cell, callback: Callable) -> Result:
        """Return the number of frames, and the frames: one grid of a cell's images per step."""
        words = f"{self.diffusion_steps:,} frames of {cell.num_images:,} images"
        pixels = 2 * cell.num_images * math.prod(self.model.image_shape)
        check_memory(2 * self.diffusion_steps * pixels, words, "Use fewer diffusion steps.")
        recorder = Recorder(self.model.denormalize, cell.num_images, self.diffusion_steps)

        def record(*step: Any) -> None:
            callback(*step)
            recorder(*step)

        self.generate(cell, record)
        return {"frames": len(recorder.frames)}, np.stack(recorder.frames)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation(_Images):
    """Images of a seed, as a folder of PNG files, one grid, or an array.

    Args:
        num_images: Number of images, at least 1.
        diffusion_steps: Number of steps, at least 1.
        sampler: Name, configuration or `kddim.samplers.Sampler`.
        animate: If true, the folder also receives `animation.gif` of the first 8 images.

    `Experiment` documents the other arguments.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    animate: bool = False

    name = "generation"
    recorded = (*_Images.recorded, "batch_size", "animate")

    def run(
        self, output: str | os.PathLike, *, overwrite: bool = False, verbose: int = 0
    ) -> list[dict[str, Any]]:
        """Generate the images, and write them once all are there.

        Args:
            output: Folder (one PNG file per image, and `grid.png`), `.png` file (the grid) or
                `.npz` file (an array `images`, uint8).
            overwrite: If true, replace existing files.
            verbose: 1 shows a progress bar, 0 logs lines only.

        Returns:
            One row per batch.

        Raises:
            ValueError: If the output exists and `overwrite` is false, or if it has another
                suffix.
        """
        output = check_images_output(os.path.abspath(output), overwrite)
        if self.animate and output.suffix.lower() in (".png", ".npz"):
            raise ValueError(f"Expected a folder for images and animation. Received: {output}")
        with unfinished(output, self.settings()) as ledger:
            rows = self._run_in(ledger, verbose)
            images = [ledger.array(key) for key in self.cells() if key != _FRAMES]
            write_images(np.concatenate(images), output, overwrite=overwrite)
            if self.animate:
                save_animation(output / "animation.gif", list(ledger.array(_FRAMES)))
        return rows

    def cells(self) -> dict[str, Cell]:
        """Return one cell per batch, and one for the animation if it is wanted."""
        recipe = self.recipe(self.sampler, self.diffusion_steps)
        cells = {
            f"from {start}": Cell(recipe, self.batch_size, {"start": start})
            for start in range(0, self.num_images, self.batch_size)
        }
        if self.animate:
            shown = min(_SHOWN, self.num_images)
            cells[_FRAMES] = Cell(dataclasses.replace(recipe, batch_size=shown), shown)
        return cells

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        if key == _FRAMES:
            return self.frames(cell, callback)
        start = cell.options["start"]
        # The last batch is as large as the others, so that no step is compiled for it.
        images = self.generate(cell, callback)[: self.num_images - start]
        return {"start": start, "images": len(images)}, images

    def write(self, ledger: Ledger) -> None:
        """Write nothing, because an incomplete set of images is no output."""


class Animation(_Images):
    """Animation of the sampling process, one frame per step.

    The images of each step are drawn side by side, noisy ones above and predicted ones
    below. The folder receives `animation.gif` and `animation.webp`.

    Args:
        num_images: Number of images, at least 1.
        diffusion_steps: Number of steps, at least 1.
        sampler: Name, configuration or `kddim.samplers.Sampler`.

    `Experiment` documents the other arguments. All images form one batch.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    name = "animation"
    products: ClassVar = {".gif": "animation.gif", ".webp": "animation.webp"}

    def __post_init__(self):
        super().__post_init__()
        self._set(batch_size=self.num_images)

    def cells(self) -> dict[str, Cell]:
        return {_FRAMES: Cell(self.recipe(self.sampler, self.diffusion_steps), self.num_images)}

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        return self.frames(cell, callback)

    def write(self, ledger: Ledger) -> None:
        for name in self.products.values():
            save_animation(ledger.folder / name, list(ledger.array(_FRAMES)))
