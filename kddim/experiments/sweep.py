"""Quality and cost over samplers and steps (DDIM paper, Table 1 and Sec. 5.1)."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from kddim import samplers as known_samplers
from kddim.evaluation import Reference, check_metrics
from kddim.experiments.base import Experiment, check_several
from kddim.experiments.ledger import Ledger
from kddim.experiments.tables import figure, to_markdown, write_csv, write_markdown
from kddim.plots import plot_sweep

# Of each metric, under its name in what `Reference.score` returns: as the literature has it.
DEVIATIONS = {"kid": "kid_subsets_std", "fid": "fid_std"}
NOTES = (
    "KID: over all images, with its standard deviation over random subsets. FID: with its "
    "standard error by the jackknife. Seconds are those of generating all images, once the "
    "step is compiled."
)


def samplers_of_etas(etas: Sequence[float | str], times: Any = "uniform") -> dict[str, Any]:
    """The samplers of the paper's Table 1, by the name of their row.

    Args:
        etas: numbers, of `DDIM(eta)`, or "large": DDPM with the larger variance, the
            paper's sigma-hat.
        times: their grid.
    """
    return {
        "sigma-hat" if eta == "large" else f"eta={float(eta):.12g}": (
            known_samplers.DDPM(variance="large", times=times)
            if eta == "large"
            else known_samplers.DDIM(eta=float(eta), times=times)
        )
        for eta in etas
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep(Experiment):
    """Scores a model with each of some samplers at each of some numbers of steps.

    All settings start from the same noises. The folder receives `sweep.csv` (one row a
    setting), `sweep.md` (one row a sampler, one column a number of steps, as in the
    paper's Table 1) and `sweep.png` (quality, and seconds, against steps).

    Args:
        reference: the real images, see `kddim.evaluation.make_reference`.
        samplers: samplers or their names, by the names of their rows.
        steps: numbers of steps.
        num_images: generated for each setting, at least 4.
        metrics: "kid", "fid", or both.

    Raises:
        ValueError: an option cannot be used.

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
    products: ClassVar[dict[str, str]] = {
        ".csv": "sweep.csv",
        ".md": "sweep.md",
        ".png": "sweep.png",
    }

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "steps", check_several("steps", self.steps))
        object.__setattr__(self, "metrics", check_metrics(self.metrics))
        chosen = {name: known_samplers.get(sampler) for name, sampler in self.samplers.items()}
        object.__setattr__(self, "samplers", chosen)
        if set(self.metrics) - set(DEVIATIONS) or not chosen or self.num_images < 4:
            raise ValueError(
                "Expected metrics among 'kid' and 'fid', at least one sampler, and num_images of "
                f"at least 4. Received: metrics={self.metrics}, samplers={list(chosen)}, "
                f"num_images={self.num_images}"
            )
        object.__setattr__(self, "batch_size", min(self.batch_size, self.num_images))

    def settings(self) -> dict[str, Any]:
        # Seconds are those of a backend and a batch size.
        cost = {"backend": keras.backend.backend(), "batch_size": self.batch_size}
        return self.reference.protocol(self.num_images, self.metrics) | cost

    def cells(self) -> dict[str, int]:
        return {
            key: self.num_evaluations(self.samplers[name], steps, self.num_images)
            for key, (name, steps) in self._settings_of_cells().items()
        }

    def _key(self, name: str, steps: int) -> str:
        """A name of a row may come to mean another sampler; what a sampler is does not."""
        return f"{self.samplers[name]}, {steps} steps"

    def _settings_of_cells(self) -> dict[str, tuple[str, int]]:
        return {self._key(name, s): (name, s) for name in self.samplers for s in self.steps}

    def sampler_of(self, key: str) -> known_samplers.Sampler:
        return self.samplers[self._settings_of_cells()[key][0]]

    def compute(self, key: str, callback: Callable) -> tuple[dict[str, Any], None]:
        """One setting's scores, and the seconds that its images took."""
        name, steps = self._settings_of_cells()[key]
        sampler = self.samplers[name]
        # One step compiles, so that the seconds are those of sampling alone.
        self.generate(self.batch_size, steps, sampler, callback=lambda *_: True)
        start = time.perf_counter()
        images = self.generate(self.num_images, steps, sampler, callback=callback)
        seconds = time.perf_counter() - start
        scores = self.reference.score(images, self.metrics, self.batch_size)
        row: dict[str, Any] = {
            "diffusion_steps": steps,
            "num_evaluations": sampler.num_evaluations(steps),
        }
        for metric in self.metrics:
            row |= {metric: scores[metric], DEVIATIONS[metric]: scores[DEVIATIONS[metric]]}
        return row | {"seconds": round(seconds, 3)}, None

    def run(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """As `Experiment.run`; one row a sampler and number of steps."""
        return self._rows(dict(zip(self.cells(), super().run(*args, **kwargs))))

    def _rows(self, cells: Mapping[str, Any]) -> list[dict[str, Any]]:
        pairs = [(name, steps) for name in self.samplers for steps in self.steps]
        return [
            {"sampler": name} | cells[self._key(name, steps)]
            for name, steps in pairs
            if self._key(name, steps) in cells
        ]

    def write(self, ledger: Ledger) -> None:
        """Tables and plot of the settings that are there."""
        rows = self._rows(ledger.cells)
        write_csv(ledger.folder / "sweep.csv", rows)
        protocol = [f"- {k.replace('_', ' ')}: {v}" for k, v in ledger.settings.items()]
        notes = "\n".join([NOTES, *self._linearity(rows), "", *protocol])
        write_markdown(ledger.folder / "sweep.md", "Samplers and steps", self.tables(rows), notes)
        plot_sweep(
            rows,
            {m: DEVIATIONS[m] for m in self.metrics},
            ledger.folder / "sweep.png",
            title=self._title(),
        )

    def tables(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Markdown tables of rows that `run` gave: one a metric, and one of seconds."""
        tables = {metric.upper(): self._table(rows, metric) for metric in self.metrics}
        return tables | {"Seconds": self._table(rows, "seconds")}

    def _table(self, rows: Sequence[Mapping[str, Any]], column: str) -> str:
        """One line a sampler, one column a number of steps."""
        found = {(row["sampler"], row["diffusion_steps"]): row for row in rows}
        lines = []
        for name in self.samplers:
            line: dict[str, Any] = {"sampler": name}
            for steps in self.steps:
                row = found.get((name, steps))
                line[f"S={steps}"] = (
                    figure(row[column], row.get(DEVIATIONS.get(column, ""))) if row else ""
                )
            lines.append(line)
        return to_markdown(lines)

    def _linearity(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """How well a straight line fits seconds over steps, as the paper's Sec. 5.1 says."""
        found = []
        for name in self.samplers:
            line = [row for row in rows if row["sampler"] == name]
            if len(line) < 3:
                continue
            steps, seconds = ([row[key] for row in line] for key in ("diffusion_steps", "seconds"))
            fit = np.corrcoef(steps, seconds)[0, 1] ** 2
            found.append(f"{name} {fit:.4f}")
        return [f"Seconds over steps, r² of a straight line: {', '.join(found)}."] if found else []

    def _title(self) -> str:
        return f"{self.num_images} images, encoder {self.reference.encoder.description}"
