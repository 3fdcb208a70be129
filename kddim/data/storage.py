"""Where decoded images live: in memory, or in a scratch file where they do not fit."""

import logging
import os
import tempfile

import numpy as np

log = logging.getLogger("kddim")


def available_memory() -> int:
    """Bytes of physical memory that are free to use; a generous guess where unknown."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 8 << 30


def allocate(shape: tuple[int, ...]) -> np.ndarray:
    """An uint8 array, in memory if it takes at most half of what is available.

    A larger one is mapped to a scratch file, which vanishes with the process; one line
    of the log says so.
    """
    size = int(np.prod(shape, dtype="int64"))
    if size <= available_memory() // 2:
        return np.empty(shape, "uint8")
    log.warning("%.1f GB of decoded images do not fit in memory: using a scratch file", size / 1e9)
    with tempfile.NamedTemporaryFile(prefix="kddim-", dir=os.environ.get("TMPDIR")) as file:
        return np.memmap(file, dtype="uint8", mode="w+", shape=shape)
