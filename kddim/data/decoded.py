"""Decoded images in the cache: each source is decoded once per size, and then read."""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kddim.cache import cached_path
from kddim.data.stored import StoredImages
from kddim.files import atomic_write, read_json, write_json
from kddim.locks import output_lock
from kddim.npz import parse_header

log = logging.getLogger("kddim")

_FORMAT = 1  # of the files; another one is another entry
_FOREVER = -1.0


class DecodedImages:
    """Entry of the cache: a `.npy` file of images, and a `.json` file that describes it.

    Both files are written as a whole or not at all, and the description last. An entry that is
    damaged, or of which one file is missing, is made again.

    Args:
        key: JSON values that decide the images: the source and how it is decoded.
    """

    def __init__(self, key: Mapping[str, Any]):
        self.key = json.loads(json.dumps({"format": _FORMAT, **key}, default=str))
        self.path = cached_path("images", self.key, ".npy")
        self.notes: dict[str, Any] = {}

    def open(self) -> StoredImages | None:
        """Return the images of the entry, or None if there is no valid entry.

        The attribute `notes` then holds what was recorded with the images.
        """
        description = read_json(self._description)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = description["content"]
            if description["sha256"] == _digest(content) and content["key"] == self.key:
                images = open_npy(self.path)
                if [*images.shape] == content["shape"]:
                    self.notes = content["notes"]
                    return images
        return None

    def make(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        batches: Callable[[dict[str, Any]], Iterable[np.ndarray]],
    ) -> StoredImages:
        """Return the images of the entry, which is written if there is none.

        If another process is writing it, wait for this process.

        Args:
            shape: Shape `(n, height, width, channels)`, with the largest number of images.
            dtype: Type of the values.
            batches: Function of a dict that returns batches of images. When the last batch has
                been taken, the JSON values in the dict are recorded with the images.

        Raises:
            OSError: If the entry cannot be written.
        """
        with output_lock(self.path, _FOREVER):
            images = self.open()
            if images is not None:
                return images
            self._description.unlink(missing_ok=True)
            self.notes = {}
            with atomic_write(self.path) as partial, partial.open("wb") as file:
                count = _write_npy(file, shape, dtype, batches(self.notes))
            content = {"key": self.key, "shape": [count, *shape[1:]], "notes": self.notes}
            write_json(self._description, {"sha256": _digest(content), "content": content}, None)
        return open_npy(self.path)

    def remove(self) -> None:
        """Remove the entry, so that it is made again."""
        self._description.unlink(missing_ok=True)

    @property
    def _description(self) -> Path:
        return self.path.with_suffix(".json")


def open_npy(path: str | os.PathLike) -> StoredImages:
    """Return the images of a `.npy` file, without reading them.

    Args:
        path: File of an array `(n, height, width, channels)` or `(n, height, width)` in C order.

    Raises:
        ValueError: If it is another file, or truncated.
    """
    with open(path, "rb") as file:
        try:
            shape, fortran, dtype = parse_header(file)
        except ValueError as error:
            raise ValueError(
                f"Expected a .npy file of images. Received: {path} ({error})"
            ) from error
        shape = (*shape, 1) if len(shape) == 3 else shape
        offset = file.tell()
        size = os.fstat(file.fileno()).st_size
    if fortran:
        raise ValueError(
            f"Expected images in C order in {path}. Received: an array in Fortran order. Save "
            "`np.ascontiguousarray(images)`."
        )
    expected = offset + int(np.prod(shape, dtype="int64")) * dtype.itemsize
    if len(shape) != 4 or size != expected:
        raise ValueError(
            f"Expected {expected} bytes of images (n, height, width, channels) in {path}. "
            f"Received: {size} bytes, shape {shape}"
        )
    return StoredImages(path, shape, dtype, offset)


def _write_npy(
    file: BinaryIO, shape: tuple[int, ...], dtype: Any, batches: Iterable[np.ndarray]
) -> int:
    """Write batches as one array, and return their number of images, at most `shape[0]`."""
    _write_header(file, shape, dtype)
    count = 0
    for batch in batches:
        file.write(np.ascontiguousarray(batch, dtype).data)
        count += len(batch)
    if count != shape[0]:
        file.seek(0)
        _write_header(file, (count, *shape[1:]), dtype)  # as long: it has room for any number
    return count


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: Any) -> None:
    described = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": described, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def in_batches(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover `count`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
