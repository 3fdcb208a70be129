"""The loop that all experiments share, and the cells that it computes."""

import abc
import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kddim.checks import MOST_IMAGES, check_count
from kddim.experiments.ledger import Ledger, fingerprint, precision
from kddim.experiments.unfinished import Unfinished, prepare
from kddim.files import check_output, is_full, writing
from kddim.images import check_finite_images
from kddim.locks import output_lock
from kddim.model import DiffusionModel
from kddim.progress import show_progress
from kddim.recipe import Recipe
from kddim.samplers.times import check_steps

log = logging.getLogger("kddim")

_OWN_NAMES = {Ledger.NAME, "arrays"}  # in the folder of any experiment
# Numbers of a cell as JSON values, and its array if there is one to keep.
Result = tuple[dict[str, Any], np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One part of an experiment: a number of images that one recipe samples.

    Args:
        recipe: How the images are sampled.
        num_images: Number of images, at least 1.
        options: More keyword arguments of `DiffusionModel.generate`, such as `start`.
        passes: Number of times that each image goes through all steps.
    """

    recipe: Recipe
    num_images: int
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    passes: int = 1

    @property
    def num_evaluations(self) -> int:
        """Number of network calls, each of one batch."""
        return self.passes * self.recipe.num_batch_evaluations(self.num_images)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(abc.ABC):
    """Base class of experiments, which compute their cells one after the other.

    A subclass is a frozen dataclass that lists its options and implements `cells`, `compute`
    and `write`. The inherited `run` logs the cost, keeps the result of each cell on disk and
    resumes an interrupted run. `__post_init__` checks the options that a `Recipe` has too and
    the counts in `least`, so that a subclass only checks the others.

    Args:
        model: Trained model that the experiment examines.
        schedule: Name, configuration or `kddim.schedules.Schedule` to sample on. None is the
            schedule of the model.
        seed: Seed of the noises.
        batch_size: Number of images per batch, at least 1.
        guidance_scale: Scale of guidance. 1 is off.
        guidance_interval: Noise levels `(low, high)` that are guided. None guides all.

    Raises:
        ValueError: If an option is out of range.
    """

    model: DiffusionModel
    schedule: Any = None
    seed: int = 0
    batch_size: int = 64
    guidance_scale: float = 1.0
    guidance_interval: tuple[float, float] | None = None

    name: ClassVar[str]
    # Names of the files in the folder, by suffix. A run whose output is a file with such a
    # suffix leaves only this file.
    products: ClassVar[Mapping[str, str]] = {}
    # Smallest values of the subclass' counts, by name.
    least: ClassVar[Mapping[str, int]] = {}
    # Names of the subclass' options that decide the results.
    recorded: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        names = [f.name for f in dataclasses.fields(Recipe) if hasattr(self, f.name)]
        checked = Recipe(**{name: getattr(self, name) for name in names})
        self._set(**{name: getattr(checked, name) for name in names})
        for name, least in self.least.items():
            self._set(**{name: check_count(name, getattr(self, name), least, MOST_IMAGES)})

    def _set(self, **options: Any) -> None:
        """Replace options by their checked values. Only `__post_init__` may call this."""
        for name, value in options.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen

    @abc.abstractmethod
    def cells(self) -> dict[str, Cell]:
        """Return the cells in the order of computing, by keys that can serve as file names.

        Raises:
            ValueError: If a cell cannot be computed.
        """

    @abc.abstractmethod
    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Return the numbers of one cell, and its array or None.

        Both are kept on disk.

        Args:
            key: Key of the cell.
            cell: The cell.
            callback: Callback to pass to `generate`, `encode` or `decode`.
        """

    @abc.abstractmethod
    def write(self, ledger: Ledger) -> None:
        """Write tables and pictures of the cells computed so far.

        Args:
            ledger: Results so far. Files go into its folder.
        """

    def run(
        self, output: str | os.PathLike, *, overwrite: bool = False, verbose: int = 0
    ) -> list[dict[str, Any]]:
        """Compute the missing cells, and write tables and pictures.

        Args:
            output: Folder to create, or folder of an earlier run to resume. A path with a
                suffix in `products` receives only that file.
            overwrite: If true, ignore earlier results and start over. They are replaced at
                the end, in one step. Files that are not of the experiment stay.
            verbose: 1 shows a progress bar, 0 logs lines only.

        Returns:
            One row of numbers per cell, in the order of `cells`.

        Raises:
            ValueError: If `overwrite` is false and the output holds something else, or the same
                experiment with other settings. If the suffix is not in `products`.
        """
        output = Path(output)
        ending = output.suffix[1:]
        # Only letters make a file suffix: `v1.0` is the name of a folder.
        product = None
        if ending.isascii() and ending.isalpha() and not output.is_dir():
            product = self._product_of(output)
        with resumable(output), output_lock(output):
            if product or overwrite:
                return self._run_beside(output, product, overwrite, verbose)
            Unfinished(output).recover()
            return self._run_in(Ledger(output, self.settings()), verbose)

    def _product_of(self, output: Path) -> str:
        """Return the name of the file in the folder that a file as output receives."""
        if output.suffix.lower() not in self.products:
            raise ValueError(
                f"Expected a folder, or a file ending {' or '.join(self.products)}. "
                f"Received: {output}"
            )
        return self.products[output.suffix.lower()]

    def _run_beside(
        self, output: Path, product: str | None, overwrite: bool, verbose: int
    ) -> list[dict[str, Any]]:
        """Compute everything in a hidden folder, and put the output in place at the end."""
        unfinished = prepare(output, overwrite, check_output if product else _check_folder)
        with unfinished.ledger(self.settings()) as ledger:
            rows = self._run_in(ledger, verbose)
            if product:
                unfinished.place(ledger.folder / product)
            else:
                unfinished.place(unfinished.copy_of(ledger), is_ours=_OWN_NAMES.__contains__)
        return rows

    def _run_in(self, ledger: Ledger, verbose: int) -> list[dict[str, Any]]:
        cells = self.cells()
        left = {key: cell for key, cell in cells.items() if key not in ledger}
        what = f"{self.name}: {len(left)} of {len(cells)} parts to do"
        evaluations = sum(cell.num_evaluations for cell in left.values())
        batch_size = min(self.batch_size, max(cell.num_images for cell in cells.values()))
        with show_progress(self.model, what, evaluations, batch_size, verbose) as progress:
            for key, cell in left.items():
                per_step = cell.recipe.sampler.num_evaluations(1)
                result, array = self.compute(key, cell, progress.callback(per_step))
                ledger.record(key, result, array)
                if words := summary(result):
                    progress.tell(f"{key}: {words}")
                self.write(ledger)
        if not left:
            self.write(ledger)
        return self.rows(ledger)

    def settings(self) -> dict[str, Any]:
        """Return all values that decide the results. A record with other values is not resumed."""
        guided = ("guidance_scale", "guidance_interval") if self.guidance_scale != 1.0 else ()
        return {
            "experiment": self.name,
            "model": fingerprint(self.model),
            "schedule": str(self.schedule or self.model.schedule),
            "seed": self.seed,
            "dtype": precision(self.model),
        } | {name: getattr(self, name) for name in (*self.recorded, *guided)}

    def rows(self, ledger: Ledger) -> list[dict[str, Any]]:
        """Return the numbers of the cells computed so far, in the order of `cells`."""
        return [ledger.cells[key] for key in self.cells() if key in ledger]

    def recipe(self, sampler: Any, diffusion_steps: int) -> Recipe:
        """Return the recipe of a sampler and a number of steps, with this experiment's options.

        Raises:
            ValueError: If the sampler cannot take these steps on the schedule.
        """
        guidance = self.guidance_scale, self.guidance_interval
        options = self.schedule, self.seed, self.batch_size, *guidance
        recipe = Recipe(sampler, diffusion_steps, *options)
        recipe = recipe.for_model(self.model)
        rates = recipe.sampler.rates(self.schedule or self.model.schedule, diffusion_steps)
        recipe.sampler.coefficients(rates)
        return recipe

    def generate(self, cell: Cell, callback: Callable) -> np.ndarray:
        """Return the images of a cell, `(num_images, height, width, channels)` in [0, 1]."""
        options = {**cell.recipe.options, **cell.options}
        images = self.model.generate(cell.num_images, callback=callback, **options)
        check_finite_images(images)
        return images


@contextlib.contextmanager
def resumable(output: Path) -> Iterator[None]:
    """Say how to go on if the block is interrupted, or if the disk is full.

    Args:
        output: File or folder that the block writes.
    """
    try:
        with writing(output):
            yield
    except KeyboardInterrupt:
        log.info("stopped: run the same command again to continue")
        raise
    except OSError as error:
        if is_full(error):
            told = OSError(f"{str(error).rstrip('.')}: it continues.")
            told.errno = error.errno
            raise told from error
        raise


def _check_folder(path: str | os.PathLike, overwrite: bool) -> None:
    if check_output(path, overwrite).is_file():
        raise ValueError(f"Expected a folder as output. Received: {path}, a file")


def check_several_steps(steps: Any) -> tuple[int, ...]:
    """Return one or several numbers of steps as a tuple of ints.

    Args:
        steps: Int or iterable of ints.

    Raises:
        ValueError: If there is no number, one number twice, or one that is not an int of at
            least 1.
    """
    steps = tuple(steps) if isinstance(steps, Iterable) else (steps,)
    counts = [hasattr(s, "__index__") and not isinstance(s, bool) and s >= 1 for s in steps]
    if not steps or not all(counts) or len(set(steps)) < len(steps):
        raise ValueError(f"Expected `steps` as different ints of at least 1. Received: {steps}")
    return tuple(check_steps(s) for s in steps)


def summary(result: Mapping[str, Any]) -> str:
    """Return the floats of a row in one line, such as `kid 0.1234, seconds 5.6`."""
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.4g}"
        for key, value in result.items()
        if isinstance(value, float)
    )
