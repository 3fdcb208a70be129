"""One shard of a generation, for the processes of a job array."""

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kddim.animations import save_animation
from kddim.experiments.base import Cell, Result, resumable
from kddim.experiments.generation import FRAMES, Generation, is_image
from kddim.experiments.image_files import Pixels, write_grid, write_images, write_pictures
from kddim.experiments.ledger import Ledger
from kddim.experiments.sharded_output import ShardedOutput
from kddim.files import make_folder
from kddim.shards import Shard

log = logging.getLogger("kddim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationShard(Generation):
    """Part of the images of a `Generation`, which several processes make together.

    The processes may run at once or one after the other, in any order, on any machines that
    share a file system. All shards together leave the same bytes as one `Generation`. For
    that, images are computed in the batches of the whole: a shard computes each batch that
    holds one of its images, and keeps its own images of it.

    Args:
        shard: Text such as "2/8", or a pair of ints.

    `Generation` documents the other arguments.

    Raises:
        ValueError: If an option is unknown or out of range, or if there are fewer images than
            shards.
    """

    shard: Any

    def __post_init__(self):
        super().__post_init__()
        self._set(shard=Shard.of(self.shard))
        self.shard.rows(self.num_images)

    def run(
        self, output: str | os.PathLike, *, overwrite: bool = False, verbose: int = 0
    ) -> list[dict[str, Any]]:
        """Generate the images of the shard, and complete the output if the others are there.

        A new folder receives the PNG files of a shard as soon as they are computed, and
        `grid.png` with the last shard. A `.png` or `.npz` file, or a folder that is replaced,
        receives everything with the last shard.

        Args:
            output: Output of all shards together, as for `Generation.run`.
            overwrite: If true, an earlier output is replaced once all shards are there.
            verbose: 1 shows a progress bar, 0 logs lines only.

        Returns:
            One row per batch of the shard.

        Raises:
            ValueError: If the output exists and `overwrite` is false, or if another process
                computes the same shard.
        """
        output = self.check_suffix(output)
        self._tell_of_waste()
        whole = ShardedOutput(output, self.shard, self.settings())
        with resumable(output), whole.ledger(overwrite) as ledger:
            rows = self._run_in(ledger, verbose)
            if output.suffix.lower() not in (".png", ".npz"):
                make_folder(whole.folder)
                first = self.shard.rows(self.num_images).start
                write_pictures(self._pixels([ledger]), whole.folder, first)
            missing = whole.finish(ledger, lambda: self._complete(whole), is_image)
        self._tell_what_is_missing(missing, output)
        return rows

    def cells(self) -> dict[str, Cell]:
        """Return the batches that hold images of the shard, and the animation in the first one."""
        rows = self.shard.rows(self.num_images)
        return {
            key: cell
            for key, cell in super().cells().items()
            if (self.shard.index == 1 if key == FRAMES else self._kept(cell, rows))
        }

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Return those images of a batch that belong to the shard."""
        result, array = super().compute(key, cell, callback)
        if key == FRAMES or array is None:
            return result, array
        kept = self._kept(cell, self.shard.rows(self.num_images))
        start = result["start"]
        array = array[kept.start - start : kept.stop - start]
        return {"start": kept.start, "images": len(kept)}, array

    def _kept(self, cell: Cell, rows: range) -> range:
        """Return the numbers of the images of a batch that are in `rows`."""
        start = cell.options["start"]
        return range(max(start, rows.start), min(start + cell.num_images, rows.stop))

    def _complete(self, whole: ShardedOutput) -> Path:
        """Write what needs all images, and return the file or folder to put in place."""
        ledgers = whole.ledgers()
        pixels = self._pixels(ledgers)
        if (suffix := whole.output.suffix.lower()) in (".png", ".npz"):
            product = whole.folder / f"images{suffix}"
            make_folder(product.parent)
            write_images(pixels, product)
            return product
        write_grid(pixels, whole.folder / "grid.png")
        if self.animate:
            save_animation(whole.folder / "animation.gif", list(ledgers[0].array(FRAMES)))
        return whole.folder

    def _pixels(self, ledgers: list[Ledger]) -> Pixels:
        """Return the images that ledgers hold, in their order."""

        def read() -> Iterator[np.ndarray]:
            return itertools.chain.from_iterable(map(_batches_of, ledgers))

        return Pixels(self.num_images, self.model.image_shape, read, self.captions())

    def _tell_of_waste(self) -> None:
        rows = self.shard.rows(self.num_images)
        computed = sum(cell.num_images for key, cell in self.cells().items() if key != FRAMES)
        if computed > 1.5 * len(rows):
            log.info(
                "shard %s computes %s images to keep %s, because images are computed in the "
                "batches of the whole. A smaller --batch-size for all shards avoids that",
                *(self.shard, f"{computed:,}", f"{len(rows):,}"),
            )

    def _tell_what_is_missing(self, missing: list[Shard], output: Path) -> None:
        if missing:
            there = self.shard.count - len(missing)
            names = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            log.info("%d of %d shards are there, missing: %s", there, self.shard.count, names)
        else:
            log.info("all %d shards are there: %s is complete", self.shard.count, output)


def _batches_of(ledger: Ledger) -> Iterator[np.ndarray]:
    """Yield the batches that the ledger of a shard holds, in the order of their images."""
    starts = [(row["start"], key) for key, row in ledger.cells.items() if "start" in row]
    return (ledger.array(key) for _, key in sorted(starts))
