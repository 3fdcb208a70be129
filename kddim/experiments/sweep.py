"""Quality and cost over samplers and numbers of steps (DDIM paper, Table 1 and Sec. 5.1)."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from kddim import samplers as known_samplers
from kddim.evaluation import Reference, check_metrics
from kddim.experiments.base import Cell, Experiment, Result, check_several_steps
from kddim.experiments.ledger import Ledger
from kddim.experiments.tables import to_markdown, write_markdown
from kddim.files import write_csv
from kddim.plots import plot_sweep

# For each metric, the entry of `Reference.score` that the literature gives beside it.
DEVIATIONS = {"kid": "kid_subsets_std", "fid": "fid_std"}
NOTES = (
    "KID: over all images, with its standard deviation over random subsets. FID: with its "
    "standard error by the jackknife. Seconds: time to generate all images, without "
    "compilation."
)


def samplers_of_etas(etas: Sequence[float | str], times: Any = "uniform") -> dict[str, Any]:
    """Return the samplers of the paper's Table 1, by the names of their rows.

    Args:
        etas: Values of eta, each for a `DDIM(eta)`, or the word "large" for the DDPM sampler
            with the larger variance, which the paper calls sigma-hat.
        times: Time grid of the samplers.
    """
    found: dict[str, Any] = {}
    for eta in etas:
        if eta == "large":
            found["sigma-hat"] = known_samplers.DDPM(variance="large", times=times)
        else:
            found[f"eta={float(eta):.12g}"] = known_samplers.DDIM(eta=float(eta), times=times)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep(Experiment):
    """Scores of a model with several samplers at several numbers of steps.

    All images start from the same noises. The folder receives `sweep.csv` with one row per
    sampler and number of steps, `sweep.md` with one table per metric (samplers down, steps
    across, as in the paper's Table 1), and `sweep.png`, which plots metrics and seconds
    against the number of steps.

    Args:
        reference: Features of real images, as `kddim.evaluation.make_reference` returns them.
        samplers: Samplers, or their names or configurations, by the names of their rows.
        steps: Numbers of steps, each at least 1.
        num_images: Number of images to generate for each row, at least 4.
        metrics: Names of metrics: "kid", "fid" or both.

    `Experiment` documents the other arguments.

    Raises:
        ValueError: If an option is unknown or out of range.

    Example:
        >>> reference = kddim.evaluation.make_reference("digits", model.image_shape)
        >>> Sweep(model=model, reference=reference, samplers=samplers_of_etas([0, 0.5, 1]),
        ...       steps=(10, 20, 50)).run("runs/digits/sweep")
    """

    reference: Reference
    samplers: Mapping[str, Any]
    steps: Sequence[int]
    num_images: int = 1000
    metrics: Sequence[str] = ("kid",)

    name = "sweep"
    products: ClassVar = {".csv": "sweep.csv", ".md": "sweep.md", ".png": "sweep.png"}
    least: ClassVar = {"num_images": 4}

    def __post_init__(self):
        super().__post_init__()
        self._set(
            samplers={name: known_samplers.get(s) for name, s in self.samplers.items()},
            steps=check_several_steps(self.steps),
            metrics=check_metrics(self.metrics),
            batch_size=min(self.batch_size, self.num_images),
        )
        if set(self.metrics) - set(DEVIATIONS) or not self.samplers:
            raise ValueError(
                "Expected metrics among 'kid' and 'fid', and at least one sampler. "
                f"Received: metrics={self.metrics}, samplers={list(self.samplers)}"
            )

    def settings(self) -> dict[str, Any]:
        """Return the settings, with the protocol of the scores and what the seconds depend on."""
        # Seconds depend on the backend and the batch size.
        cost = {"backend": keras.backend.backend(), "batch_size": self.batch_size}
        protocol = self.reference.protocol(self.num_images, self.metrics)
        return super().settings() | protocol | cost

    def cells(self) -> dict[str, Cell]:
        """Return one cell per sampler and number of steps."""
        return {
            self._key(name, steps): Cell(self.recipe(sampler, steps), self.num_images)
            for (name, sampler), steps in itertools.product(self.samplers.items(), self.steps)
        }

    def _key(self, name: str, steps: int) -> str:
        # A later run may give the name of a row to another sampler.
        return f"{self.samplers[name]}, {steps} steps"

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Generate images, and return their scores and the time they took."""
        # The first step compiles, so it is taken before the clock starts.
        first_batch = dataclasses.replace(cell, num_images=self.batch_size)
        self.generate(first_batch, lambda *_: True)
        start = time.perf_counter()
        images = self.generate(cell, callback)
        seconds = time.perf_counter() - start
        scores = self.reference.score(images, self.metrics, self.batch_size)
        steps = cell.recipe.diffusion_steps
        names = [name for metric in self.metrics for name in (metric, DEVIATIONS[metric])]
        return {
            "diffusion_steps": steps,
            "num_evaluations": cell.recipe.sampler.num_evaluations(steps),
            **{name: scores[name] for name in names},
            "seconds": round(seconds, 3),
        }, None

    def rows(self, ledger: Ledger) -> list[dict[str, Any]]:
        """Return the results so far, one row per sampler and number of steps."""
        return [
            {"sampler": name} | ledger.cells[self._key(name, steps)]
            for name, steps in itertools.product(self.samplers, self.steps)
            if self._key(name, steps) in ledger
        ]

    def write(self, ledger: Ledger) -> None:
        """Write the table as CSV and as Markdown, and the plot."""
        rows = self.rows(ledger)
        write_csv(ledger.folder / "sweep.csv", rows)
        protocol = [f"- {k.replace('_', ' ')}: {v}" for k, v in ledger.settings.items()]
        notes = "\n".join([NOTES, *self._linearity(rows), "", *protocol])
        write_markdown(ledger.folder / "sweep.md", "Samplers and steps", self.tables(rows), notes)
        metrics = {metric: DEVIATIONS[metric] for metric in self.metrics}
        title = f"{self.num_images} images, encoder {self.reference.encoder.description}"
        plot_sweep(rows, metrics, ledger.folder / "sweep.png", title)

    def tables(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Return one Markdown table per metric and one of seconds, by heading.

        Args:
            rows: Rows as `run` returns them.
        """
        tables = {metric.upper(): self._table(rows, metric) for metric in self.metrics}
        return tables | {"Seconds": self._table(rows, "seconds")}

    def _table(self, rows: Sequence[Mapping[str, Any]], column: str) -> str:
        """Return a table of one column of `rows`, with samplers down and steps across."""
        empty = {f"S={steps}": "" for steps in self.steps}
        table = {name: {"sampler": name, **empty} for name in self.samplers}
        for row in rows:
            text = f"{row[column]:.4g}"
            if column in DEVIATIONS:
                text += f" ± {row[DEVIATIONS[column]]:.2g}"
            table[row["sampler"]][f"S={row['diffusion_steps']}"] = text
        return to_markdown(list(table.values()))

    def _linearity(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return a line on how well seconds are linear in steps (Sec. 5.1), if there is one."""
        found = []
        for name in self.samplers:
            line = [(r["diffusion_steps"], r["seconds"]) for r in rows if r["sampler"] == name]
            if len(line) >= 3:
                found.append(f"{name} {np.corrcoef(line, rowvar=False)[0, 1] ** 2:.4f}")
        return [f"Seconds over steps, r² of a straight line: {', '.join(found)}."] if found else []
