"""Real images that models are compared with."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from kddim import data
from kddim.batches import take_images
from kddim.checks import check_choice, printable

SPLITS = ("validation", "train", "all")


@dataclasses.dataclass(frozen=True)
class RealImages:
    """First images of a part of a source, in batches.

    Args:
        source: Source of images, as `kddim.data.load` takes it, or as `kddim.data.NativeImages`
            takes it if the images keep their own sizes.
        image_shape: Shape `(height, width, channels)` of the images. If channels is None, the
            images keep theirs. None for images at their own sizes, without cropping.
        split: Part of the source: "validation", "train" or "all".
        num_images: Largest number of images. None takes all.
        validation_split: Share of the validation part, as in training.
        limit: Largest number of images of the source before the split, as in training.
        data_seed: Seed of the split: the seed of the training run.
        side: Name of the images in remarks.
        labelled: If true, the source has classes, and `labels` are known.

    Raises:
        ValueError: If the split is unknown, or is not "all" for images at their own sizes. If
            `validation_split` is out of range. If the source has no images at their own sizes.
    """

    source: str | os.PathLike
    image_shape: tuple[int, int, int | None] | None
    split: str = "validation"
    num_images: int | None = None
    validation_split: float = 0.2
    limit: int | None = None
    data_seed: int = 0
    side: str = "real"
    labelled: bool = False

    def __post_init__(self):
        check_choice("split", self.split, SPLITS)
        if self.image_shape is None and self.split != "all":
            raise ValueError(
                "Expected the split 'all' for images at their own sizes. "
                f"Received: {self.split!r}. Give an image size for other splits."
            )
        if not 0.0 < self.validation_split < 1.0:
            raise ValueError(
                f"Expected `validation_split` in (0, 1). Received: {self.validation_split!r}"
            )
        if self.num_images is not None and self.num_images < 1:
            raise ValueError(f"Expected num_images of at least 1. Received: {self.num_images}")
        if self.image_shape is None:
            len(self._native)  # raises before an encoder is loaded and images are decoded

    @property
    def words(self) -> str:
        """Part and source in words, such as "validation of digits"."""
        return f"{self.split} of {printable(self.source)}"

    def key(self) -> dict[str, Any]:
        """Return JSON values that identify the images by the content of the source."""
        options = dataclasses.asdict(self) | {"source": data.fingerprint(self.source)}
        del options["labelled"]  # the images are the same
        if options["source"] is None:
            digest = hashlib.sha256()
            for array in self.arrays:
                for start in range(0, len(array), 256):  # it may be larger than the memory
                    digest.update(np.ascontiguousarray(array[start : start + 256]).data)
            options["source"] = digest.hexdigest()[:32]
        return options

    @property
    def arrays(self) -> list[Any]:
        """Decoded images of one size, in one array per part of the source."""
        return [part.images for part in self._parts]

    @property
    def labels(self) -> np.ndarray:
        """Labels of the images, in their order."""
        return np.concatenate([part.labels for part in self._parts])[: len(self)]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self._parts[0].class_names

    @functools.cached_property
    def _parts(self) -> list[Any]:
        height, width, channels = self.image_shape  # type: ignore[misc]
        train, validation = data.load(
            self.source,
            (height, width),
            1,
            channels=channels,
            validation_split=self.validation_split,
            limit=self.limit,
            seed=self.data_seed,
            labels=self.labelled,
        )
        parts = {"train": [train], "validation": [validation], "all": [train, validation]}
        return parts[self.split]

    @functools.cached_property
    def _native(self) -> data.NativeImages:
        return data.NativeImages(self.source, self.num_images)

    def __len__(self) -> int:
        total = len(self._native) if self.image_shape is None else sum(map(len, self.arrays))
        return min(total, self.num_images or total)

    def batches(self, batch_size: int = 64) -> Iterator[Any]:
        """Yield float32 images in [0, 1].

        Args:
            batch_size: Number of images per batch of images of one size.

        Yields:
            Arrays `(n, height, width, channels)`, or lists of arrays `(height, width, channels)`
            of images at their own sizes.
        """
        if self.image_shape is None:
            yield from self._native
            return
        left = len(self)
        for array in self.arrays:
            if left > 0:
                yield from data.ImageDataset(array[:left], batch_size)
            left -= len(array)


def real_images(
    source: str | os.PathLike,
    image_shape: tuple[int, int, int],
    *,
    num_images: int = 1000,
    split: str = "validation",
    **loading: Any,
) -> np.ndarray:
    """Return the first images of a part of a source.

    Args:
        source: Source of images, as `kddim.data.load` takes it.
        image_shape: Shape `(height, width, channels)` of the images.
        num_images: Largest number of images.
        split: Part of the source: "validation", "train" or "all".
        **loading: Options of `RealImages`: `validation_split`, `limit` and `data_seed`.

    Returns:
        Images `(n, height, width, channels)`, float32 in [0, 1].

    Raises:
        ValueError: If an option or the source cannot be used, or there are no images.
    """
    images = RealImages(source, image_shape, split, num_images, **loading)
    return take_images(images.batches(256), num_images, image_shape)
