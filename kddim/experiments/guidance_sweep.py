"""Quality of guided images over scales of guidance."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from kddim.conditions import conditions_of
from kddim.evaluation import Reference, check_metrics
from kddim.experiments.base import Cell, Experiment, Result
from kddim.experiments.ledger import Ledger, fingerprint
from kddim.experiments.tables import to_markdown, write_markdown
from kddim.files import write_csv
from kddim.guidance import check_scale
from kddim.plots import plot_guidance

COLUMNS = {
    "kid": "kid_std", "fid": "fid_std", "precision": "precision_std", "recall": "recall_std",
}  # fmt: skip
NOTES = (
    "Each value with its standard error. Precision is the share of generated images that lie among "
    "real ones, and recall the share of real images that lie among generated ones."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceSweep(Experiment):
    """Scores of a model for several scales of guidance.

    All scales start from the same noises and have the same labels. The folder receives
    `guidance.csv`, `guidance.md`, and `guidance.png`, which plots KID or FID, precision and recall
    against the scale.

    Args:
        reference: Features of real images.
        scales: Different scales of guidance, or one, each at least 0. 1 is without guidance.
        labels: Labels of the generated images, int32 `(num_images,)`, or None with a `guide`.
        guide: Weaker model to guide with, or None.
        diffusion_steps: Number of steps, at least 1.
        sampler: Name, configuration or `kddim.samplers.Sampler`.
        num_images: Number of images to generate for each scale, at least 4.
        metrics: Names among "kid", "fid" and "prdc".

    `Experiment` documents the other arguments.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    reference: Reference
    scales: Sequence[float]
    labels: Any = None
    guide: Any = None
    diffusion_steps: int = 20
    sampler: Any = "ddim"
    num_images: int = 1000
    metrics: Sequence[str] = ("kid", "prdc")

    name = "guidance"
    products: ClassVar = {f".{end}": f"guidance.{end}" for end in ("csv", "md", "png")}
    least: ClassVar = {"num_images": 4}
    recorded = ("num_images", "diffusion_steps", "sampler", "guidance_interval")

    def __post_init__(self):
        super().__post_init__()
        scales = self.scales if isinstance(self.scales, Iterable) else (self.scales,)
        scales = tuple(check_scale(scale) for scale in scales)
        if not scales or len(set(scales)) < len(scales):
            raise ValueError(f"Expected different scales of guidance. Received: {self.scales}")
        self._set(
            scales=scales,
            metrics=check_metrics(self.metrics),
            batch_size=min(self.batch_size, self.num_images),
        )
        for cell in self.cells().values():
            guide = cell.options.get("guide")
            conditions_of(self.model, cell.recipe, self.num_images, self.labels, guide)

    def settings(self) -> dict[str, Any]:
        """Return all values that decide the results."""
        found: dict[str, Any] = self.reference.protocol(self.num_images, self.metrics)
        if self.guide is not None:
            found["guide"] = fingerprint(self.guide)
        if self.labels is not None:
            found["labels"] = np.asarray(self.labels).tolist()
        return super().settings() | found

    def cells(self) -> dict[str, Cell]:
        """Return one cell per scale of guidance."""
        recipe = self.recipe(self.sampler, self.diffusion_steps)
        found = {}
        for scale in self.scales:
            options = {} if self.labels is None else {"labels": self.labels}
            options |= {"guide": self.guide} if self.guide is not None and scale != 1.0 else {}
            guided = dataclasses.replace(recipe, guidance_scale=scale)
            # All digits, so that near scales have keys of their own.
            found[f"scale {str(scale).removesuffix('.0')}"] = Cell(guided, self.num_images, options)
        return found

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Generate images, and return their scores."""
        images = self.generate(cell, callback)
        scores = self.reference.score(images, self.metrics, self.batch_size)
        kept = {name for pair in COLUMNS.items() for name in pair}
        found = {name: value for name, value in scores.items() if name in kept}
        return {"guidance_scale": cell.recipe.guidance_scale} | found, None

    def write(self, ledger: Ledger) -> None:
        """Write the scores so far as tables and as a plot."""
        rows = self.rows(ledger)
        write_csv(ledger.folder / "guidance.csv", rows)
        protocol = [
            f"- {key.replace('_', ' ')}: {value}"
            for key, value in ledger.settings.items()
            if key != "labels"
        ]
        notes = "\n".join([NOTES, "", *protocol])
        tables = {"Scores": self.table(rows)}
        write_markdown(ledger.folder / "guidance.md", "Scales of guidance", tables, notes)
        columns = {name: spread for name, spread in COLUMNS.items() if name in rows[0]}
        title = f"{self.num_images} images, encoder {self.reference.encoder.description}"
        plot_guidance(rows, columns, ledger.folder / "guidance.png", title)

    def table(self, rows: Sequence[dict[str, Any]]) -> str:
        """Return a Markdown table of rows as `run` returns them."""
        return to_markdown([
            {"scale": f"{row['guidance_scale']:g}"}
            | {
                name: f"{row[name]:.4g} ± {row[spread]:.2g}"
                for name, spread in COLUMNS.items()
                if name in row
            }
            for row in rows
        ])  # fmt: skip
