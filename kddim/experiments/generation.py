"""Generated images and animations in files, computed in parts that can be resumed."""

import dataclasses
import logging
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kddim.animations import Recorder, save_animation
from kddim.budget import check_memory
from kddim.conditions import conditions_of
from kddim.experiments.base import Cell, Experiment, Result, resumable
from kddim.experiments.image_files import (
    Pixels,
    check_images_output,
    write_images,
)
from kddim.experiments.image_grids import shown_in_grid
from kddim.experiments.ledger import Ledger, fingerprint
from kddim.experiments.unfinished import prepare
from kddim.images import check_range, to_uint8
from kddim.labels import resolve
from kddim.locks import output_lock

log = logging.getLogger("kddim")

_SHOWN = 8  # images in the animation of a larger set
FRAMES = "frames"  # key of the cell of an animation


def is_image(name: str) -> bool:
    """Return True for the file name of an image of a set, which an earlier run may have left."""
    return re.fullmatch(r"\d{5,}\.png", name) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Images(Experiment):
    num_images: int = 18
    diffusion_steps: int = 20
    sampler: Any = "ddim"
    classes: Sequence[Any] | None = None
    guide: Any = None

    least: ClassVar = {"num_images": 1}
    recorded: ClassVar[tuple[str, ...]] = ("num_images", "diffusion_steps", "sampler")

    def __post_init__(self):
        super().__post_init__()
        self._set(batch_size=min(self.batch_size, self.num_images))
        if self.classes is not None:
            self._set(classes=tuple(self.classes))
        labels, recipe = self.labels, self.recipe(self.sampler, self.diffusion_steps)
        conditions_of(self.model, recipe, self.num_images, labels, self.guide)  # raises

    @property
    def labels(self) -> np.ndarray | None:
        """Labels of the images: equal shares of `classes` one after the other, or None."""
        if self.classes is None:
            return None
        model, number = self.model, len(self.classes)
        numbers = resolve(self.classes, number, model.num_classes, model.class_names)
        return numbers[np.arange(self.num_images) * number // self.num_images]

    def settings(self) -> dict[str, Any]:
        """Return all values that decide the results, with labels and guide if there are any."""
        labels, guide = self.labels, self.guide
        found = {} if labels is None else {"labels": labels.tolist()}
        return super().settings() | found | ({} if guide is None else {"guide": fingerprint(guide)})

    def conditions(self, rows: slice, size: int) -> dict[str, Any]:
        """Return the labels of some images and the guide, as arguments of `generate`.

        Args:
            rows: Indices of the images.
            size: Number of labels. The last one is repeated if there are fewer images.
        """
        found = {} if self.guide is None else {"guide": self.guide}
        if self.labels is None:
            return found
        labels = self.labels[rows]
        return found | {"labels": np.pad(labels, (0, size - len(labels)), mode="edge")}

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
        classes: Classes, by names or numbers, of which equal shares of the images are. None is no
            condition.
        guide: Weaker model to guide with, or None.
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
        output = self.check_suffix(output)
        suffix = output.suffix.lower()
        with resumable(output), output_lock(output):
            unfinished = prepare(output, overwrite, check_images_output)
            with unfinished.ledger(self.settings()) as ledger:
                rows = self._run_in(ledger, verbose)
                product = unfinished.empty_folder("output")
                if suffix in (".png", ".npz"):
                    product /= f"images{suffix}"
                write_images(self.pixels(ledger), product)
                if self.animate:
                    save_animation(product / "animation.gif", list(ledger.array(FRAMES)))
                unfinished.place(product, is_ours=is_image)
        return rows

    def check_suffix(self, output: str | os.PathLike) -> Path:
        """Return the absolute path of an output, and log what it will not show.

        Raises:
            ValueError: If it is a file, and the animation has no place in it.
        """
        output = Path(os.path.abspath(output))
        suffix = output.suffix.lower()
        if self.animate and suffix in (".png", ".npz"):
            raise ValueError(f"Expected a folder for images and animation. Received: {output}")
        self._tell_of_grid(suffix)
        return output

    def _tell_of_grid(self, suffix: str) -> None:
        shown = shown_in_grid(self.num_images, self.model.image_shape)
        if suffix != ".npz" and shown < self.num_images:
            log.info(
                "the grid shows the first %s of %s images, because image programs refuse larger "
                "pictures. A folder or a .npz file receives all",
                *(f"{shown:,}", f"{self.num_images:,}"),
            )

    def pixels(self, ledger: Ledger) -> Pixels:
        """Return the images that a ledger holds."""
        keys = [key for key in self.cells() if key != FRAMES]
        shape, captions = self.model.image_shape, self.captions()
        return Pixels(self.num_images, shape, lambda: map(ledger.array, keys), captions)

    def captions(self) -> list[str] | None:
        """Return the names of the classes of the images, or None without labels."""
        if self.labels is None:
            return None
        names = self.model.class_names
        return [names[n] if names and n >= 0 else f"class {n}" for n in self.labels]

    def cells(self) -> dict[str, Cell]:
        """Return one cell per batch, and one for the animation if it is wanted."""
        recipe = self.recipe(self.sampler, self.diffusion_steps)
        size = self.batch_size
        cells = {
            f"from {first}": Cell(
                recipe, size, {"start": first, **self.conditions(slice(first, first + size), size)}
            )
            for first in range(0, self.num_images, size)
        }
        if self.animate:
            shown = min(_SHOWN, self.num_images)
            conditions = self.conditions(slice(shown), shown)
            cells[FRAMES] = Cell(dataclasses.replace(recipe, batch_size=shown), shown, conditions)
        return cells

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Return one batch of images in 8 bits, or the frames of the animation."""
        if key == FRAMES:
            return self.frames(cell, callback)
        start = cell.options["start"]
        # The last batch is as large as the others, so that no step is compiled for it.
        images = self.generate(cell, callback)[: self.num_images - start]
        check_range(images, " among the generated images")  # 8 bits hold no NaN
        return {"start": start, "images": len(images)}, to_uint8(images)

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
        classes: As in `Generation`.
        guide: As in `Generation`.

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
        """Return the only cell: the frames."""
        recipe, number = self.recipe(self.sampler, self.diffusion_steps), self.num_images
        return {FRAMES: Cell(recipe, number, self.conditions(slice(number), number))}

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Return the frames."""
        return self.frames(cell, callback)

    def write(self, ledger: Ledger) -> None:
        """Write the animations."""
        for name in self.products.values():
            save_animation(ledger.folder / name, list(ledger.array(FRAMES)))
