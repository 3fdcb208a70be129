"""Images of the same noises with few and many steps (DDIM paper, Sec. 5.2, Fig. 5)."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from kddim.experiments.base import Cell, Experiment, Result, check_several_steps
from kddim.experiments.ledger import Ledger
from kddim.files import write_csv
from kddim.plots import plot_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Consistency(Experiment):
    """Similarity of the images that the same noises give with different numbers of steps.

    With a deterministic sampler, such images share their high-level features. The folder
    receives `consistency.png` with one row of images per number of steps, and
    `consistency.csv` with two correlations per row, computed by `likeness`. The references
    are the images of the largest number of steps.

    Args:
        steps: Numbers of steps, each at least 1.
        num_images: Number of noises, at least 2.
        sampler: Name, configuration or `kddim.samplers.Sampler`.

    `Experiment` documents the other arguments.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    steps: Sequence[int] = (5, 10, 20, 50, 100, 200)
    num_images: int = 8
    sampler: Any = "ddim"

    name = "consistency"
    products: ClassVar = {".csv": "consistency.csv", ".png": "consistency.png"}
    least: ClassVar = {"num_images": 2}
    recorded = ("num_images", "sampler")

    def __post_init__(self):
        super().__post_init__()
        self._set(steps=tuple(sorted(check_several_steps(self.steps))))

    def cells(self) -> dict[str, Cell]:
        """Return one cell per number of steps."""
        return {
            f"{steps} steps": Cell(self.recipe(self.sampler, steps), self.num_images)
            for steps in self.steps
        }

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Return the images of one number of steps."""
        return {"diffusion_steps": cell.recipe.diffusion_steps}, self.generate(cell, callback)

    def write(self, ledger: Ledger) -> None:
        """Write the rows of images, and how much each is like the one of most steps."""
        images = {s: ledger.array(f"{s} steps") for s in self.steps if f"{s} steps" in ledger}
        pictures = {f"S = {steps}": row for steps, row in images.items()}
        plot_rows(pictures, ledger.folder / "consistency.png")
        rows = [
            {"diffusion_steps": steps} | likeness(row, images[max(images)])
            for steps, row in images.items()
        ]
        write_csv(ledger.folder / "consistency.csv", rows)


def likeness(images: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """Compare images with the references of the same noises and of other noises.

    The correlations are Pearson's, over pixels, after the mean image of the references has
    been subtracted. Images of different noises share only the data, so that their
    correlation is the baseline.

    Args:
        images: Images `(n, height, width, channels)`, n at least 2.
        references: Images of the same noises, of the same shape.

    Returns:
        `correlation_same_noise`, the mean correlation of each image with its own reference,
        and `correlation_other_noise`, that with all other references.
    """
    centre = references.mean(axis=0)
    a, b = ((x - centre).reshape(len(x), -1).astype("float64") for x in (images, references))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    scale = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    correlations = a @ b.T / np.maximum(scale, 1e-12)
    others = ~np.eye(len(a), dtype=bool)
    return {
        "correlation_same_noise": float(np.mean(np.diag(correlations))),
        "correlation_other_noise": float(np.mean(correlations[others])),
    }
