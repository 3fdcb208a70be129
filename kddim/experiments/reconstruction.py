"""Images encoded and decoded again (DDIM paper, Sec. 5.4, Table 2)."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from kddim import samplers
from kddim.experiments.base import Experiment, check_several
from kddim.experiments.ledger import Ledger
from kddim.experiments.tables import to_markdown, write_csv, write_markdown
from kddim.images import check_images
from kddim.plots import plot_rows

_SHOWN = 8  # images in the picture
NOTES = (
    "Mean squared error per dimension on [0, 1], with its standard error over the images; "
    "and the standard deviation of the latents (that of noise is 1)."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruction(Experiment):
    """The error of encoding and decoding, by the number of steps.

    The folder receives `reconstruction.csv`, `reconstruction.md` (the paper's Table 2)
    and `reconstruction.png` (the images above, their reconstructions below).

    Args:
        images: real ones, `(n, height, width, channels)` in [0, 1].
        steps: numbers of steps.
        sampler: a deterministic `kddim.samplers.DDIM`, or "ddim".
        source: where the images are from, in words.

    Raises:
        ValueError: an option cannot be used.
    """

    images: np.ndarray
    steps: Sequence[int] = (10, 20, 50, 100, 200, 500, 1000)
    sampler: Any = "ddim"
    source: str = ""

    name = "reconstruction"
    products: ClassVar[dict[str, str]] = {
        ".csv": "reconstruction.csv",
        ".md": "reconstruction.md",
        ".png": "reconstruction.png",
    }

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "images", check_images(self.images, self.model.image_shape))
        object.__setattr__(self, "steps", check_several("steps", self.steps))
        object.__setattr__(self, "sampler", samplers.get(self.sampler))
        samplers.inverse_of(self.sampler)
        object.__setattr__(self, "batch_size", min(self.batch_size, len(self.images)))

    def settings(self) -> dict[str, Any]:
        return {
            "images": f"{len(self.images)}, {self.source}",
            "mean pixel": float(self.images.mean(dtype="float64")),
            "sampler": repr(self.sampler),
        }

    def sampler_of(self, key: str) -> samplers.Sampler:
        return self.sampler

    def cells(self) -> dict[str, int]:
        return {
            f"{steps} steps": 2 * self.num_evaluations(self.sampler, steps, len(self.images))
            for steps in self.steps
        }

    def compute(self, key: str, callback: Callable) -> tuple[dict[str, Any], np.ndarray]:
        """The error with a number of steps, and the reconstructions that are shown."""
        steps = int(key.split()[0])
        options = {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "schedule": self.schedule,
            "callback": callback,
        }
        encoded = self.model.encode(self.images, steps, self.sampler, **options)
        decoded = self.model.decode(encoded, steps, self.sampler, **options)
        errors = np.mean((decoded.astype("float64") - self.images) ** 2, axis=(1, 2, 3))
        return {
            "diffusion_steps": steps,
            "mean_squared_error": float(errors.mean()),
            "standard_error": _standard_error(errors),
            "latent_std": float(encoded.std(dtype="float64")),
        }, decoded[:_SHOWN]

    def write(self, ledger: Ledger) -> None:
        """The table, and the first images above their reconstructions."""
        keys = [key for key in self.cells() if key in ledger]
        rows = [ledger.cells[key] for key in keys]
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
        pictures = [self.images[:_SHOWN], *(ledger.array(key) for key in keys)]
        labels = ["real", *(f"S = {row['diffusion_steps']}" for row in rows)]
        plot_rows(pictures, labels, ledger.folder / "reconstruction.png")


def _standard_error(values: np.ndarray) -> float:
    """Of the mean; NaN of one value, which tells nothing."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
