"""Images between images (DDIM paper, Sec. 5.3, Fig. 6; Appendix D.5, Fig. 12)."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kddim import latents
from kddim.animations import save_animation
from kddim.budget import check_memory
from kddim.checks import check_count
from kddim.experiments.base import Cell, Experiment, Result
from kddim.experiments.ledger import Ledger
from kddim.images import grid, save_png

_MOST_ROWS = 1000  # of the grid


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolation(Experiment):
    """Images along arcs between two noises, and on a grid between four noises.

    Noises are interpolated spherically. The folder receives `strips.png` with one row per
    arc, `grid.png` with the four noises at its corners, and `animation.gif` and
    `animation.webp`, in which all arcs are walked from the first noise to the second and
    back. The arcs start and end at noises 0, 1, 2, ... of the seed; the corners are the
    next four noises: top left, top right, bottom left, bottom right.

    Args:
        num_pairs: Number of arcs, at least 1.
        num_images: Number of images along each arc including both ends, at least 2.
        grid_size: Number of rows and of columns of the grid, at least 2.
        diffusion_steps: Number of steps, at least 1.
        sampler: Name, configuration or `kddim.samplers.Sampler`. Paths are smooth only if it
            is deterministic.

    `Experiment` documents the other arguments.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    num_pairs: int = 4
    num_images: int = 11
    grid_size: int = 8
    diffusion_steps: int = 50
    sampler: Any = "ddim"

    name = "interpolation"
    products: ClassVar = {".png": "strips.png", ".gif": "animation.gif", ".webp": "animation.webp"}
    least: ClassVar = {"num_pairs": 1, "num_images": 2, "grid_size": 2}
    recorded = ("num_pairs", "num_images", "grid_size", "diffusion_steps", "sampler")

    def __post_init__(self):
        super().__post_init__()
        check_count("grid_size", self.grid_size, 2, _MOST_ROWS, "Pictures cannot be larger.")
        number = 2 * self.num_pairs + 4 + self.num_pairs * self.num_images + self.grid_size**2
        needed = 8 * number * math.prod(self.model.image_shape)  # noises and images
        check_memory(needed, f"{number:,} noises and images", "Use smaller numbers of images.")

    def cells(self) -> dict[str, Cell]:
        """Return the cell of the strips and the cell of the grid, with their noises."""
        shape, size = self.model.image_shape, self.grid_size
        ends = latents.initial_noise(2 * self.num_pairs + 4, shape, self.seed)
        pairs, corners = zip(ends[:-4:2], ends[1:-4:2]), ends[-4:]
        fractions = np.linspace(0.0, 1.0, self.num_images)
        # One strip after the other, and the grid by rows.
        noises = {
            "strips": np.concatenate([latents.slerp(*pair, fractions) for pair in pairs]),
            "grid": latents.slerp_grid(corners, size, size).reshape(-1, *shape),
        }
        recipe = self.recipe(self.sampler, self.diffusion_steps)
        return {key: Cell(recipe, len(n), {"initial_noise": n}) for key, n in noises.items()}

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Return the images of one strip or of the grid."""
        return {"images": cell.num_images}, self.generate(cell, callback)

    def write(self, ledger: Ledger) -> None:
        """Write the strips, their animations and the grid, as far as they exist."""
        if "strips" in ledger:
            strips = ledger.array("strips")
            save_png(ledger.folder / "strips.png", grid(strips, self.num_images))
            walks = strips.reshape(self.num_pairs, self.num_images, *strips.shape[1:])
            frames = [grid(walks[:, i], self.num_pairs) for i in range(self.num_images)]
            for name in ("animation.gif", "animation.webp"):
                save_animation(ledger.folder / name, frames + frames[-2:0:-1])
        if "grid" in ledger:
            save_png(ledger.folder / "grid.png", grid(ledger.array("grid"), self.grid_size))
