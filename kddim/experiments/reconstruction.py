"""Real images, encoded and decoded again (DDIM paper, Sec. 5.4, Table 2)."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from kddim import samplers
from kddim.experiments.base import Cell, Experiment, Result, check_several_steps
from kddim.experiments.ledger import Ledger
from kddim.experiments.tables import to_markdown, write_markdown
from kddim.files import write_csv
from kddim.images import check_finite_images, check_images
from kddim.plots import plot_rows

_SHOWN = 8  # images in the picture
NOTES = (
    "Error: mean squared error per dimension on [0, 1], with its standard error over the "
    "images. Std of latents: standard deviation of the latents, which is 1 for pure noise."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruction(Experiment):
    """Error of encoding and decoding real images, by the number of steps.

    The folder receives `reconstruction.csv`, `reconstruction.md` (the paper's Table 2) and
    `reconstruction.png` (real images in the first row, their reconstructions below).

    Args:
        images: Real images, `(n, height, width, channels)` in [0, 1].
        steps: Numbers of steps, each at least 1.
        sampler: Deterministic sampler: "ddim" or a `kddim.samplers.DDIM` with `eta=0`.
        source: Description of the images, which the record keeps.

    `Experiment` documents the other arguments.

    Raises:
        ValueError: If the images have another shape or range than the model's, or if an
            option is unknown or out of range.
    """

    images: np.ndarray
    steps: Sequence[int] = (10, 20, 50, 100, 200, 500, 1000)
    sampler: Any = "ddim"
    source: str = ""

    name = "reconstruction"
    products: ClassVar = {end: f"reconstruction{end}" for end in (".csv", ".md", ".png")}

    def __post_init__(self):
        super().__post_init__()
        images = check_images(self.images, self.model.image_shape)
        self._set(images=images, steps=check_several_steps(self.steps))
        samplers.inverse_of(self.sampler)

    def settings(self) -> dict[str, Any]:
        """Return the settings, with the images that are reconstructed."""
        return super().settings() | {
            "images": f"{len(self.images)}, {self.source}",
            "mean pixel": float(self.images.mean(dtype="float64")),
            "sampler": self.sampler,
        }

    def cells(self) -> dict[str, Cell]:
        """Return one cell per number of steps."""
        return {
            f"{steps} steps": Cell(self.recipe(self.sampler, steps), len(self.images), passes=2)
            for steps in self.steps
        }

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Encode and decode the images, and return the errors and the first images."""
        options = {**cell.recipe.options, "callback": callback}
        encoded = self.model.encode(self.images, **options)
        check_finite_images(encoded)
        decoded = self.model.decode(encoded, **options)
        check_finite_images(decoded)
        errors = np.mean((decoded.astype("float64") - self.images) ** 2, axis=(1, 2, 3))
        return {
            "diffusion_steps": cell.recipe.diffusion_steps,
            "mean_squared_error": float(errors.mean()),
            "standard_error": _standard_error(errors),
            "latent_std": float(encoded.std(dtype="float64")),
        }, decoded[:_SHOWN]

    def write(self, ledger: Ledger) -> None:
        """Write the errors as tables, and the first images as a picture."""
        rows = self.rows(ledger)
        write_csv(ledger.folder / "reconstruction.csv", rows)
        table = to_markdown([
            {
                "S": row["diffusion_steps"],
                "error": f"{row['mean_squared_error']:.2g}",
                "standard error": f"{row['standard_error']:.1g}",
                "std of latents": f"{row['latent_std']:.3f}",
            }
            for row in rows
        ])  # fmt: skip
        title = f"Reconstruction of {len(self.images)} images"
        write_markdown(ledger.folder / "reconstruction.md", title, {"Error": table}, NOTES)
        pictures = {"real": self.images[:_SHOWN]}
        for steps in (row["diffusion_steps"] for row in rows):
            pictures[f"S = {steps}"] = ledger.array(f"{steps} steps")
        plot_rows(pictures, ledger.folder / "reconstruction.png")


def _standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean, or NaN for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
