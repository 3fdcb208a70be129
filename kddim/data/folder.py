"""Images from a folder of pictures of any size and mode."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from kddim.checks import printable
from kddim.data.decode import GREY_MODES, picture_to_array
from kddim.data.pictures import DecodingMemory, open_picture, quiet_pillow
from kddim.data.scan import list_pictures
from kddim.data.skipped import Unreadable, report_skipped
from kddim.data.storage import allocate
from kddim.progress import show_batches

_BYTES_PER_PIXEL = 24  # a decoded picture with an alpha channel, and its copies of other modes
_CHUNK = 256  # number of pictures between two reports of the progress


def load_folder(
    folder: str | os.PathLike,
    image_size: tuple[int, int],
    channels: int | None = None,
    order: np.random.Generator | None = None,
    limit: int | None = None,
    strict: bool = False,
    verbose: int = 0,
    kept: list[Path] | None = None,
) -> tuple[np.ndarray, list[Unreadable]]:
    """Decode the pictures of a folder.

    Pictures and folders that cannot be read are skipped. A warning in the log counts and names
    them.

    Args:
        folder: Folder of pictures, including its subfolders.
        image_size: `(height, width)` in pixels. Pictures are cropped at their centre and resized.
        channels: Number of channels, 1 or 3. None is 1 if all pictures are grey, otherwise 3.
        order: Random generator that shuffles the pictures before `limit` is applied. None keeps
            them sorted by path.
        limit: Maximum number of pictures. None decodes all.
        strict: If true, a picture or folder that cannot be read is an error.
        verbose: 1 draws a progress bar. 0 writes lines to the log.
        kept: List that receives the paths of the images.

    Returns:
        `(images, skipped)`: uint8 array `(n, height, width, channels)`, and the files and
        folders that cannot be read.

    Raises:
        ValueError: If no picture can be read, if `channels` is another number, if the images fit
            neither in memory nor on the disk, or if `strict` is true and a file was skipped.
    """
    if channels not in (None, 1, 3):
        raise ValueError(
            f"Expected channels of 1 or 3 for a folder of pictures. Received: {channels}"
        )
    paths, skipped = list_pictures(Path(folder))
    if strict:  # before the pictures are decoded, which may take long
        report_skipped(skipped, len(paths), strict)
    if order is not None:
        paths = [paths[index] for index in order.permutation(len(paths))]
    paths = paths[:limit]
    words = f"decoding {len(paths):,} pictures of {printable(folder)}"
    with quiet_pillow(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        if channels is None:
            channels = 1 if all(pool.map(_is_grey, paths)) else 3
        images = allocate((len(paths), *image_size, channels))
        failed = _decode_all(pool, paths, images, words, verbose)
    images = _without(images, set(failed))
    if kept is not None:
        kept += [path for row, path in enumerate(paths) if row not in failed]
    skipped = sorted([*skipped, *failed.values()])
    report_skipped(skipped, len(images), strict)
    return images, skipped


def _is_grey(path: Path) -> bool:
    # An `Unreadable` is true: such files do not count here. Decoding reports them.
    return bool(open_picture(path, lambda picture: picture.mode in GREY_MODES))


def _decode_all(
    pool: ThreadPoolExecutor, paths: list[Path], images: np.ndarray, words: str, verbose: int
) -> dict[int, Unreadable]:
    """Decode pictures into an array, and return the unreadable ones by their row."""
    memory = DecodingMemory(_BYTES_PER_PIXEL)
    failed: dict[int, Unreadable] = {}
    with show_batches(words, len(paths), verbose) as advance:
        # In chunks, so that an interruption does not wait for all pictures.
        for start in range(0, len(paths), _CHUNK):
            rows = slice(start, start + _CHUNK)
            part = paths[rows]
            results = list(pool.map(_decode, part, images[rows], [memory] * len(part)))
            failed |= {start + row: result for row, result in enumerate(results) if result}
            advance(len(results))
    return failed


def _decode(path: Path, into: np.ndarray, memory: DecodingMemory) -> Unreadable | None:
    """Decode one picture into an array `(height, width, channels)`."""

    def fill(picture: Image.Image) -> None:
        height, width, channels = into.shape
        # JPEG can be decoded at a fraction of its size if that is large enough. Both sides
        # allow for the longer one, because the EXIF orientation may exchange them.
        picture.draft(None, (2 * max(width, height),) * 2)
        with memory.take(picture):
            into[...] = picture_to_array(picture, (height, width), channels)

    return open_picture(path, fill)


def _without(images: np.ndarray, rows: set[int]) -> np.ndarray:
    """Return images without some rows, in place, because they may not fit in memory twice."""
    place = 0
    for row in range(len(images) if rows else 0):
        if row not in rows:
            images[place] = images[row]
            place += 1
    return images[: len(images) - len(rows)]
