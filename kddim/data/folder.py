"""Images from a folder of pictures of any size and mode."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from kddim.data.decode import GREY_MODES, picture_to_array
from kddim.data.storage import allocate

log = logging.getLogger("kddim")

# Endings of picture files that Pillow opens, without documents, films and scientific data.
_ENDINGS = (
    ".avif .bmp .dib .gif .j2c .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .pbm .pcx .pgm .png .pnm .ppm "
    ".tga .tif .tiff .webp"
)
ENDINGS = frozenset(_ENDINGS.split())


def find_pictures(folder: Path) -> list[Path]:
    """Return the sorted paths of all picture files in a folder and its subfolders.

    Files count as pictures by their ending. Hidden files and folders are ignored.

    Args:
        folder: Folder to search.
    """
    paths = (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return sorted(path for path in paths if path.is_file())


def list_pictures(folder: Path) -> list[Path]:
    """Return the paths of all picture files in a folder, like `find_pictures`.

    Args:
        folder: Folder to search.

    Raises:
        ValueError: If there are no picture files.
    """
    paths = find_pictures(folder)
    if not paths:
        raise ValueError(
            f"Expected pictures (PNG, JPEG, WebP, ...) in the folder. Received: none in {folder}"
        )
    return paths


def load_folder(
    folder: str | os.PathLike,
    image_size: tuple[int, int],
    channels: int | None = None,
    order: np.random.Generator | None = None,
    limit: int | None = None,
) -> np.ndarray:
    """Decode the pictures of a folder.

    Pictures that cannot be read are skipped. A warning in the log counts and names them.

    Args:
        folder: Folder of pictures, including its subfolders.
        image_size: `(height, width)` in pixels. Pictures are cropped at their centre and resized.
        channels: Number of channels, 1 or 3. None is 1 if all pictures are grey, otherwise 3.
        order: Random generator that shuffles the pictures before `limit` is applied. None keeps
            them sorted by path.
        limit: Maximum number of pictures. None decodes all.

    Returns:
        uint8 array `(n, height, width, channels)`.

    Raises:
        ValueError: If no picture can be read, or if `channels` is another number.
    """
    if channels not in (None, 1, 3):
        raise ValueError(
            f"Expected channels of 1 or 3 for a folder of pictures. Received: {channels}"
        )
    paths = list_pictures(Path(folder))
    if order is not None:
        paths = [paths[index] for index in order.permutation(len(paths))]
    paths = paths[:limit]
    log.info("decoding %d pictures of %s", len(paths), folder)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        if channels is None:
            channels = 1 if all(pool.map(_is_grey, paths)) else 3
        images = allocate((len(paths), *image_size, channels))
        results = list(pool.map(_decode, paths, images))
    report_unreadable([result for result in results if result], len(paths))
    readable = [index for index, result in enumerate(results) if not result]
    if len(readable) < len(paths):
        # In place, because the images may not fit in memory twice.
        for place, index in enumerate(readable):
            images[place] = images[index]
    return images[: len(readable)]


class Unreadable(NamedTuple):
    """Picture file that cannot be decoded.

    Attributes:
        path: Path of the file.
        reason: Type and message of the error.
    """

    path: Path
    reason: str


def open_picture(path: Path, use: Callable[[Image.Image], Any]) -> Any:
    """Return `use(picture)`, or an `Unreadable` if the file cannot be decoded.

    Args:
        path: Picture file.
        use: Function of the opened picture.
    """
    try:
        with Image.open(path) as picture:
            return use(picture)
    except Exception as error:  # Pillow's decoders raise errors of many types.
        return Unreadable(path, f"{type(error).__name__}: {error}")


def _is_grey(path: Path) -> bool:
    # An `Unreadable` is true: such files do not count here. Decoding reports them.
    return bool(open_picture(path, lambda picture: picture.mode in GREY_MODES))


def _decode(path: Path, into: np.ndarray) -> Unreadable | None:
    """Decode one picture into an array `(height, width, channels)`."""

    def fill(picture: Image.Image) -> None:
        height, width, channels = into.shape
        # JPEG can be decoded at a fraction of its size if that is large enough. Both sides
        # allow for the longer one, because the EXIF orientation may exchange them.
        picture.draft(None, (2 * max(width, height),) * 2)
        into[...] = picture_to_array(picture, (height, width), channels)

    return open_picture(path, fill)


def report_unreadable(unreadable: list[Unreadable], num_files: int) -> None:
    """Log a warning that counts the skipped files and names the first five, if there are any.

    Args:
        unreadable: Files that cannot be decoded.
        num_files: Number of all files.

    Raises:
        ValueError: If no file can be decoded.
    """
    if not unreadable:
        return
    if len(unreadable) == num_files:
        raise ValueError(
            f"Expected at least one readable picture. Received: {num_files} files, none of which "
            f"can be decoded ({unreadable[0].reason})"
        )
    named = "; ".join(f"{path} ({reason})" for path, reason in unreadable[:5])
    more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
    log.warning("skipped %d unreadable pictures: %s%s", len(unreadable), named, more)
