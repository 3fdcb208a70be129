"""Images at their own sizes, neither cropped nor resized."""

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kddim.data.arrays import read_arrays
from kddim.data.decode import set_channels, to_float32, to_mode
from kddim.data.digits import load_digits
from kddim.data.folder import Unreadable, list_pictures, open_picture, report_unreadable


class NativeImages:
    """Images of a source at their own sizes, as lists of float32 arrays in [0, 1].

    Grey pictures become RGB. Transparent pixels are blended with white. The order of the images is
    random, and always the same.

    Args:
        source: "digits", a folder of pictures (including its subfolders), or a `.npy` or `.npz`
            file.
        num_images: Maximum number of images, chosen at random. The choice is always the same. None
            takes all.
        batch_size: Number of images that are decoded at once.

    Raises:
        ValueError: If there is no such source, or if it has no images.

    Example:
        >>> for batch in NativeImages("pictures"):
        ...     features = encoder.of_any_sizes(batch)
    """

    def __init__(self, source: Any, num_images: int | None = None, batch_size: int = 64):
        self.batch_size = batch_size
        items = _items(source)
        chosen = np.random.default_rng(0).permutation(len(items))[:num_images]
        # A metric that uses only the first images must not see only the first classes.
        order = np.random.default_rng(1).permutation(np.sort(chosen))
        self._items = [items[index] for index in order]

    def __len__(self) -> int:
        """Return the number of images, including unreadable ones."""
        return len(self._items)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Yield batches, each a list of float32 arrays `(height, width, channels)` in [0, 1].

        While the caller works on a batch, the next one is decoded.

        Raises:
            ValueError: If no image can be read.
        """
        unreadable: list[Unreadable] = []
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            parts = (
                pool.map(_decode, self._items[start : start + self.batch_size])
                for start in range(0, len(self._items), self.batch_size)
            )
            # `pairwise` starts the next part before it gives the current one.
            for part, _ in itertools.pairwise(itertools.chain(parts, [iter(())])):
                found: list[Any] = list(part)
                unreadable += [item for item in found if isinstance(item, Unreadable)]
                if batch := [item for item in found if not isinstance(item, Unreadable)]:
                    yield batch
        report_unreadable(unreadable, len(self._items))


def _items(source: Any) -> list[Any]:
    """Return the paths of pictures, or the images themselves."""
    path = Path(source)
    if str(source) == "digits":
        return list(load_digits())
    if path.is_dir():
        return list(list_pictures(path))
    if path.suffix.lower() in (".npy", ".npz"):
        return list(read_arrays(path))
    raise ValueError(
        'Expected "digits", a folder of pictures, or a .npy or .npz file, for images at their own '
        f"sizes. Received: {source}. Other sources need an image size."
    )


def _decode(item: Any) -> Any:
    """Return an image, or an `Unreadable`."""
    if isinstance(item, np.ndarray):
        return to_float32(set_channels(item, 3) if item.shape[-1] == 1 else item)
    return open_picture(item, lambda picture: to_float32(np.asarray(to_mode(picture, 3))))
