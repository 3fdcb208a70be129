"""Images from a folder of pictures of any size and mode."""

import hashlib
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from kddim.checks import printable
from kddim.data.decode import GREY_MODES, check_channels, picture_to_array
from kddim.data.decoded import DecodedImages, in_batches
from kddim.data.fingerprints import fingerprint_of_pictures
from kddim.data.pictures import DecodingMemory, open_picture, quiet_pillow
from kddim.data.scan import list_pictures
from kddim.data.skipped import Unreadable, report_skipped
from kddim.data.storage import check_room, in_its_place, in_memory, is_streamed
from kddim.data.stored import StoredImages
from kddim.progress import show_batches

log = logging.getLogger("kddim")

_BYTES_PER_PIXEL = 24  # a decoded picture with an alpha channel, and its copies of other modes
_CHUNK = 256  # number of pictures between two reports of the progress
_MANY = 10_000  # pictures that are kept in the cache once they are decoded


def load_folder(
    folder: str | os.PathLike,
    image_size: tuple[int, int],
    channels: int | None = None,
    order: np.random.Generator | None = None,
    limit: int | None = None,
    strict: bool = False,
    verbose: int = 0,
    kept: list[Path] | None = None,
    stream: bool | None = None,
) -> tuple[Any, list[Unreadable]]:
    """Decode the pictures of a folder, or read them from the cache.

    Pictures and folders that cannot be read are skipped. A warning in the log counts and names
    them. Pictures that are streamed, and 10,000 pictures or more, are decoded once and kept in
    the cache.

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
        stream: If true, the images are `StoredImages`, and if false an array. None decides by
            the free memory.

    Returns:
        `(images, skipped)`: uint8 images `(n, height, width, channels)`, and the files and
        folders that cannot be read.

    Raises:
        ValueError: If no picture can be read, if `channels` is another number, if the images fit
            neither in memory nor on the disk, or if `strict` is true and a file was skipped.
    """
    check_channels(channels, "a folder of pictures")
    listed, skipped = list_pictures(Path(folder))
    if strict:  # before the pictures are decoded, which may take long
        report_skipped(skipped, len(listed), strict)
    indices = np.arange(len(listed)) if order is None else order.permutation(len(listed))
    words = f"decoding {{:,}} pictures of {printable(folder)}"
    with quiet_pillow(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        pictures = _Pictures(Path(folder), listed, image_size, channels, pool, words, verbose)
        images, failed = pictures.load(indices[:limit], stream)
    if kept is not None:
        kept += [listed[index] for index in indices[:limit] if index not in failed]
    skipped = sorted([*skipped, *(Unreadable(listed[k], why) for k, why in failed.items())])
    report_skipped(skipped, len(images), strict)
    return images, skipped


class _Pictures:
    """Pictures of a folder, and how they are decoded.

    Args:
        folder: The folder.
        paths: Sorted paths of all its pictures.
        image_size: `(height, width)` of the images.
        channels: Number of channels, or None.
        pool: Threads that decode.
        words: Words for the progress, with a place for the number of pictures.
        verbose: Verbosity of the progress.
    """

    def __init__(self, folder, paths, image_size, channels, pool, words, verbose):
        self.folder, self.paths = folder, paths
        self.image_size, self.channels = image_size, channels
        self.pool, self.words, self.verbose = pool, words, verbose
        self.memory = DecodingMemory(_BYTES_PER_PIXEL)

    def load(self, chosen: np.ndarray, stream: bool | None) -> tuple[Any, dict[int, str]]:
        """Return the images with some indices, and why other pictures cannot be read.

        Args:
            chosen: Indices among the sorted paths.
            stream: As for `load_folder`.
        """
        if stream or len(chosen) >= _MANY:
            return self._load_cached(chosen, stream)
        shape = self._shape(chosen)
        if is_streamed(shape, stream):
            return self._load_cached(chosen, stream)
        return self._load_into_memory(chosen, shape)

    def _shape(self, chosen: np.ndarray) -> tuple[int, ...]:
        """Return the shape of images, after a look at all pictures if necessary."""
        channels = self.channels
        if channels is None:
            grey = self.pool.map(_is_grey, [self.paths[index] for index in chosen])
            channels = 1 if all(grey) else 3
        return (len(chosen), *self.image_size, channels)

    def _load_into_memory(
        self, chosen: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, dict[int, str]]:
        failed: dict[int, str] = {}
        return in_memory(shape, self._decoded(chosen, shape, failed)), failed

    def _load_cached(self, chosen: np.ndarray, stream: bool | None) -> tuple[Any, dict[int, str]]:
        # All pictures have the order of the default seed in the file, whatever the seed.
        is_part = len(chosen) < len(self.paths)
        in_file = chosen if is_part else np.random.default_rng(0).permutation(len(chosen))
        entry = self._entry(in_file if is_part else None)
        stored = self._valid(entry)
        if stored is None:
            shape = self._shape(chosen)
            streamed = is_streamed(shape, stream)
            try:
                stored = self._make(entry, in_file, shape)
            except (OSError, ValueError) as error:
                if streamed:
                    raise
                log.info("nothing is cached: %s", error)
                return self._load_into_memory(chosen, shape)
        failed = {int(index): reason for index, reason in entry.notes["failed"]}
        rows = _places(in_file, failed, len(self.paths))[chosen]
        return in_its_place(stored.take(rows[rows >= 0]), stream), failed

    def _valid(self, entry: DecodedImages) -> StoredImages | None:
        """Return the images of an entry, unless more pictures can be read now than then."""
        stored = entry.open()
        if stored is not None and self._can_be_read_now(entry.notes["failed"], stored.shape):
            entry.remove()
            return None
        return stored

    def _make(
        self, entry: DecodedImages, in_file: np.ndarray, shape: tuple[int, ...]
    ) -> StoredImages:
        check_room(shape)
        return entry.make(shape, "uint8", lambda notes: self._noted(in_file, shape, notes))

    def _entry(self, part: np.ndarray | None) -> DecodedImages:
        """Return the place in the cache of all images, or of a part of them."""
        return DecodedImages(
            {
                "source": "folder",
                "fingerprint": fingerprint_of_pictures(self.folder, self.paths),
                "part": None if part is None else hashlib.sha256(part.tobytes()).hexdigest(),
                "image_size": self.image_size,
                "channels": self.channels,
                "pillow": PIL.__version__,
            }
        )

    def _can_be_read_now(self, failed: list, shape: tuple[int, ...]) -> bool:
        """Return True if a picture can be read that could not, such as with other rights."""
        into = np.empty(shape[1:], "uint8")
        return any(_decode(self.paths[k], into, self.memory) is None for k, _ in failed)

    def _noted(
        self, chosen: np.ndarray, shape: tuple[int, ...], notes: dict[str, Any]
    ) -> Iterator[np.ndarray]:
        failed: dict[int, str] = {}
        yield from self._decoded(chosen, shape, failed)
        notes["failed"] = sorted(failed.items())

    def _decoded(
        self, chosen: np.ndarray, shape: tuple[int, ...], failed: dict[int, str]
    ) -> Iterator[np.ndarray]:
        """Yield batches of decoded pictures, without those that cannot be read.

        Args:
            chosen: Indices of the pictures.
            shape: Shape of all images.
            failed: Dict that receives the reasons why pictures cannot be read, by index.
        """
        words = self.words.format(len(chosen))
        with show_batches(words, len(chosen), self.verbose) as advance:
            # In chunks, so that an interruption does not wait for all pictures.
            for rows in in_batches(len(chosen), _CHUNK):
                part = chosen[rows]
                images = np.empty((len(part), *shape[1:]), "uint8")
                paths = [self.paths[index] for index in part]
                results = list(self.pool.map(_decode, paths, images, [self.memory] * len(part)))
                found = [result is None for result in results]
                failed |= {int(k): r.reason for k, r in zip(part, results) if r is not None}
                advance(len(part))
                yield images if all(found) else images[found]


def _places(in_file: np.ndarray, failed: dict[int, str], count: int) -> np.ndarray:
    """Return the row of each picture in a file of images, and -1 for those without a row.

    Args:
        in_file: Indices of the pictures in the order of the file, with those that failed.
        failed: Pictures that are not in the file.
        count: Number of all pictures.
    """
    places = np.full(count, -1)
    kept = np.array([index for index in in_file if index not in failed], int)
    places[kept] = np.arange(len(kept))
    return places


def _is_grey(path: Path) -> bool:
    # An `Unreadable` is true: such files do not count here. Decoding reports them.
    return bool(open_picture(path, lambda picture: picture.mode in GREY_MODES))


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
