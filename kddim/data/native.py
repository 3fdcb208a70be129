"""Images at their own sizes, neither cropped nor resized."""

import itertools
import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kddim.checks import printable
from kddim.data.arrays import as_pixels, read_images
from kddim.data.decode import set_channels, to_float32, to_mode
from kddim.data.digits import load_digits
from kddim.data.pictures import DecodingMemory, open_picture, quiet_pillow
from kddim.data.scan import list_pictures
from kddim.data.skipped import Unreadable, report_skipped

# Decoded pictures as float32, those of the next batch, and copies in the encoder.
_BYTES_PER_PIXEL = 100


class NativeImages:
    """Images of a source at their own sizes, as lists of float32 arrays in [0, 1].

    Grey pictures become RGB. Transparent pixels are blended with white. The order of the images is
    random, and always the same.

    Args:
        source: "digits", a folder of pictures (including its subfolders), or a `.npy` or `.npz`
            file.
        num_images: Maximum number of images, chosen at random. The choice is always the same. None
            takes all.
        batch_size: Number of images that are decoded at once, at most. Large pictures come in
            smaller batches.

    Attributes:
        skipped: Files and folders that cannot be read. The files are known after an iteration.

    Raises:
        ValueError: If there is no such source, or if it has no images.

    Example:
        >>> for batch in NativeImages("pictures"):
        ...     features = encoder.of_any_sizes(batch)
    """

    def __init__(self, source: Any, num_images: int | None = None, batch_size: int = 64):
        self.batch_size = batch_size
        items, self._not_listed = _items(source)
        self.skipped: list[Unreadable] = list(self._not_listed)
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
        self.skipped = list(self._not_listed)
        with quiet_pillow(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            batches = (pool.map(_decode, part) for part in self._parts(pool))
            # `pairwise` starts the next batch before it gives the current one.
            for batch, _ in itertools.pairwise(itertools.chain(batches, [iter(())])):
                if images := list(self._readable(batch)):
                    yield images
        num_failed = len(self.skipped) - len(self._not_listed)
        report_skipped(sorted(self.skipped), len(self._items) - num_failed)

    def _readable(self, found: Iterable[Any]) -> Iterator[Any]:
        """Yield what was found, and note what cannot be read."""
        for item in found:
            if isinstance(item, Unreadable):
                self.skipped.append(item)
            else:
                yield item

    def _parts(self, pool: ThreadPoolExecutor) -> Iterator[list[Any]]:
        """Yield items in batches whose pictures fit in memory."""
        memory = DecodingMemory(_BYTES_PER_PIXEL)
        for start in range(0, len(self._items), self.batch_size):
            items = self._items[start : start + self.batch_size]
            part: list[Any] = []
            taken = 0
            for item, size in self._readable(pool.map(_measure, items, [memory] * len(items))):
                if part and taken + size > memory.total:
                    yield part
                    part, taken = [], 0
                part.append(item)
                taken += size
            if part:
                yield part


def _items(source: Any) -> tuple[list[Any], list[Unreadable]]:
    """Return the paths of pictures or the images themselves, and what is no picture."""
    path = Path(source)
    if str(source) == "digits":
        return list(load_digits()), []
    if str(source) and path.is_dir():
        found = list_pictures(path)
        return list(found.pictures), found.skipped
    if path.suffix.lower() in (".npy", ".npz"):
        return list(read_images(path)), []
    raise ValueError(
        'Expected "digits", a folder of pictures, or a .npy or .npz file, for images at their own '
        f"sizes. Received: {printable(source)!r}. Other sources need an image size."
    )


def _measure(item: Any, memory: DecodingMemory) -> Any:
    """Return an item with the number of bytes that it takes, or an `Unreadable`."""
    if isinstance(item, np.ndarray):
        return item, memory.bytes_per_pixel * math.prod(item.shape[:2])
    return open_picture(item, lambda picture: (item, memory.size(picture)))


def _decode(item: Any) -> Any:
    """Return an image, or an `Unreadable`."""
    if isinstance(item, np.ndarray):
        image = to_float32(as_pixels(item))
        return set_channels(image, 3) if image.shape[-1] == 1 else image
    return open_picture(item, lambda picture: to_float32(np.asarray(to_mode(picture, 3))))
