"""Opening of picture files that nobody vouches for."""

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from kddim.budget import free_memory, size_in_words
from kddim.checks import reason_of
from kddim.data.skipped import Unreadable

# The content decides the format, and not the ending. Pillow would open documents with other
# programs.
FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000"),
    *("PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP"),
)


class DecodingMemory:
    """Memory that pictures share which are decoded at the same time.

    Args:
        bytes_per_pixel: Number of bytes that are taken per pixel of a picture.
        share: Fraction of the free memory that all pictures together may take.
    """

    def __init__(self, bytes_per_pixel: int, share: float = 0.5):
        self.bytes_per_pixel = bytes_per_pixel
        self.total = int(free_memory() * share)
        self._taken = 0
        self._changed = threading.Condition()

    def size(self, picture: Image.Image) -> int:
        """Return the number of bytes that decoding a picture takes, at most.

        Args:
            picture: Opened picture. Only its header has been read.

        Raises:
            ValueError: If it has more pixels than Pillow's limit `Image.MAX_IMAGE_PIXELS`, or
                takes more than all memory that pictures may take.
        """
        width, height = picture.size
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and width * height > limit:
            raise ValueError(
                f"{width}x{height} pixels are more than Pillow's limit of {limit:,}, as of a "
                "decompression bomb"
            )
        size = self.bytes_per_pixel * width * height
        if size > self.total:
            raise ValueError(
                f"{width}x{height} pixels take {size_in_words(size)}, and "
                f"{size_in_words(self.total)} of memory are free for it"
            )
        return size

    @contextlib.contextmanager
    def take(self, picture: Image.Image) -> Iterator[None]:
        """Wait until a picture can be decoded beside the others.

        Args:
            picture: Opened picture.

        Raises:
            ValueError: If it can never be decoded, as in `size`.
        """
        size = self.size(picture)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + size <= self.total)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


def open_picture(path: Path, use: Callable[[Image.Image], Any]) -> Any:
    """Return `use(picture)`, or an `Unreadable` if the file cannot be decoded.

    The first frame of an animation is used.

    Args:
        path: Picture file.
        use: Function of the opened picture.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return use(picture)
    except Exception as error:  # Pillow's decoders raise errors of many types.
        return Unreadable(path, _reason(path, error))


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        empty = path.is_file() and not path.stat().st_size
        return "the file is empty" if empty else "cannot identify a picture in the file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = reason_of(error)
    return words if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {words}"


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings about damaged files from the terminal. Errors are told by others."""
    log = logging.getLogger("PIL")
    level = log.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        log.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            log.setLevel(level)
