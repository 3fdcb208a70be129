"""Memory that may still be taken, so that absurd sizes are refused before it is."""

import contextlib
import os
from pathlib import Path

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def free_memory() -> int:
    """Return the memory in bytes that this process may still take.

    It is the smallest of what the system has available, of what a limit of the container
    (cgroup) leaves, of what a limit of the process (`ulimit -v`) leaves, and of
    `KDDIM_MEMORY` if this environment variable holds a number of bytes.
    """
    import psutil

    found = [psutil.virtual_memory().available]
    found += [limit for limit in (_left_in_container(), _left_in_process()) if limit is not None]
    with contextlib.suppress(KeyError, ValueError):
        found.append(int(os.environ["KDDIM_MEMORY"]))
    return max(0, min(found))


def check_memory(needed: int, what: str, way_out: str = "") -> None:
    """Raise if something does not fit in the free memory.

    Call it before the memory is taken, with sizes from a header or from arguments.

    Args:
        needed: Number of bytes.
        what: Name of the thing that takes them, such as "400 images of 64x64x3".
        way_out: What the user can do, a sentence.

    Raises:
        ValueError: If `needed` is more than `free_memory`.
    """
    free = free_memory()
    if needed > free:
        raise ValueError(
            f"Expected {what} to fit in the free memory of {size_in_words(free)}. Received: "
            f"{size_in_words(needed)}. {way_out}".rstrip()
        )


def size_in_words(size: float) -> str:
    """Return a number of bytes in words, such as `3.2 GB`."""
    unit, size = 0, min(size, 10**300)  # larger ints are no floats
    while abs(size) >= 1000.0 and unit < len(_UNITS) - 1:
        size, unit = size / 1000.0, unit + 1
    return f"{size:.3g} {_UNITS[unit]}"


def _left_in_container() -> int | None:
    """Return what the limit of a container leaves, or None without a limit (Linux, cgroup 2)."""
    folder = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        used = int((folder / "memory.current").read_text())
        return int((folder / "memory.max").read_text()) - used  # "max" is no int: no limit
    return None


def _left_in_process() -> int | None:
    """Return what the limit of the address space leaves, or None without a limit."""
    with contextlib.suppress(ImportError, OSError):
        import resource

        import psutil

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            return limit - psutil.Process().memory_info().vms
    return None
