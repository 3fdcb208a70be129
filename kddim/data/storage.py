"""Storage of decoded images, in memory or in a scratch file."""

import logging
import math
import os
import shutil
import tempfile

import numpy as np

from kddim.budget import free_memory, size_in_words

log = logging.getLogger("kddim")


def allocate(shape: tuple[int, ...]) -> np.ndarray:
    """Return an uninitialised uint8 array.

    The array is in memory if it takes at most half of the free memory. Otherwise it is mapped to
    a scratch file in `TMPDIR`, which is deleted when the process ends, and a warning is logged.

    Args:
        shape: Shape of the array.

    Raises:
        ValueError: If the array fits neither in memory nor on the disk.
    """
    if fits_in_memory(shape):
        return np.empty(shape, "uint8")
    folder = _scratch_folder()
    log.warning(
        "%s do not fit in half of the free memory: using a scratch file in %s",
        _words(shape),
        folder,
    )
    with tempfile.NamedTemporaryFile(prefix="kddim-", dir=folder) as file:
        return np.memmap(file, dtype="uint8", mode="w+", shape=shape)


def fits_in_memory(shape: tuple[int, ...]) -> bool:
    """Return True if `allocate` would put an array in memory, and False for a scratch file.

    Args:
        shape: Shape of the array.

    Raises:
        ValueError: If the array fits neither in memory nor on the disk.
    """
    size, free = math.prod(shape), free_memory()
    if size <= free // 2:
        return True
    folder = _scratch_folder()
    on_disk = shutil.disk_usage(folder).free
    if size <= on_disk:
        return False
    raise ValueError(
        f"Expected {_words(shape)} to fit in half of the free memory of {size_in_words(free)}, or "
        f"in the {size_in_words(on_disk)} free in {folder}. Received: {size_in_words(size)}. "
        "Choose a smaller --image-size or --limit, or a TMPDIR on a larger disk."
    )


def _scratch_folder() -> str:
    return os.environ.get("TMPDIR") or tempfile.gettempdir()


def _words(shape: tuple[int, ...]) -> str:
    return f"{shape[0]:,} images of {'x'.join(map(str, shape[1:]))}"
