"""Batches of images for training on every Keras backend."""

from typing import Any

import keras
import numpy as np

from kddim.data.decode import to_float32


class ImageDataset(keras.utils.PyDataset):
    """Batches of float32 images in [0, 1] from an array in memory.

    `fit`, `evaluate` and `normalizer.adapt` accept it on every backend. It can be indexed and
    iterated over. Training data are shuffled for each epoch, and the last, incomplete batch is
    dropped. Validation data keep their order and all their images.

    Args:
        images: uint8 values, or floats in [0, 1], `(n, height, width, channels)`.
        batch_size: Number of images per batch, at least 1.
        training: If true, shuffle, repeat and flip the images, and drop the incomplete batch.
        repeats: Number of passes over the training images per epoch. The keras.io example has 5.
        steps_per_epoch: Number of batches per epoch. None follows from `repeats`.
        flip: If true, mirror each training image with probability 1/2, chosen anew in each epoch.
        seed: Int that determines the order and the flips.

    Raises:
        ValueError: If `images` has another shape or type or is empty, or if `batch_size` is below
            1.
    """

    def __init__(
        self,
        images: np.ndarray,
        batch_size: int,
        *,
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
        if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
            raise ValueError(f"Expected uint8, or floats in [0, 1]. Received: {images.dtype}")
        self.images = images
        self.batch_size = batch_size
        self.training = training
        self.repeats = repeats if training else 1
        self.steps_per_epoch = steps_per_epoch
        self.flip = flip and training
        self.seed = seed % 2**64
        self.epoch = 0
        self._read: list[int] = []  # indices in the order in which Keras reads them
        self._shuffle()

    def __len__(self) -> int:
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        total = len(self.images) * self.repeats
        return total // self.batch_size if self.training else -(-total // self.batch_size)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return batch `index`, a float32 array `(batch, height, width, channels)`."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        self._read.append(index)
        return self._batch(index)

    def batch_of_step(self, step: int) -> np.ndarray | None:
        """Return the batch of a step of the present epoch, or None if it was not read yet.

        `fit` reads the batches of an epoch in an order of its own, unless `shuffle=False`.

        Args:
            step: Number of the step within the epoch, from 0.
        """
        return self._batch(self._read[step]) if step < len(self._read) else None

    def _batch(self, index: int) -> np.ndarray:
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        batch = to_float32(self.images[rows])
        if self.flip:
            random = np.random.default_rng((self.seed, self.epoch, index))
            mirrored = random.random(len(batch)) < 0.5
            batch[mirrored] = batch[mirrored, :, ::-1]
        return batch

    def __iter__(self) -> Any:
        return (self[index] for index in range(len(self)))

    def on_epoch_begin(self) -> None:
        """Forget the order of the epoch before. Keras calls this method."""
        self._read = []

    def on_epoch_end(self) -> None:
        """Shuffle the images for the next epoch. Keras calls this method."""
        self.epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        number = len(self.images)
        if not self.training:
            self._order = np.arange(number)
            return
        random = np.random.default_rng((self.seed, self.epoch))
        passes = -(-len(self) * self.batch_size // number)
        self._order = np.concatenate([random.permutation(number) for _ in range(passes)])
