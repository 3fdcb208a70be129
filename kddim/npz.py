"""Reading of `.npy` and `.npz` files that nobody vouches for.

Sizes come from the headers, before memory is taken. Nothing in a file is unpickled.
"""

import contextlib
import dataclasses
import math
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from kddim.budget import check_memory, size_in_words
from kddim.checks import printable, reason_of

ONLY = "arr_0"  # the name of the array of a `.npy` file, as `np.savez` names a first array

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that NumPy writes
_BLOCK = 1 << 24
# Deflate shrinks zeros to a thousandth, and pictures and weights to a third at best.
_BOMB_BYTES, _BOMB_RATIO = 1 << 30, 200


def headers(
    path: str | os.PathLike, *, what: str = "a NumPy file"
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return the shapes and the types of the arrays of a file, without reading them.

    Args:
        path: A `.npy` or `.npz` file. The content decides which, and not the ending.
        what: Noun phrase for the expected file, for error messages.

    Returns:
        `(shape, dtype)` by name. The array of a `.npy` file has the name "arr_0". Members of an
        archive that do not end in `.npy` are ignored.

    Raises:
        ValueError: If the file is missing or is another kind of file, or if an array is damaged
            or claims a size that it cannot have.
    """
    with _explained(path, what):
        return {name: (found.shape, found.dtype) for name, found in _arrays_of(path).items()}


def is_array(path: str | os.PathLike) -> bool:
    """Return True for a file of one array, and False for an archive.

    Args:
        path: A `.npy` or `.npz` file that `headers` accepts.
    """
    with open(path, "rb") as file:
        return file.read(2) != b"PK"


def read_arrays(
    path: str | os.PathLike, names: Iterable[str] | None = None, *, what: str = "a NumPy file"
) -> dict[str, np.ndarray]:
    """Read arrays from a file.

    Args:
        path: A `.npy` or `.npz` file. The content decides which, and not the ending.
        names: Names of the arrays to read, such as those of `headers`. None reads all.
        what: Noun phrase for the expected file, for error messages.

    Returns:
        Arrays by name.

    Raises:
        ValueError: If `headers` would raise, if an array is missing, is truncated or holds
            Python objects, or if the arrays do not fit in the free memory. No memory is taken
            before the sizes are known to be possible.
    """
    with _explained(path, what):
        found = _arrays_of(path)
        chosen = list(found if names is None else names)
        if missing := [name for name in chosen if name not in found]:
            raise ValueError(f"no array {missing[0]!r} among {list(found)}")
        for name in chosen:
            found[name].check()
    size = sum(found[name].size for name in chosen)
    check_memory(size, f"the arrays of {printable(path)}", "Read it where more memory is free.")
    with _explained(path, what):
        return {name: _read(path, found[name]) for name in chosen}


@dataclasses.dataclass(frozen=True)
class _Stored:
    """Array in a file, as its header describes it.

    Args:
        shape: Shape of the array.
        dtype: Type of the values.
        fortran: True if the first axis varies fastest in the file.
        packed: Number of bytes that the values take in the file, at most.
        member: Name of the member of an archive. None is the file itself.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    packed: int
    member: zipfile.ZipInfo | None = None

    @property
    def size(self) -> int:
        """Number of bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check(self) -> None:
        """Raise a ValueError if the array must not be read."""
        if self.dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded, because they can run any code")
        if self.size > _BOMB_BYTES and self.size > _BOMB_RATIO * self.packed:
            raise ValueError(
                f"{size_in_words(self.size)} compressed to {size_in_words(self.packed)}, as no "
                "real data can be. If they are meant, save them without compression"
            )


def _arrays_of(path: str | os.PathLike) -> dict[str, _Stored]:
    path = Path(path)
    if not path.is_file():  # neither a folder, nor a pipe, which would block
        raise ValueError("no such file" if not path.exists() else "not a regular file")
    total = path.stat().st_size
    if total == 0:
        raise ValueError("the file is empty")
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
        file.seek(0)
        return _arrays_of_archive(file) if is_archive else {ONLY: _header(file, total, None)}


def _arrays_of_archive(file: IO[bytes]) -> dict[str, _Stored]:
    found = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                name = member.filename.removesuffix(".npy")
                with _open_member(archive, member) as content:
                    found[name] = _header(content, member.file_size, member)
    return found


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    if member.flag_bits & 1:
        raise ValueError(f"{member.filename} is encrypted")
    if member.compress_type not in _METHODS:
        raise ValueError(f"{member.filename} has a compression that NumPy does not write")
    return archive.open(member)


def _header(content: IO[bytes], total: int, member: zipfile.ZipInfo | None) -> _Stored:
    """Return the array that a file of a number of bytes holds, if it can."""
    with _explained(None, f"{member.filename}: " if member else ""):
        shape, fortran, dtype = parse_header(content)
        if len(shape) > 64 or any(isinstance(side, bool) or side < 0 for side in shape):
            raise ValueError(f"shape {shape}"[:200])
        if math.prod(shape) >= 2**62:
            raise ValueError(f"shape {shape}, more values than any memory holds"[:200])
        stored = _Stored(shape, dtype, fortran, member.compress_size if member else total, member)
        held = total - content.tell()
        # Only a member of an archive ends with its array. Objects are pickled, at any size.
        if not dtype.hasobject and (stored.size > held or (member and stored.size < held)):
            raise ValueError(
                f"truncated or damaged: shape {shape} of {dtype} takes "
                f"{size_in_words(stored.size)}, and the file holds {size_in_words(held)}"
            )
    return stored


def parse_header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, order and type of a header, and leave the file at the first value.

    Args:
        content: File of an array, at its beginning.

    Raises:
        ValueError: If it is no such file, or of a version for names beyond ASCII.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers of Python 2
        version = npy.read_magic(content)
        if version not in ((1, 0), (2, 0)):  # the third is for names of fields beyond ASCII
            raise ValueError(f"version {version} of the format")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return read(content)


def _read(path: str | os.PathLike, stored: _Stored) -> np.ndarray:
    with contextlib.ExitStack() as stack:
        content: Any = stack.enter_context(open(path, "rb"))
        if stored.member:
            archive = stack.enter_context(zipfile.ZipFile(content))
            content = stack.enter_context(_open_member(archive, stored.member))
        parse_header(content)
        array = np.empty(stored.shape, stored.dtype, "F" if stored.fortran else "C")
        flat = array.reshape(-1, order="A").view("uint8") if stored.size else b""
        for start in range(0, len(flat), _BLOCK):
            block = flat[start : start + _BLOCK]
            if _fill(content, block) < len(block):
                raise ValueError("truncated")
        content.read(1)  # An archive compares the checksum of a member at its end.
    return array


def _fill(content: Any, block: Any) -> int:
    """Read bytes into a block, and return their number."""
    view, count = memoryview(block), 0
    while count < len(view) and (got := content.readinto(view[count:])):
        count += got
    return count


@contextlib.contextmanager
def _explained(path: str | os.PathLike | None, what: str) -> Iterator[None]:
    """Turn every error of a damaged file into a ValueError that names the file, if it is given.

    `zipfile`, `zlib` and NumPy's parser of headers raise errors of many types.
    """
    try:
        yield
    except Exception as error:
        reason = printable(reason_of(error))
        if path is None:
            raise ValueError(f"{what}{reason}") from error
        raise ValueError(f"Expected {what}. Received: {printable(path)} ({reason})") from error
