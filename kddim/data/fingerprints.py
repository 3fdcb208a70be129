"""Fingerprints of data sources, which change with their content, without decoding images."""

import hashlib
import os
from pathlib import Path

from kddim.data.scan import scan


def fingerprint(source: str | os.PathLike) -> str | None:
    """Return a hash of the content of a data source.

    The hash of a folder is that of the names, sizes and modification times of its pictures. The
    hash of a file is that of its bytes.

    Args:
        source: Source of images, as for `kddim.data.load`.

    Returns:
        32 hexadecimal digits, or "digits" for the embedded data set. None for a source without
        files of its own, such as a TensorFlow data set.
    """
    path = Path(source)
    if str(source) == "digits":
        return "digits"
    digest = hashlib.sha256()
    if path.is_dir():
        for picture in scan(path).pictures:
            name, state = picture.relative_to(path).as_posix(), picture.stat()
            line = f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))  # names may be any bytes
    elif path.is_file():  # Files of different arrays may agree in size and in time.
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    else:
        return None
    return digest.hexdigest()[:32]
