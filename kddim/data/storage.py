"""Choice between images in memory and images that are streamed from the disk."""

import logging
import math
import os
import shutil
from collections.abc import Iterable

import numpy as np

from kddim.budget import check_memory, free_memory, size_in_words
from kddim.cache import cache_folder
from kddim.data.stored import StoredImages

log = logging.getLogger("kddim")


def is_streamed(shape: tuple[int, ...], stream: bool | None, itemsize: int = 1) -> bool:
    """Return True if images are streamed, and False if they are kept in memory.

    Args:
        shape: Shape of all images together.
        stream: Choice of the user. None streams images that take more than half of the free
            memory.
        itemsize: Number of bytes per value.

    Raises:
        ValueError: If `stream` is false, and the images do not fit in the free memory.
    """
    size = math.prod(shape) * itemsize
    if stream is False:
        way_out = "Stream them with --stream, or choose a smaller --image-size or --limit."
        check_memory(size, words_of(shape), way_out)
    return bool(stream) if stream is not None else size > free_memory() // 2


def check_room(shape: tuple[int, ...], itemsize: int = 1) -> None:
    """Raise if images do not fit on the disk of the cache.

    Args:
        shape: Shape of all images together.
        itemsize: Number of bytes per value.

    Raises:
        ValueError: If they do not fit.
    """
    size, on_disk = math.prod(shape) * itemsize, _room_in_cache()
    if size > on_disk:
        raise ValueError(
            f"Expected {words_of(shape)} to fit in half of the free memory of "
            f"{size_in_words(free_memory())}, or in the {size_in_words(on_disk)} free in "
            f"{cache_folder()}. Received: {size_in_words(size)}. Choose a smaller --image-size or "
            "--limit, or a KDDIM_CACHE on a larger disk."
        )


def _room_in_cache() -> int:
    """Return the number of bytes that are free on the disk of the cache."""
    folder = cache_folder().absolute()
    existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    return shutil.disk_usage(existing).free


def in_its_place(images: StoredImages, stream: bool | None) -> StoredImages | np.ndarray:
    """Return images of the cache, read into memory if they are not to be streamed.

    Args:
        images: The images.
        stream: Choice of the user, as for `is_streamed`.
    """
    if not is_streamed(images.shape, stream, images.dtype.itemsize):
        return np.asarray(images)
    reason = "" if stream else "more than half of the free memory, "
    log.info("%s: %sstreamed from %s", words_of(images.shape), reason, images.path)
    return images


def in_memory(shape: tuple[int, ...], batches: Iterable[np.ndarray]) -> np.ndarray:
    """Return batches of uint8 images as one array.

    Args:
        shape: Shape of all images, with the largest number of them.
        batches: The images.
    """
    images, count = np.empty(shape, "uint8"), 0
    for batch in batches:
        images[count : count + len(batch)] = batch
        count += len(batch)
    return images[:count]


def words_of(shape: tuple[int, ...]) -> str:
    """Return words for images of a shape, such as "400 images of 64x64x3"."""
    return f"{shape[0]:,} images of {'x'.join(map(str, shape[1:]))}"
