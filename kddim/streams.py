"""Files of many images, written part by part, so that the images need not fit in memory."""

import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from kddim.files import atomic_write

_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed date, so that the same images give the same bytes
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # of a PNG file, by the number of channels
_UP = 2  # PNG filter that stores the difference to the row above


def save_npz(path: Path, name: str, shape: Sequence[int], parts: Iterable[np.ndarray]) -> None:
    """Write one array of a `.npz` file part by part, as a whole or not at all.

    The same values give the same bytes.

    Args:
        path: File to write.
        name: Name of the array.
        shape: Shape of the array.
        parts: uint8 arrays that follow one another along the first axis.

    Raises:
        ValueError: If the parts have another shape than the array.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    written = 0
    with atomic_write(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        with archive.open(entry, "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                written += len(part)
                file.write(_bytes(part, shape[1:]))
        if written != shape[0]:
            raise ValueError(f"Expected {shape[0]} rows in {path}. Received: {written}")


def save_png_rows(
    path: Path, height: int, width: int, channels: int, parts: Iterable[np.ndarray]
) -> None:
    """Write one PNG file from strips of pixel rows, as a whole or not at all.

    Args:
        path: File to write.
        height: Height of the image in pixels.
        width: Width in pixels.
        channels: Number of channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        parts: uint8 arrays `(rows, width, channels)`, from the top to the bottom.

    Raises:
        ValueError: If the parts have another shape than the image.
    """
    deflate, above, written = zlib.compressobj(), np.zeros((1, width * channels), "uint8"), 0
    with atomic_write(path) as partial, partial.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        colour = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
        _write_chunk(file, b"IHDR", colour)
        for part in parts:
            rows = np.frombuffer(_bytes(part, (width, channels)), "uint8").reshape(len(part), -1)
            differences = rows - np.concatenate([above, rows[:-1]])  # modulo 256
            filtered = np.insert(differences, 0, _UP, axis=1)
            _write_chunk(file, b"IDAT", deflate.compress(filtered.tobytes()))
            above, written = rows[-1:], written + len(rows)
        _write_chunk(file, b"IDAT", deflate.flush())
        _write_chunk(file, b"IEND", b"")
        if written != height:
            raise ValueError(f"Expected {height} rows in {path}. Received: {written}")


def _bytes(part: np.ndarray, shape: Sequence[int]) -> bytes:
    """Return the bytes of a part whose rows have a shape."""
    if part.dtype != np.uint8 or part.shape[1:] != tuple(shape):
        raise ValueError(
            f"Expected uint8 parts with rows of shape {tuple(shape)}. Received: {part.dtype}, "
            f"shape {part.shape}"
        )
    return part.tobytes()


def _write_chunk(file, kind: bytes, content: bytes) -> None:
    """Write a chunk of a PNG file: its length, kind, content and checksum."""
    file.write(struct.pack(">I", len(content)) + kind + content)
    file.write(struct.pack(">I", zlib.crc32(kind + content)))
