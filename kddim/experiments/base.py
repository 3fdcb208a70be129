"""The loop that every experiment shares."""

import abc
import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kddim import samplers, schedules
from kddim.experiments.ledger import Ledger, fingerprint, unfinished
from kddim.files import check_output
from kddim.model import DiffusionModel
from kddim.progress import show_progress

log = logging.getLogger("kddim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(abc.ABC):
    """Evidence about one model, in cells that are computed one after the other.

    A subclass is a frozen dataclass that lists its options, checks them in
    `__post_init__`, and defines the methods below; `run` does the rest: it tells the
    budget, keeps each cell's result on the disk, and goes on where it was stopped.

    Args:
        model: what the experiment is about.
        schedule: to sample on; None is the model's.
        seed: of the noises.
        batch_size: images computed at once.
    """

    model: DiffusionModel
    schedule: Any = None
    seed: int = 0
    batch_size: int = 64

    name: ClassVar[str]
    # What the folder receives, by ending; an output of that ending is this file alone.
    products: ClassVar[dict[str, str]] = {}

    def __post_init__(self):
        if isinstance(self.batch_size, bool) or not self.batch_size >= 1:
            raise ValueError(f"Expected `batch_size` of at least 1. Received: {self.batch_size}")

    # What a subclass defines.

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides the results beside the fields of this class, as JSON values."""

    @abc.abstractmethod
    def cells(self) -> dict[str, int]:
        """Keys of the cells, usable as file names, with the batches that each evaluates.

        Raises:
            ValueError: a setting that cannot be computed.
        """

    @abc.abstractmethod
    def compute(self, key: str, callback: Callable) -> tuple[dict[str, Any], np.ndarray | None]:
        """One cell's numbers, and its array if there is one to keep.

        Args:
            key: of the cell.
            callback: to be given to `generate`, `encode` and their like.
        """

    @abc.abstractmethod
    def sampler_of(self, key: str) -> samplers.Sampler:
        """The sampler of a cell."""

    @abc.abstractmethod
    def write(self, ledger: Ledger) -> None:
        """Tables and pictures of the cells that are there, into the ledger's folder."""

    # What all experiments share.

    def run(
        self, output: str | os.PathLike, *, overwrite: bool = False, verbose: int = 0
    ) -> list[dict[str, Any]]:
        """Computes the cells that are missing, and writes tables and pictures.

        Args:
            output: folder to make, or one of the same experiment to go on with; or a
                file of an ending in `products`, to have that one alone.
            overwrite: starts anew, whatever is there.
            verbose: 1 draws a progress bar.

        Returns:
            The cells' numbers, in the order of `cells`.

        Raises:
            ValueError: something else is there, or the experiment with other settings,
                and `overwrite` is not set; an ending that is none of `products`.
        """
        output = Path(output)
        ending = output.suffix[1:]  # v1.0 is a folder's name
        if not (ending.isascii() and ending.isalpha()) or output.is_dir():
            ledger = Ledger(output, self.all_settings(), overwrite=overwrite)
            hint = " without --overwrite" if overwrite else ""
            return self._run_in(ledger, verbose, hint)
        if output.suffix.lower() not in self.products:
            raise ValueError(
                f"Expected a folder, or a file ending {' or '.join(self.products)}. "
                f"Received: {output}"
            )
        check_output(output, overwrite)
        with unfinished(output, self.all_settings()) as ledger:
            results = self._run_in(ledger, verbose)
            os.replace(ledger.folder / self.products[output.suffix.lower()], output)
        return results

    def _run_in(self, ledger: Ledger, verbose: int, hint: str = "") -> list[dict[str, Any]]:
        cells = self.cells()
        left = {key: batches for key, batches in cells.items() if key not in ledger}
        what = f"{self.name}: {len(left)} of {len(cells)} parts to do"
        budget = sum(left.values()), self.batch_size
        try:
            with show_progress(self.model, what, *budget, verbose) as progress:
                for key in left:
                    per_step = self.sampler_of(key).num_evaluations(1)
                    result, array = self.compute(key, progress.callback(per_step))
                    ledger.record(key, result, array)
                    if words := summary(result):
                        progress.tell(f"{key}: {words}")
                    self.write(ledger)
        except KeyboardInterrupt:
            log.info("stopped; the same command%s goes on from here", hint)
            raise
        if not left:
            self.write(ledger)
        return [ledger.cells[key] for key in cells]

    def all_settings(self) -> dict[str, Any]:
        """What decides the results; a record of others is not gone on with."""
        return {
            "experiment": self.name,
            "model": fingerprint(self.model),
            "schedule": str(self.sampling_schedule),
            "seed": self.seed,
            "dtype": _dtype(self.model),
        } | self.settings()

    @property
    def sampling_schedule(self) -> schedules.Schedule:
        return self.model.schedule if self.schedule is None else schedules.get(self.schedule)

    def generate(self, num_images: int, steps: int, sampler: Any, **kwargs: Any) -> np.ndarray:
        """The model's images with this experiment's options."""
        options = {"seed": self.seed, "batch_size": self.batch_size, "schedule": self.schedule}
        return self.model.generate(num_images, steps, sampler, **options | kwargs)

    def num_evaluations(self, sampler: samplers.Sampler, steps: int, num_images: int) -> int:
        """Batches that the network sees, once the sampler is seen to take these steps."""
        sampler.coefficients(sampler.rates(self.sampling_schedule, steps))
        return sampler.num_evaluations(steps) * -(-num_images // self.batch_size)


def check_several(name: str, values: Any) -> tuple[int, ...]:
    """Numbers of steps or images as a tuple of ints of at least 1.

    Raises:
        ValueError: there is none, or one that is no such int, or one twice.
    """
    values = tuple(values) if isinstance(values, Iterable) else (values,)
    counts = [hasattr(v, "__index__") and not isinstance(v, bool) and v >= 1 for v in values]
    if not values or not all(counts) or len(set(values)) < len(values):
        raise ValueError(
            f"Expected `{name}` as different ints of at least 1. Received: {list(values)}"
        )
    return tuple(int(v) for v in values)


def _dtype(model: DiffusionModel) -> str:
    """The precision that the network was loaded with, which its file does not say."""
    layers = model.ema_network._flatten_layers(include_self=False)
    return ", ".join(sorted({layer.dtype_policy.name for layer in layers}))


def summary(result: Mapping[str, Any]) -> str:
    """A cell's numbers in one line."""
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.4g}"
        for key, value in result.items()
        if isinstance(value, float)
    )
