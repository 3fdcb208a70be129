"""Images at their own sizes, neither cropped nor resized."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kddim.data.arrays import read_arrays
from kddim.data.decode import set_channels, to_float32, to_mode
from kddim.data.digits import load_digits
from kddim.data.folder import list_pictures, report_unreadable

log = logging.getLogger("kddim")


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
        self._items = _items(source)
        if num_images is not None and num_images < len(self._items):
            chosen = np.random.default_rng(0).permutation(len(self._items))[:num_images]
            self._items = [self._items[index] for index in sorted(chosen)]
        # A metric that uses only the first images must not see only the first classes.
        order = np.random.default_rng(1).permutation(len(self._items))
        self._items = [self._items[index] for index in order]

    def __len__(self) -> int:
        """Return the number of images, including unreadable ones."""
        return len(self._items)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Yield batches, each a list of float32 arrays `(height, width, channels)` in [0, 1].

        While the caller works on a batch, the next one is decoded.

        Raises:
            ValueError: If no image can be read.
        """
        unreadable: list[tuple[Path, str]] = []
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            now: Iterator[Any] = iter(())
            for part in [*self._parts(), []]:
                ahead = pool.map(_decode, part)
                found = list(now)
                unreadable += [item for item in found if isinstance(item, tuple)]
                if batch := [item for item in found if not isinstance(item, tuple)]:
                    yield batch
                now = ahead
        if len(unreadable) == len(self._items):
            raise ValueError(
                f"Expected at least one readable picture. Received: {len(unreadable)} files, none "
                f"of which can be decoded ({unreadable[0][1]})"
            )
        if unreadable:
            report_unreadable(unreadable)

    def _parts(self) -> Iterator[list[Any]]:
        for start in range(0, len(self._items), self.batch_size):
            yield self._items[start : start + self.batch_size]


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
    """Return an image, or a path and the reason if it cannot be read."""
    if isinstance(item, np.ndarray):
        return to_float32(set_channels(item, 3) if item.shape[-1] == 1 else item)
    try:
        with Image.open(item) as image:
            return to_float32(np.asarray(to_mode(image, 3)))
    except Exception as error:  # Pillow's decoders raise errors of many types.
        return item, f"{type(error).__name__}: {error}"
