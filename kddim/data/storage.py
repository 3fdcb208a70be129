"""Storage of decoded images, in memory or in a scratch file."""

import logging
import os
import tempfile

import numpy as np

log = logging.getLogger("kddim")


def available_memory() -> int:
    """Return the number of bytes of available memory, or 8 GiB if it is unknown."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 8 << 30


def allocate(shape: tuple[int, ...]) -> np.ndarray:
    """Return an uninitialised uint8 array.

    The array is in memory if it takes at most half of the available memory. Otherwise it is mapped
    to a scratch file in `TMPDIR`, which is deleted when the process ends, and a warning is logged.

    Args:
        shape: Shape of the array.
    """
    size = int(np.prod(shape, dtype="int64"))
    if size <= available_memory() // 2:
        return np.empty(shape, "uint8")
    log.warning("%.1f GB of decoded images do not fit in memory: using a scratch file", size / 1e9)
    with tempfile.NamedTemporaryFile(prefix="kddim-", dir=os.environ.get("TMPDIR")) as file:
        return np.memmap(file, dtype="uint8", mode="w+", shape=shape)
