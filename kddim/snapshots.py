"""Snapshots of averages: files whose number stays bounded however long a training is."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kddim import npz
from kddim.checks import check_count
from kddim.files import atomic_write, remove_partial_files
from kddim.power_average import check_length

_NAME = re.compile(r"step_(\d{8,})\.npz")
_WORDS = "a snapshot of averages, which PowerAverageCallback (kddim train --power-ema) writes"


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Averages of several lengths after the same step.

    Attributes:
        step: Number of steps of the averages.
        lengths: Lengths of the averages.
        sizes: Numbers of values of the variables, in their order.
        values: Float32 averages `(lengths, values)`.
    """

    step: int
    lengths: tuple[float, ...]
    sizes: tuple[int, ...]
    values: np.ndarray = dataclasses.field(repr=False)


class SnapshotFolder:
    """Folder of evenly spaced snapshots.

    The interval between them is `every` times a power of two. It doubles as soon as there would
    be more than `most` of them, and every second one is removed. The newest one, at any step,
    is kept besides. Which ones there are depends only on the number of steps. A training that is
    stopped, goes on or is extended therefore has the same ones.

    Args:
        folder: Folder of the files. It is created with the first one.
        most: Largest number of snapshots besides the newest, at least 2.
        every: Smallest number of steps between two snapshots, at least 1.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, folder: str | os.PathLike, most: int = 32, every: int = 1):
        self.folder = Path(folder)
        self.most = check_count("snapshots", most, 2)
        self.every = check_count("every_steps", every)

    def paths(self) -> dict[int, Path]:
        """Return the files by their steps, the first step first."""
        found = {}
        for path in self.folder.glob("step_*.npz"):
            if match := _NAME.fullmatch(path.name):
                found[int(match[1])] = path
        return dict(sorted(found.items()))

    def interval(self, step: int) -> int:
        """Return the number of steps between the snapshots that are kept after a step."""
        interval = self.every
        while step // interval > self.most:
            interval *= 2
        return interval

    def is_due(self, before: int, step: int) -> bool:
        """Return True if a snapshot is written after a step.

        Args:
            before: Last step at which this was asked.
            step: Step that has ended.
        """
        interval = self.interval(step)
        return step // interval > before // interval

    def save(self, snapshot: Snapshot) -> Path:
        """Write a snapshot as a whole or not at all, and remove those that are not kept.

        Args:
            snapshot: The averages.

        Returns:
            The path of the file.
        """
        path = self.folder / f"step_{snapshot.step:08d}.npz"
        with atomic_write(path) as partial:
            np.savez(
                partial,
                step=np.array(snapshot.step, "int64"),
                lengths=np.array(snapshot.lengths, "float64"),
                sizes=np.array(snapshot.sizes, "int64"),
                values=np.asarray(snapshot.values, "float32"),
            )
        self._thin_out(snapshot.step)
        return path

    def _thin_out(self, step: int) -> None:
        """Keep the first snapshot of each interval, and the newest."""
        interval, seen = self.interval(step), {0}
        for other, path in self.paths().items():
            if other // interval in seen and other != step:
                path.unlink(missing_ok=True)
            seen.add(other // interval)

    def forget(self, step: int) -> None:
        """Remove the snapshots after a step, and what a killed process left.

        Args:
            step: Step from which the training goes on.
        """
        remove_partial_files(self.folder)
        for other, path in self.paths().items():
            if other > step:
                path.unlink(missing_ok=True)


def read_snapshot(path: Path) -> Snapshot:
    """Read a file that `SnapshotFolder.save` wrote.

    Args:
        path: File to read.

    Raises:
        ValueError: If it is damaged, or holds something else.
    """
    arrays = npz.read_arrays(path, ("step", "lengths", "sizes", "values"), what=_WORDS)
    step, lengths, sizes, values = arrays.values()
    whole = (
        (step.dtype, sizes.dtype, values.dtype) == ("int64", "int64", "float32")
        and (step.ndim, lengths.ndim, sizes.ndim) == (0, 1, 1)
        and values.shape == (len(lengths), int(sizes.sum()))
        and step > 0
    )
    if not whole:
        raise ValueError(f"Expected {_WORDS}. Received: {path}, whose arrays do not fit together")
    found = tuple(check_length(float(length)) for length in lengths)
    return Snapshot(int(step), found, tuple(map(int, sizes)), values)


def same_structure(snapshot: Snapshot, sizes: Sequence[int]) -> bool:
    """Return True if a snapshot is of a network with variables of these sizes."""
    return list(snapshot.sizes) == list(sizes)
