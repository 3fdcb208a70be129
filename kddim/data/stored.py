"""Images in a file, which are read batch by batch when they are used."""

import os
import threading
from typing import Any

import numpy as np

_BLOCK = 1 << 20  # bytes that are read together: a disk needs about as long to find them
_WINDOW = 128  # blocks whose images are mixed with one another
_GAP = 16  # images between two others that are read ahead together with them
_PARTS = 512  # images per call of the system, which allows 1024


class StoredImages:
    """Array of images in a file, of which only what is used is in memory.

    An index or an array of indices reads images. A slice returns another `StoredImages` and
    reads nothing. `np.asarray` reads all. The file is read with ordinary calls, and not mapped
    into memory, so that neither the memory nor the address space of the process grows with it.
    The system keeps what it has read in its own cache as long as it has room.

    Args:
        path: File of the images.
        shape: Shape `(n, height, width, channels)` of all images in the file.
        dtype: Type of the values.
        offset: Number of bytes before the first image.
        rows: Places in the file of the images of this array, in its order. None is all.

    Raises:
        ValueError: If the file ends before an image that is read.
    """

    ndim = 4

    def __init__(
        self,
        path: str | os.PathLike,
        shape: tuple[int, ...],
        dtype: Any,
        offset: int,
        rows: np.ndarray | None = None,
    ):
        self.path, self.dtype, self.offset = os.fspath(path), np.dtype(dtype), offset
        self.rows = np.arange(shape[0]) if rows is None else np.asarray(rows)
        self.shape = (len(self.rows), *shape[1:])
        self.bytes_per_image = int(np.prod(shape[1:])) * self.dtype.itemsize
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (open as long as the array)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Number of bytes of all images."""
        return len(self) * self.bytes_per_image

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self.take(np.arange(len(self))[key])
        chosen = self.rows[key]
        return self._read(chosen) if np.ndim(chosen) else self._read(chosen[None])[0]

    def __reduce__(self) -> tuple:
        return StoredImages, (self.path, self.shape, self.dtype, self.offset, self.rows)

    def take(self, indices: np.ndarray) -> "StoredImages":
        """Return some of the images, without reading them.

        Args:
            indices: Indices of the images, in the order of the result.
        """
        taken = object.__new__(StoredImages)
        taken.__dict__ = {**self.__dict__, "rows": self.rows[indices]}
        taken.shape = (len(taken.rows), *self.shape[1:])
        return taken

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        images = np.empty(self.shape, self.dtype)
        for start in range(0, len(self), _PARTS):
            images[start : start + _PARTS] = self._read(self.rows[start : start + _PARTS])
        return images if dtype is None else images.astype(dtype, copy=False)

    def permutation(self, random: np.random.Generator) -> np.ndarray:
        """Return the indices of all images in a random order that a disk reads fast.

        Blocks of 1 MB are shuffled, and then the images of each 128 blocks in a row. A file whose
        images have a random order, such as those of the cache, is shuffled well by that. The
        images of a file of less than 128 MB are shuffled completely.

        Args:
            random: Random generator.
        """
        in_file = np.argsort(self.rows, kind="stable")
        size = self._images_per_block
        blocks = np.split(in_file, np.arange(size, len(in_file), size))
        order = np.concatenate([blocks[index] for index in random.permutation(len(blocks))])
        for start in range(0, len(order), self.window):
            random.shuffle(order[start : start + self.window])
        return order

    @property
    def _images_per_block(self) -> int:
        return max(1, _BLOCK // self.bytes_per_image)

    @property
    def window(self) -> int:
        """Number of images that are mixed with one another."""
        return _WINDOW * self._images_per_block

    def read_ahead(self, indices: np.ndarray) -> None:
        """Let the system read images from the disk into its cache, while others are used.

        Systems that cannot do so read the images when they are used.

        Args:
            indices: Indices of the images.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        for run in _runs(np.sort(self.rows[indices]), _GAP):
            place = self.offset + int(run[0]) * self.bytes_per_image
            length = int(run[-1] - run[0] + 1) * self.bytes_per_image
            for start in range(0, length, _BLOCK):  # the system shortens longer ones
                size = min(_BLOCK, length - start)
                os.posix_fadvise(self._file.fileno(), place + start, size, os.POSIX_FADV_WILLNEED)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Read images, in the order of the file."""
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        flat = images.view("uint8").reshape(len(rows), self.bytes_per_image)
        done = 0
        for run in _runs(rows[order]):
            for start in range(0, len(run), _PARTS):
                places = order[done : done + len(run[start : start + _PARTS])]
                self._fill([flat[place] for place in places], int(run[start]))
                done += len(places)
        return images

    def _fill(self, images: list[np.ndarray], row: int) -> None:
        """Read images that follow one another in the file into arrays of bytes."""
        place, wanted = self.offset + row * self.bytes_per_image, len(images) * self.bytes_per_image
        done, count = 0, -1
        # Systems may read less than they are asked to, such as 2 GB.
        while done < wanted and count != 0:
            index, part = divmod(done, self.bytes_per_image)
            count = self._read_into([images[index][part:], *images[index + 1 :]], place + done)
            done += count
        if done != wanted:
            raise ValueError(
                f"Expected {len(images)} images at row {row} of {self.path}. Received: {done} of "
                f"{wanted} bytes. Delete the file, and start again."
            )

    def _read_into(self, arrays: list[np.ndarray], place: int) -> int:
        """Read bytes from a place in the file into arrays, and return their number."""
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), arrays, place)  # type: ignore[arg-type]
        with self._lock:
            self._file.seek(place)
            return self._file.readinto(arrays[0].data) or 0


def _runs(rows: np.ndarray, gap: int = 1) -> list[np.ndarray]:
    """Cut sorted rows where the next one is more than `gap` away."""
    if not len(rows):
        return []
    return np.split(rows, np.flatnonzero((np.diff(rows) > gap) | (np.diff(rows) == 0)) + 1)
