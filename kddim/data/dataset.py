"""Batches of images for training on every Keras backend."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kddim.data.arrays import check_shape
from kddim.data.decode import to_float32
from kddim.data.labels import Labels
from kddim.data.skipped import Unreadable
from kddim.data.stored import StoredImages


class ImageDataset(keras.utils.PyDataset):
    """Batches of float32 images in [0, 1] from an array in memory, or from a file.

    `fit`, `evaluate` and `normalizer.adapt` accept it on every backend. It can be indexed and
    iterated over. Training data are shuffled for each epoch, and the last, incomplete batch is
    dropped. Validation data keep their order and all their images.

    Args:
        images: uint8 values, or floats in [0, 1], `(n, height, width, channels)`: an array, or
            the `StoredImages` that `kddim.data.load` streams. Those are shuffled in an order that
            a disk reads fast.
        batch_size: Number of images per batch, at least 1.
        labels: Labels of the images, with the names of the classes. Batches are then
            `(images, labels)`, with int32 labels `(batch,)`. None for batches of images.
        training: If true, shuffle, repeat and flip the images, and drop the incomplete batch.
        repeats: Number of passes over the training images per epoch. The keras.io example has 5.
        steps_per_epoch: Number of batches per epoch. None follows from `repeats`.
        flip: If true, mirror each training image with probability 1/2, chosen anew in each epoch.
        seed: Int that determines the order and the flips.

    Attributes:
        labels: Labels of all images, an int32 array `(n,)`, or None.
        all_labels: The argument `labels`.
        class_names: Names of the classes, or None.
        skipped: Files of the source that cannot be read, as `(path, reason)`.

    Raises:
        ValueError: If `images` has another shape or type, is empty or looks like channels first,
            if `batch_size` is below 1, or if training images do not fill one batch.
    """

    skipped: Sequence[Unreadable] = ()

    def __init__(
        self,
        images: np.ndarray | StoredImages,
        batch_size: int,
        *,
        labels: Labels | None = None,
        training: bool = False,
        repeats: int = 1,
        steps_per_epoch: int | None = None,
        flip: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        if images.ndim != 4 or not len(images) or batch_size < 1:
            raise ValueError(
                "Expected images (n, height, width, channels), at least one, and a batch_size of "
                f"at least 1. Received: shape {images.shape}, batch_size={batch_size}"
            )
        check_shape(images.shape)
        if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
            raise ValueError(f"Expected uint8, or floats in [0, 1]. Received: {images.dtype}")
        if labels is not None and len(labels.values) != len(images):
            raise ValueError(
                f"Expected one label per image. Received: {len(labels.values):,} labels and "
                f"{len(images):,} images"
            )
        self.images = images
        self.all_labels = labels
        self.labels = None if labels is None else labels.values
        self.class_names = None if labels is None else labels.names
        self.batch_size = batch_size
        self.training = training
        self.repeats = repeats if training else 1
        self.steps_per_epoch = steps_per_epoch
        self.flip = flip and training
        self.seed = seed % 2**64
        self.epoch = 0
        self._order = np.arange(0)
        self._windows_read = -1  # parts of the file that the system was told to read
        if not len(self):
            raise ValueError(
                f"Expected at least one batch of {batch_size} training images. Received: "
                f"{len(images)} images. Use a smaller batch size or more images."
            )
        self._shuffle()

    def __len__(self) -> int:
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        total = len(self.images) * self.repeats
        return total // self.batch_size if self.training else -(-total // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        """Return batch `index`: float32 images `(batch, height, width, channels)`, and labels."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        batch = to_float32(self.images[rows])
        if self.flip:
            random = np.random.default_rng((self.seed, self.epoch, index))
            mirrored = random.random(len(batch)) < 0.5
            batch[mirrored] = batch[mirrored, :, ::-1]
        self._read_ahead(index)
        return batch if self.labels is None else (batch, self.labels[rows])

    def __iter__(self) -> Any:
        return (self[index] for index in range(len(self)))

    def get_state(self) -> dict[str, int]:
        """Return what decides the order and the flips of the present epoch."""
        return {"epoch": self.epoch}

    def set_state(self, state: dict[str, int]) -> None:
        """Go to the epoch that `get_state` returned."""
        self.epoch = int(state["epoch"])
        self._shuffle()

    def on_epoch_end(self) -> None:
        """Shuffle the images for the next epoch. Keras calls this method."""
        self.epoch += 1
        self._shuffle()

    def _read_ahead(self, index: int) -> None:
        """Let the system read the images of later batches, if they are streamed."""
        if isinstance(self.images, StoredImages):
            window, start = self.images.window, index * self.batch_size
            if not self.training:
                ahead = slice(start + self.batch_size, start + 3 * self.batch_size)
            elif start // window == self._windows_read:
                return
            else:  # the first batch of another part of the file
                self._windows_read = start // window
                ahead = slice(start, (self._windows_read + 2) * window)
            self.images.read_ahead(self._order[ahead])

    def _shuffle(self) -> None:
        number = len(self.images)
        self._windows_read = -1
        if not self.training:
            self._order = np.arange(number)
            return
        random = np.random.default_rng((self.seed, self.epoch))
        passes = -(-len(self) * self.batch_size // number)
        if isinstance(self.images, StoredImages):
            self._order = np.concatenate([self.images.permutation(random) for _ in range(passes)])
        else:
            self._order = np.concatenate([random.permutation(number) for _ in range(passes)])
