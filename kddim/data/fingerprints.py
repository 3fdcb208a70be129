"""Fingerprints of data sources, which change with their content, without decoding images."""

import hashlib
import os
from collections.abc import Iterable
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
    if path.is_dir():
        return fingerprint_of_pictures(path, scan(path).pictures)
    if path.is_file():  # Files of different arrays may agree in size and in time.
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest()[:32]
    return None


def fingerprint_of_pictures(folder: Path, pictures: Iterable[Path]) -> str:
    """Return a hash of the names, sizes and modification times of pictures.

    Args:
        folder: Folder of the pictures. Its own path does not matter.
        pictures: Paths in this folder, or below it.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for picture in pictures:
        name, state = picture.relative_to(folder).as_posix(), picture.stat()
        line = f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))  # names may be any bytes
    return digest.hexdigest()[:32]
