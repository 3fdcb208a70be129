"""Image sets as files, written batch by batch: a folder of PNG files, one grid, or an array."""

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kddim.experiments.image_grids import save_grid
from kddim.files import check_output
from kddim.images import save_png, to_uint8
from kddim.streams import save_npz

log = logging.getLogger("kddim")


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Images of 8 bits that are read batch by batch.

    Args:
        count: Number of images, at least 1.
        shape: `(height, width, channels)` of an image.
        read: Function that returns an iterator of the batches, `(batch, height, width,
            channels)` each, uint8, or floats in [0, 1].
        captions: Captions of the images in a grid, or None.
        before: uint8 images that a grid shows before the others, or None.
    """

    count: int
    shape: Sequence[int]
    read: Callable[[], Iterator[np.ndarray]]
    captions: Sequence[str] | None = None
    before: np.ndarray | None = None

    def batches(self) -> Iterator[np.ndarray]:
        """Yield the batches as uint8 arrays."""
        for batch in self.read():
            yield batch if batch.dtype == np.uint8 else to_uint8(batch)

    def images(self) -> Iterator[np.ndarray]:
        """Yield the images as uint8 arrays `(height, width, channels)`."""
        return itertools.chain.from_iterable(self.batches())


def check_images_output(path: str | os.PathLike, overwrite: bool) -> Path:
    """Return `path` if images can be written to it.

    Args:
        path: Folder, `.png` file (a grid) or `.npz` file (an array).
        overwrite: If true, something may be there already.

    Raises:
        ValueError: If something is there already and `overwrite` is false, if `path` names a
            file but is a folder (or the reverse), or if its suffix is another one.
    """
    path = check_output(path, overwrite)
    file_wanted = path.suffix.lower() in (".png", ".npz")
    if path.suffix and not file_wanted and not path.is_dir():
        raise ValueError(f"Expected a folder, a .png or a .npz file as output. Received: {path}")
    if path.exists() and path.is_dir() == file_wanted:
        kind = "folder" if path.is_dir() else "file"
        raise ValueError(
            f"Expected to write a {path.suffix or 'folder'} there. Received: {path}, a {kind}"
        )
    return path


def write_images(pixels: Pixels, path: Path) -> None:
    """Write images in one of three forms. Memory does not grow with their number.

    Args:
        pixels: The images.
        path: `.png` file for one grid, `.npz` file for a uint8 array `images`, or folder for
            `00000.png`, `00001.png`, ... and `grid.png`.
    """
    if path.suffix.lower() == ".png":
        write_grid(pixels, path)
    elif path.suffix.lower() == ".npz":
        save_npz(path, "images", (pixels.count, *pixels.shape), pixels.batches())
    else:
        write_pictures(pixels, path)
        write_grid(pixels, path / "grid.png")


def write_pictures(pixels: Pixels, folder: Path, first: int = 0) -> None:
    """Write images as PNG files.

    Args:
        pixels: The images.
        folder: Folder for `00000.png`, `00001.png`, ...
        first: Number of the first image.
    """
    for index, image in enumerate(pixels.images(), first):
        save_png(folder / f"{index:05d}.png", image)


def write_grid(pixels: Pixels, path: Path) -> None:
    """Write images as one picture, with their captions and those before.

    Args:
        pixels: The images.
        path: PNG file to write.
    """
    images, count, captions = pixels.images(), pixels.count, pixels.captions
    if pixels.before is not None:
        images, count = itertools.chain(pixels.before, images), count + len(pixels.before)
        captions = ["before"] * len(pixels.before) + ["after"] * pixels.count
    save_grid(images, count, pixels.shape, path, captions)
