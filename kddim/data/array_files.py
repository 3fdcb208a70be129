"""Images of `.npy` files that are larger than the memory."""

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from kddim import npz
from kddim.checks import printable
from kddim.data.arrays import as_pixels, check_shape, check_type
from kddim.data.decode import arrays_to_size, set_channels
from kddim.data.decoded import DecodedImages, in_batches, open_npy
from kddim.data.storage import check_room, in_its_place, is_streamed
from kddim.data.stored import StoredImages
from kddim.images import check_range
from kddim.progress import show_batches

log = logging.getLogger("kddim")

_CHUNK = 256  # number of images that are converted together


def stream_arrays(
    path: str | os.PathLike,
    image_size: tuple[int, int],
    channels: int | None,
    order: np.random.Generator,
    limit: int | None,
    kept: list[int],
    stream: bool | None,
    verbose: int = 0,
) -> StoredImages | None:
    """Return the images of a `.npy` file without reading them into memory, if they are streamed.

    A file of uint8 images of the right size is read where it is. Others are converted once, and
    kept in the cache.

    Args:
        path: The file.
        image_size: `(height, width)` in pixels.
        channels: Number of channels of the result. None keeps the channels of the file.
        order: Random generator that shuffles the images before `limit` is applied.
        limit: Maximum number of images. None takes all.
        kept: List that receives the indices of the images within the file.
        stream: Choice of the user. None streams a file if it and the images that are taken need
            more than half of the free memory.
        verbose: 1 draws a progress bar of the conversion.

    Returns:
        The images, or None if they are to be read into memory. Those of an archive always are.

    Raises:
        ValueError: As `load_arrays` does.
    """
    if stream is False or not os.path.isfile(path):
        return None
    described = npz.headers(path, what="a NumPy file of images")
    if not npz.is_array(path):
        if stream:
            log.warning("%s is read into memory: save its images as a .npy file to stream them", printable(path))  # fmt: skip
        return None
    shape, dtype = described[npz.ONLY]
    check_shape(shape, f" in {printable(path)}")
    check_type(dtype, path)
    needed = (shape[0] + min(limit or shape[0], shape[0]), *shape[1:])
    if not is_streamed(needed, stream, dtype.itemsize):
        return None
    rows = order.permutation(shape[0])[:limit]
    kept += rows.tolist()
    source = open_npy(path)
    if dtype == np.uint8 and source.shape[1:] == (*image_size, channels or source.shape[3]):
        log.info("%s: %s images are streamed", printable(path), f"{len(rows):,}")
        return source.take(rows)
    return _converted(source, rows, image_size, channels, verbose)


def _converted(
    source: StoredImages,
    rows: np.ndarray,
    image_size: tuple[int, int],
    channels: int | None,
    verbose: int,
) -> Any:
    """Return images of the cache, converted if they are not there."""
    is_part = len(rows) < len(source)
    in_file = rows if is_part else np.random.default_rng(0).permutation(len(source))
    entry = DecodedImages(_key(source, in_file if is_part else None, image_size, channels))
    images = entry.open()
    if images is None:
        first = _convert(source[:1], image_size, channels)
        shape, dtype = (len(rows), *first.shape[1:]), first.dtype
        check_room(shape, dtype.itemsize)
        taken = source.take(in_file)
        words = f"converting {len(rows):,} images of {printable(source.path)}"
        images = entry.make(
            shape, dtype, lambda notes: _batches(taken, image_size, channels, words, verbose)
        )
    places = np.full(len(source), -1)
    places[in_file] = np.arange(len(in_file))
    return in_its_place(images.take(places[rows]), True)


def _batches(
    source: StoredImages,
    image_size: tuple[int, int],
    channels: int | None,
    words: str,
    verbose: int,
) -> Iterator[np.ndarray]:
    with show_batches(words, len(source), verbose) as advance:
        for rows in in_batches(len(source), _CHUNK):
            yield _convert(source[rows], image_size, channels)
            advance(rows.stop - rows.start)


def _convert(source: StoredImages, image_size: tuple[int, int], channels: int | None) -> np.ndarray:
    images = np.asarray(source)
    if images.dtype != np.uint8:
        check_range(images, f" in {printable(source.path)}")
    return arrays_to_size(set_channels(as_pixels(images), channels), image_size)


def _key(
    source: StoredImages,
    part: np.ndarray | None,
    image_size: tuple[int, int],
    channels: int | None,
) -> dict[str, Any]:
    """Return what decides the converted images. The file is not read, because it is large."""
    state = os.stat(source.path)
    return {
        "source": str(Path(source.path).resolve()),
        "state": (state.st_size, state.st_mtime_ns, state.st_ino),
        "part": None if part is None else hashlib.sha256(part.tobytes()).hexdigest(),
        "image_size": image_size,
        "channels": channels,
        "pillow": PIL.__version__,
    }
