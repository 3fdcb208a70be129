"""Images as they are: of any and of differing sizes, neither cropped nor resized."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kddim.data.arrays import read_arrays
from kddim.data.decode import set_channels, to_mode
from kddim.data.digits import load_digits
from kddim.data.folder import find_pictures, report_unreadable

log = logging.getLogger("kddim")


class NativeImages:
    """The images of a source at their own sizes, in batches of float32 in [0, 1].

    Args:
        source: "digits", a folder of pictures, walked recursively, or a `.npy` or `.npz`
            file. Grey pictures become RGB; transparency is laid over white.
        num_images: at most so many, chosen at random, always the same; None takes all.
        batch_size: images decoded at once.

    Raises:
        ValueError: no such source, or one without images.

    Example:
        >>> for batch in NativeImages("pictures"):
        ...     features = encoder.of_any_sizes(batch)
    """

    def __init__(self, source: Any, num_images: int | None = None, batch_size: int = 64):
        self.batch_size = batch_size
        self._items = _items(source)
        if num_images is not None and num_images < len(self._items):
            chosen = np.random.default_rng(0).permutation(len(self._items))[:num_images]
            self._items = [self._items[index] for index in sorted(chosen)]
        # Figures that look at the first images alone must not look at the first classes.
        order = np.random.default_rng(1).permutation(len(self._items))
        self._items = [self._items[index] for index in order]

    def __len__(self) -> int:
        """Images there are, those that cannot be read among them."""
        return len(self._items)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Batches: lists of arrays `(height, width, channels)`."""
        unreadable: list[tuple[Path, str]] = []
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            now: Iterator[Any] = iter(())
            for part in [*self._parts(), []]:
                ahead = pool.map(_decode, part)
                found = list(now)
                unreadable += [item for item in found if isinstance(item, tuple)]
                if batch := [item for item in found if not isinstance(item, tuple)]:
                    yield batch
                now = ahead
        if len(unreadable) == len(self._items):
            raise ValueError(
                f"Expected at least one readable picture. Received: {len(unreadable)} files, none "
                f"of which can be decoded ({unreadable[0][1]})"
            )
        if unreadable:
            report_unreadable(unreadable)

    def _parts(self) -> Iterator[list[Any]]:
        for start in range(0, len(self._items), self.batch_size):
            yield self._items[start : start + self.batch_size]


def _items(source: Any) -> list[Any]:
    """Paths of pictures, or images."""
    path = Path(source)
    if str(source) == "digits":
        return list(load_digits())
    if path.is_dir():
        paths = find_pictures(path)
        if not paths:
            raise ValueError(
                "Expected pictures (PNG, JPEG, WebP, ...) in the folder. "
                f"Received: none in {source}"
            )
        return list(paths)
    if path.suffix.lower() in (".npy", ".npz"):
        if not path.is_file():
            raise ValueError(f"Expected a NumPy file of images. Received: {source}, no such file")
        return list(read_arrays(path))
    raise ValueError(
        'Expected "digits", a folder of pictures, or a .npy or .npz file, for images at their own '
        f"sizes. Received: {source}. Other sources want an image size."
    )


def _decode(item: Any) -> Any:
    """An image, or a path and the reason where it cannot be read."""
    if isinstance(item, np.ndarray):
        return _floats(item)
    try:
        with Image.open(item) as image:
            return _floats(np.asarray(to_mode(image, 3)))
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        return item, f"{type(error).__name__}: {error}"


def _floats(image: np.ndarray) -> np.ndarray:
    image = set_channels(image, 3) if image.shape[-1] == 1 else image
    if image.dtype == np.uint8:
        return image.astype("float32") * np.float32(1.0 / 255.0)
    return image.astype("float32")
