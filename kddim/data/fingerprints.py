"""Whether a source holds what it held before, without decoding it."""

import hashlib
import os
from pathlib import Path

from kddim.data.folder import find_pictures


def fingerprint(source: str | os.PathLike) -> str | None:
    """A hash of what a source has: of a folder names, sizes and times, of a file its content.

    Args:
        source: see `kddim.data.load`.

    Returns:
        32 hexadecimal digits; None where no files tell, such as of a TensorFlow data set.
    """
    path = Path(source)
    if str(source) == "digits":
        return "digits"
    if path.is_dir():
        entries = [
            (path.relative_to(source).as_posix(), path.stat()) for path in find_pictures(path)
        ]
    elif path.is_file():  # arrays of one shape have one size, and copies one time
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    else:
        return None
    digest = hashlib.sha256()
    for name, state in entries:
        digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]
