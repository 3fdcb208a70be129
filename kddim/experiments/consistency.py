"""The same noises with few and many steps (DDIM paper, Sec. 5.2, Fig. 5)."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from kddim import samplers
from kddim.experiments.base import Experiment, check_several
from kddim.experiments.ledger import Ledger
from kddim.experiments.tables import write_csv
from kddim.plots import plot_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Consistency(Experiment):
    """Images of the same noises with different numbers of steps.

    A deterministic sampler gives images whose high-level features are alike. The folder
    receives `consistency.png` (one row a number of steps) and `consistency.csv`: the
    correlation of each row's pixels with those of the row of most steps, and with those
    of that row's other images, which have nothing in common with it but the data.

    Args:
        steps: numbers of steps.
        num_images: noises, at least 2.
        sampler: the sampler.

    Raises:
        ValueError: an option cannot be used.
    """

    steps: Sequence[int] = (5, 10, 20, 50, 100, 200)
    num_images: int = 8
    sampler: Any = "ddim"

    name = "consistency"
    products: ClassVar[dict[str, str]] = {".csv": "consistency.csv", ".png": "consistency.png"}

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "steps", tuple(sorted(check_several("steps", self.steps))))
        object.__setattr__(self, "sampler", samplers.get(self.sampler))
        if self.num_images < 2:
            raise ValueError(f"Expected num_images of at least 2. Received: {self.num_images}")
        object.__setattr__(self, "batch_size", min(self.batch_size, self.num_images))

    def settings(self) -> dict[str, Any]:
        return {
            "num_images": self.num_images,
            "sampler": repr(self.sampler),
        }

    def sampler_of(self, key: str) -> samplers.Sampler:
        return self.sampler

    def cells(self) -> dict[str, int]:
        return {
            f"{steps} steps": self.num_evaluations(self.sampler, steps, self.num_images)
            for steps in self.steps
        }

    def compute(self, key: str, callback: Callable) -> tuple[dict[str, Any], np.ndarray]:
        steps = int(key.split()[0])
        images = self.generate(self.num_images, steps, self.sampler, callback=callback)
        return {"diffusion_steps": steps}, images

    def write(self, ledger: Ledger) -> None:
        images = {s: ledger.array(f"{s} steps") for s in self.steps if f"{s} steps" in ledger}
        labels = [f"S = {steps}" for steps in images]
        plot_rows(list(images.values()), labels, ledger.folder / "consistency.png")
        rows = [
            {"diffusion_steps": steps} | likeness(row, images[max(images)])
            for steps, row in images.items()
        ]
        write_csv(ledger.folder / "consistency.csv", rows)


def likeness(images: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """How alike images of the same noises are, beside images of different ones.

    Args:
        images: `(n, height, width, channels)`.
        references: of the same noises, of the same shape.

    Returns:
        `correlation_same_noise`, the mean Pearson correlation of the pixels of each image
        with those of its reference, once the mean over the references is taken away;
        `correlation_other_noise`, with those of the other references.
    """
    centre = references.mean(axis=0)
    a, b = ((x - centre).reshape(len(x), -1).astype("float64") for x in (images, references))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    scale = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    correlations = a @ b.T / np.maximum(scale, 1e-12)
    same = float(np.mean(np.diag(correlations)))
    others = ~np.eye(len(a), dtype=bool)
    return {
        "correlation_same_noise": same,
        "correlation_other_noise": float(np.mean(correlations[others])),
    }
