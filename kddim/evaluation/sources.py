"""Which real images a model is measured against."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from kddim import data
from kddim.images import take_images

SPLITS = ("validation", "train", "all")


@dataclasses.dataclass(frozen=True)
class RealImages:
    """The first images of a part of a source, in batches.

    Args:
        source: see `kddim.data.load`; at their own sizes, see `kddim.data.NativeImages`.
        image_shape: `(height, width, channels)`, of which channels may be None to keep
            those of the data; or None for images at their own sizes, not cropped.
        split: "validation", "train" or "all" images of the source.
        num_images: at most so many; None takes all.
        validation_split: as in training, so that the parts are the same.
        limit: as in training.
        data_seed: of the split; the training run's seed.
        side: what to call the images in remarks.

    Raises:
        ValueError: an unknown split, or a split of images at their own sizes.
    """

    source: str | os.PathLike
    image_shape: tuple[int, int, int | None] | None
    split: str = "validation"
    num_images: int | None = None
    validation_split: float = 0.2
    limit: int | None = None
    data_seed: int = 0
    side: str = "real"

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(
                f"Unknown split: expected one of {', '.join(map(repr, SPLITS))}. "
                f"Received: {self.split!r}"
            )
        if self.image_shape is None and self.split != "all":
            raise ValueError(
                "Expected the split 'all' for images at their own sizes. "
                f"Received: {self.split!r}. Give an image size for other splits."
            )
        if self.num_images is not None and self.num_images < 1:
            raise ValueError(f"Expected num_images of at least 1. Received: {self.num_images}")

    @property
    def words(self) -> str:
        """Such as "validation of digits"."""
        return f"{self.split} of {self.source}"

    def check_source(self) -> None:
        """Refuses early what can be seen without decoding.

        Raises:
            ValueError: no source of images at their own sizes.
        """
        if self.image_shape is None:
            len(self._native)

    def key(self) -> dict[str, Any]:
        """What decides the images, as JSON values: the content, not the name, of the source."""
        options = dataclasses.asdict(self) | {"source": data.fingerprint(self.source)}
        if options["source"] is None:
            digest = hashlib.sha256()
            for array in self.arrays:
                digest.update(np.ascontiguousarray(array).data)
            options["source"] = digest.hexdigest()[:32]
        return options

    @functools.cached_property
    def arrays(self) -> list[np.ndarray]:
        """Decoded images of one size: one array, or those of training and validation."""
        height, width, channels = self.image_shape  # type: ignore[misc]
        train, validation = data.load(
            self.source,
            (height, width),
            1,
            channels=channels,
            validation_split=self.validation_split,
            limit=self.limit,
            seed=self.data_seed,
        )
        parts = {"train": [train], "validation": [validation], "all": [train, validation]}
        return [part.images for part in parts[self.split]]

    @functools.cached_property
    def _native(self) -> data.NativeImages:
        return data.NativeImages(self.source, self.num_images)

    def __len__(self) -> int:
        total = len(self._native) if self.image_shape is None else sum(map(len, self.arrays))
        return min(total, self.num_images or total)

    def batches(self, batch_size: int = 64) -> Iterator[Any]:
        """Float32 images in [0, 1]: arrays of one size, or lists of images of their own."""
        if self.image_shape is None:
            yield from self._native
            return
        left = len(self)
        for array in self.arrays:
            for batch in data.ImageDataset(array, batch_size):
                if left > 0:
                    yield batch[:left]
                left -= len(batch)


def real_images(
    source: str | os.PathLike,
    image_shape: tuple[int, int, int],
    *,
    num_images: int = 1000,
    split: str = "validation",
    **loading: Any,
) -> np.ndarray:
    """The first images of a part of a source.

    Args:
        source: see `kddim.data.load`.
        image_shape: `(height, width, channels)` of the model.
        num_images: at most so many.
        split: "validation", "train" or "all" images of the source.
        **loading: see `RealImages`.

    Returns:
        float32 `(n, height, width, channels)` in [0, 1].

    Raises:
        ValueError: an option or the source cannot be used; no image.
    """
    images = RealImages(source, image_shape, split, num_images, **loading)
    return take_images(images.batches(256), num_images, image_shape)
