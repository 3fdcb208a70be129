"""Images between images (DDIM paper, Sec. 5.3, Fig. 6; Appendix D.5)."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kddim import latents, samplers
from kddim.animations import save_animation
from kddim.experiments.base import Experiment
from kddim.experiments.ledger import Ledger
from kddim.images import grid, save_png


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolation(Experiment):
    """Images along arcs between noises, and between the four corners of a grid.

    The folder receives `strips.png` (one row a pair of noises), `grid.png`, and
    `animation.gif` and `.webp`, in which all pairs walk from their first noise to their
    second and back.

    Args:
        num_pairs: arcs, at least 1.
        num_images: along each arc, both ends among them; at least 2.
        grid_size: rows and columns of the grid, at least 2.
        diffusion_steps: of generation.
        sampler: a deterministic one gives smooth paths.

    Raises:
        ValueError: an option cannot be used.
    """

    num_pairs: int = 4
    num_images: int = 11
    grid_size: int = 8
    diffusion_steps: int = 50
    sampler: Any = "ddim"

    name = "interpolation"
    products: ClassVar[dict[str, str]] = {
        ".png": "strips.png",
        ".gif": "animation.gif",
        ".webp": "animation.webp",
    }

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "sampler", samplers.get(self.sampler))
        if min(self.num_images, self.grid_size) < 2 or self.num_pairs < 1:
            raise ValueError(
                "Expected num_pairs of at least 1, num_images and grid_size of at least 2. "
                f"Received: {self.num_pairs}, {self.num_images}, {self.grid_size}"
            )
        object.__setattr__(
            self,
            "batch_size",
            min(self.batch_size, max(self.num_pairs * self.num_images, self.grid_size**2)),
        )

    def settings(self) -> dict[str, Any]:
        return {
            "num_pairs": self.num_pairs,
            "num_images": self.num_images,
            "grid_size": self.grid_size,
            "diffusion_steps": self.diffusion_steps,
            "sampler": repr(self.sampler),
        }

    def sampler_of(self, key: str) -> samplers.Sampler:
        return self.sampler

    def cells(self) -> dict[str, int]:
        return {
            key: self.num_evaluations(self.sampler, self.diffusion_steps, len(noises))
            for key, noises in self._noises().items()
        }

    def compute(self, key: str, callback: Callable) -> tuple[dict[str, Any], np.ndarray]:
        noises = self._noises()[key]
        options = {"initial_noise": noises, "callback": callback}
        images = self.generate(len(noises), self.diffusion_steps, self.sampler, **options)
        return {"images": len(images)}, images

    def write(self, ledger: Ledger) -> None:
        """Strips and their animation, and the grid, of the parts that are there."""
        if "strips" in ledger:
            strips = ledger.array("strips")
            save_png(ledger.folder / "strips.png", grid(strips, self.num_images))
            walks = strips.reshape(self.num_pairs, self.num_images, *strips.shape[1:])
            frames = [grid(walks[:, i], self.num_pairs) for i in range(self.num_images)]
            for name in ("animation.gif", "animation.webp"):
                save_animation(ledger.folder / name, frames + frames[-2:0:-1])
        if "grid" in ledger:
            save_png(ledger.folder / "grid.png", grid(ledger.array("grid"), self.grid_size))

    def _noises(self) -> dict[str, np.ndarray]:
        """Strip after strip, and the grid row by row; its corners are noises of their own."""
        shape, pairs = self.model.image_shape, self.num_pairs
        ends = latents.initial_noise(2 * pairs + 4, shape, self.seed)
        fractions = np.linspace(0.0, 1.0, self.num_images)
        strips = [latents.slerp(ends[2 * i], ends[2 * i + 1], fractions) for i in range(pairs)]
        square = latents.slerp_grid(ends[-4:], self.grid_size, self.grid_size)
        return {"strips": np.concatenate(strips), "grid": square.reshape(-1, *shape)}
