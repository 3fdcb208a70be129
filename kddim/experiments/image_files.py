"""Image sets as files, written batch by batch: a folder of PNG files, one grid, or an array."""

import dataclasses
import itertools
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kddim.files import check_output
from kddim.images import as_picture, grid, save_png, to_uint8
from kddim.streams import save_npz, save_png_rows

log = logging.getLogger("kddim")

_MOST_PIXELS = 80_000_000  # of a grid; image programs refuse larger pictures


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Images of 8 bits that are read batch by batch.

    Args:
        count: Number of images, at least 1.
        shape: `(height, width, channels)` of an image.
        read: Function that returns an iterator of the batches, `(batch, height, width,
            channels)` each, uint8, or floats in [0, 1].
    """

    count: int
    shape: Sequence[int]
    read: Callable[[], Iterator[np.ndarray]]

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
        save_grid(pixels, path)
    elif path.suffix.lower() == ".npz":
        save_npz(path, "images", (pixels.count, *pixels.shape), pixels.batches())
    else:
        for index, image in enumerate(pixels.images()):
            save_png(path / f"{index:05d}.png", image)
        save_grid(pixels, path / "grid.png")


def shown_in_grid(count: int, shape: Sequence[int]) -> int:
    """Return the number of images that a grid shows.

    Args:
        count: Number of images that there are.
        shape: `(height, width, channels)` of an image.
    """
    height, width = as_picture(grid(np.zeros((1, *shape), "float32"), 1)).shape[:2]
    return min(count, max(1, _MOST_PIXELS // (height * width)))


def save_grid(pixels: Pixels, path: Path) -> None:
    """Write the images as one picture, about twice as wide as high.

    Args:
        pixels: The images. Only the first ones are shown if all do not fit in a picture that
            image programs open.
        path: PNG file to write.
    """
    shown = shown_in_grid(pixels.count, pixels.shape)
    columns = math.ceil(math.sqrt(shown * 2))
    margin, height = _strip_heights(pixels.shape)
    strips = _strips(itertools.islice(pixels.images(), shown), columns, margin)
    first = next(strips)
    save_png_rows(
        path,
        height=margin + height * math.ceil(shown / columns),
        width=first.shape[1],
        channels=first.shape[2],
        parts=itertools.chain([first], strips),
    )


def _strips(images: Iterator[np.ndarray], columns: int, margin: int) -> Iterator[np.ndarray]:
    """Yield the rows of a grid from the top to the bottom, as uint8 strips of a picture.

    Args:
        images: Images as uint8 arrays.
        columns: Number of images per row.
        margin: Height of the white margin above the first row.
    """
    top = 0
    while row := list(itertools.islice(images, columns)):
        strip = as_picture(grid(np.stack(row).astype("float32") / 255.0, columns)[top:])
        yield strip.reshape(*strip.shape[:2], -1)
        top = margin  # the row before has it below


def _strip_heights(shape: Sequence[int]) -> tuple[int, int]:
    """Return the height of a grid's margin, and that of a row with the margin below it."""
    one, two = (grid(np.zeros((n, *shape), "float32"), 1).shape[0] for n in (1, 2))
    return one - (two - one), two - one
