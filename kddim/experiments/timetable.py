"""Times of sampling many images, by sampler and number of steps, beside those of a GAN."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from kddim.checks import MOST_IMAGES, check_choice, check_count
from kddim.evaluation import Reference
from kddim.experiments import timetable_page as page
from kddim.experiments.base import Cell, Experiment, Result, check_several_steps
from kddim.experiments.gan import gan_like, gan_parameters
from kddim.experiments.ledger import Ledger, fingerprint
from kddim.experiments.tables import write_markdown
from kddim.experiments.timing import Stopwatch, extrapolate, machine
from kddim.files import write_csv
from kddim.images import check_finite_images
from kddim.model import DiffusionModel
from kddim.presets.loading import in_precision
from kddim.recipe import Recipe
from kddim.samplers.times import check_steps
from kddim.settings import DTYPES


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedCell(Cell):
    """One row of a timetable: a way to make images, in one precision.

    Args:
        method: Name of the way, for the table.
        model: Model that samples. None is the GAN.
        dtype: Dtype policy of the network.
        batches: Number of batches that are measured, the one that compiles included.
        measured_steps: Number of steps of these batches.
        kid_images: Number of images to generate for KID. 0 measures none.
    """

    method: str
    model: DiffusionModel | None
    dtype: str
    batches: int
    measured_steps: int
    kid_images: int = 0

    @property
    def num_evaluations(self) -> int:
        """Number of network calls, each of one batch."""
        per_step = self.recipe.sampler.num_evaluations(1)
        quality = self.recipe.num_batch_evaluations(self.kid_images) if self.kid_images else 0
        return self.batches * self.measured_steps * per_step + quality


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timetable(Experiment):
    """Seconds of sampling many images with a model, on this machine.

    The rows are the DDPM sampler with 1,000 steps, DDIM with fewer, the tuned samplers of the
    model, models that were distilled from it, and the generator of a DCGAN with as many
    parameters. Only a few steps of one batch are measured, and extrapolated to all steps and
    images: the time is linear in both (DDIM paper, Sec. 5.1). The GAN has random weights, because
    only its time is of interest.

    The folder receives `timetable.csv` with one row per method and precision, and `timetable.md`.

    Args:
        reference: Features of real images for KID, as `kddim.evaluation.make_reference` returns
            them. None measures times only.
        steps: Numbers of steps of DDIM, each at least 1.
        ddpm_steps: Number of steps of DDPM, at least 1.
        distilled: Models that were distilled, by their numbers of steps.
        dtypes: Dtype policies of the networks.
        sample_size: Number of images that the times are for.
        num_images: Number of images for the KID of each row, at least 4.
        ddpm_images: Number of images for the KID of DDPM, at least 4. None leaves it out, because
            these images usually take longer than all others together.
        measured_steps: Largest number of steps that are measured of a batch, at least 2.
        repeats: Number of measurements, of which the median counts.

    `Experiment` documents the other arguments.

    Raises:
        ValueError: If an option is unknown or out of range, or a distilled model makes other
            images.

    Example:
        >>> Timetable(model=model, dtypes=("float32",)).run("runs/digits/timetable")

    Reference:
        Song, Meng and Ermon, "Denoising Diffusion Implicit Models", arXiv 2010.02502, Sec. 1: "it
        takes around 20 hours to sample 50k images of size 32 x 32 from a DDPM, but less than a
        minute to do so from a GAN on a Nvidia 2080 Ti GPU".
    """

    reference: Reference | None = None
    steps: Sequence[int] = (100, 50, 20)
    ddpm_steps: int = 1000
    distilled: Mapping[int, DiffusionModel] = dataclasses.field(default_factory=dict)
    dtypes: Sequence[str] = ("float32", "mixed_bfloat16")
    sample_size: int = 50_000
    num_images: int = 1000
    ddpm_images: int | None = None
    measured_steps: int = 4
    repeats: int = 3

    name = "timetable"
    products: ClassVar = {".csv": "timetable.csv", ".md": "timetable.md"}
    least: ClassVar = {"sample_size": 1, "num_images": 4, "measured_steps": 2, "repeats": 1}
    recorded = ("measured_steps", "repeats", "batch_size")

    def __post_init__(self):
        super().__post_init__()
        self._set(
            steps=check_several_steps(self.steps),
            ddpm_steps=check_steps(self.ddpm_steps),
            dtypes=tuple(check_choice("dtype", d, DTYPES) for d in dict.fromkeys(self.dtypes)),
            batch_size=min(self.batch_size, self.sample_size),
            distilled={check_steps(s): m for s, m in sorted(self.distilled.items(), reverse=True)},
        )
        if self.ddpm_images is not None:
            self._set(ddpm_images=check_count("ddpm_images", self.ddpm_images, 4, MOST_IMAGES))
        if not self.dtypes:
            raise ValueError("Expected at least one dtype. Received: none")
        self._check_distilled()

    def _check_distilled(self) -> None:
        shape = self.model.image_shape
        for distilled in self.distilled.values():
            if distilled.image_shape != shape:
                raise ValueError(
                    f"Expected a distilled model of images {shape}. Received: one of "
                    f"{distilled.image_shape}. Give a model that was distilled from this one."
                )

    def settings(self) -> dict[str, Any]:
        """Return all values that decide the times, but those that the keys of cells hold.

        Keys hold the rest, so that later runs may measure more.
        """
        where = {"backend": keras.backend.backend(), "machine": machine()}
        shared = {key: value for key, value in super().settings().items() if key != "dtype"}
        return shared | {"model": fingerprint(self.model, tuned=False)} | where

    def _protocol(self, kid_images: int) -> dict[str, Any]:
        """Return the protocol of a KID of so many images. Without images, it is empty."""
        if self.reference is None or not kid_images:
            return {}
        return self.reference.protocol(kid_images, ("kid",))

    def cells(self) -> dict[str, Cell]:
        """Return one cell per way of sampling and precision."""
        found: dict[str, Cell] = {}
        for dtype in self.dtypes:
            for name, model, recipe in self._ways():
                cell = self._cell(name, model, recipe, dtype)
                key = f"{name}, {recipe.diffusion_steps} steps, {dtype}"
                if cell.kid_images:
                    key += f", KID {_digest(self._protocol(cell.kid_images))}"
                found[key] = cell
        return found

    def _ways(self) -> Iterator[tuple[str, DiffusionModel | None, Recipe]]:
        """Yield the name, the model and the recipe of each row.

        The first word of a name is the method. The rest tells samplers and models apart.
        """
        yield "DDPM", self.model, self.recipe("ddpm", self.ddpm_steps)
        for steps in self.steps:
            yield "DDIM", self.model, self.recipe("ddim", steps)
        for steps in sorted(self.model.tuned_samplers, reverse=True):
            recipe = self.recipe("tuned", steps)
            yield f"tuned {_digest(recipe.sampler)}", self.model, recipe
        one_step = Recipe("ddim", 1, None, self.seed, self.batch_size)
        for steps, model in self.distilled.items():
            sampler = model.tuned_samplers.get(steps, one_step.sampler).for_model(model, steps)
            recipe = dataclasses.replace(one_step, sampler=sampler, diffusion_steps=steps)
            yield f"distilled {fingerprint(model)}", model, recipe
        # One call of a network makes all images, as one step of DDIM does.
        yield "GAN", None, one_step

    def _cell(
        self, name: str, model: DiffusionModel | None, recipe: Recipe, dtype: str
    ) -> TimedCell:
        method = name.split()[0]
        kid_images: int | None = 0
        if self.reference is not None and model is not None:
            kid_images = self.ddpm_images if method == "DDPM" else self.num_images
        return TimedCell(
            recipe=recipe,
            num_images=self.batch_size,
            method=method,
            model=model,
            dtype=dtype,
            batches=self.repeats + 1,
            measured_steps=self._stopwatch.steps_of(recipe.diffusion_steps),
            kid_images=kid_images or 0,
        )

    @property
    def _stopwatch(self) -> Stopwatch:
        return Stopwatch(self.measured_steps, self.repeats)

    def compute(self, key: str, cell: Any, callback: Callable) -> Result:
        """Measure the time of a batch, and KID if it is asked for."""
        generate = self._generator(cell)
        run = functools.partial(generate, self.batch_size)
        seconds = self._stopwatch.seconds(run, cell.recipe.diffusion_steps, callback)
        result = {
            "method": cell.method,
            "diffusion_steps": cell.recipe.diffusion_steps,
            "dtype": cell.dtype,
            "measured_steps": cell.measured_steps,
            "batch_size": self.batch_size,
            "seconds_per_batch": float(np.median(seconds)),
            "fastest": min(seconds),
            "slowest": max(seconds),
        }
        if self.reference is not None and cell.kid_images:
            images = generate(cell.kid_images, callback)
            scores = self.reference.score(images, ("kid",), self.batch_size)
            result |= {name: scores[name] for name in ("kid", "kid_subsets_std")}
            result["kid_images"] = cell.kid_images
        return result, None

    def _generator(self, cell: TimedCell) -> Callable[[int, Callable], np.ndarray]:
        """Return a function of a number of images and a callback that makes images."""
        if cell.model is None:
            return gan_like(self.model, cell.dtype, self.seed)
        model = _converted(cell.model, cell.dtype, fingerprint(cell.model))

        def generate(num_images: int, callback: Callable) -> np.ndarray:
            images = model.generate(num_images, callback=callback, **cell.recipe.options)
            check_finite_images(images)
            return images

        return generate

    def rows(self, ledger: Ledger) -> list[dict[str, Any]]:
        """Return the results so far, with the seconds for `sample_size` images."""
        rows = []
        for row in super().rows(ledger):
            seconds = extrapolate(row["seconds_per_batch"], row["batch_size"], self.sample_size)
            rows.append(row | {"sample_size": self.sample_size, "seconds": seconds})
        return [row | {"times_as_fast": rows[0]["seconds"] / row["seconds"]} for row in rows]

    def write(self, ledger: Ledger) -> None:
        """Write the table as CSV and as Markdown."""
        rows = self.rows(ledger)
        write_csv(ledger.folder / "timetable.csv", rows)
        settings = ledger.settings | self._protocol(self.num_images)
        protocol = [f"- {k.replace('_', ' ')}: {v}" for k, v in settings.items()]
        notes = "\n".join([*(f"{note}\n" for note in self.notes()), *protocol])
        title = f"Time for {self.sample_size:,} images"
        write_markdown(ledger.folder / "timetable.md", title, page.tables(rows), notes)

    def notes(self) -> list[str]:
        """Return sentences on how the figures were made, and on what is missing."""
        gan, size = gan_parameters(self.model), self.model.sampling_network.count_params()
        found = [
            page.MEASURED.format(repeats=self.repeats),
            page.MACHINE.format(machine=machine()),
            page.GAN.format(gan=gan, model=size),
        ]
        found += [] if self.model.tuned_samplers else [page.NOT_TUNED]
        found += [] if self.distilled else [page.NOT_DISTILLED]
        if self.reference is None:
            return [*found, page.NO_KID]
        return [*found, page.KID, *([] if self.ddpm_images else [page.NO_DDPM_KID])]


def _digest(value: Any) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()[:8]


@functools.lru_cache(maxsize=1)
def _converted(model: DiffusionModel, dtype: str, weights: str) -> DiffusionModel:
    """Return a model in another precision. The last one is kept for the next row.

    The fingerprint of the weights tells a model from itself before further training.
    """
    return in_precision(model, dtype)
