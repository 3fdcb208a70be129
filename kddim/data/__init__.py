"""Data sets: from a name, a folder or a file to batches that `fit` takes."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from kddim.checks import check_image_size
from kddim.data.arrays import load_arrays
from kddim.data.dataset import ImageDataset
from kddim.data.decode import array_to_size, set_channels
from kddim.data.digits import load_digits
from kddim.data.fingerprints import fingerprint
from kddim.data.folder import load_folder
from kddim.data.native import NativeImages
from kddim.data.tfds import UNKNOWN_SOURCE, load_tfds

__all__ = ["ImageDataset", "NativeImages", "fingerprint", "load"]


def load(
    source: str | os.PathLike,
    image_size: int | tuple[int, int],
    batch_size: int = 64,
    *,
    channels: int | None = None,
    validation_split: float = 0.2,
    repeats: int = 1,
    flip: bool = False,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[ImageDataset, ImageDataset]:
    """Loads images for training and validation.

    Images of other sizes are centre-cropped and resized with antialiasing. Everything
    is decoded once, and kept as uint8 (or as the floats of a NumPy file).

    Args:
        source: "digits" (embedded); a folder of pictures, walked recursively; a `.npy`
            or `.npz` file; or the name of a TensorFlow data set, such as
            "oxford_flowers102".
        image_size: int or `(height, width)`.
        batch_size: images a batch.
        channels: 1 or 3; None keeps those of the data.
        validation_split: fraction for validation, in (0, 1). TensorFlow data sets give
            it of every official split, as in the keras.io example; others at random.
        repeats: passes over the training images an epoch.
        flip: mirrors half of the training images.
        limit: uses at most so many images in all.
        seed: of the split, the order and the flips.

    Returns:
        `(train, validation)`, each an `ImageDataset`: batches of float32 images in
        [0, 1], `(batch, height, width, channels)`.

    Raises:
        ValueError: an unknown source, no readable image, values outside [0, 1], or
            fewer training images than a batch.
    """
    size = check_image_size(image_size)
    _check_options(batch_size, validation_split, repeats, limit, channels, seed)
    if not str(source):
        raise ValueError(UNKNOWN_SOURCE.format(source))
    parts = _load_parts(source, size, channels, validation_split, limit, seed)
    train, validation = parts
    if len(train) < batch_size:
        raise ValueError(
            f"Expected at least one batch of {batch_size} training images. Received: "
            f"{len(train)} images. Use a smaller batch size or more images."
        )
    return (
        ImageDataset(train, batch_size, training=True, repeats=repeats, flip=flip, seed=seed),
        ImageDataset(validation, batch_size),
    )


def _load_parts(source, size, channels, validation_split, limit, seed):
    path = Path(source)
    random = np.random.default_rng(seed % 2**64)
    if source == "digits":
        images = np.stack([array_to_size(image, size) for image in load_digits()])
        images = set_channels(images, channels)
    elif path.is_dir():
        images = load_folder(path, size, channels, order=random, limit=limit)
        return _split(images, validation_split)
    elif path.suffix.lower() in (".npy", ".npz"):
        if not path.is_file():
            raise ValueError(f"Expected a NumPy file of images. Received: {source}, no such file")
        images = load_arrays(path, size, channels)
    elif path.exists():
        raise ValueError(
            'Expected "digits", a folder of pictures, a .npy or .npz file, or the name of a '
            f"TensorFlow data set. Received: the file {source}"
        )
    else:
        return load_tfds(str(source), size, channels, validation_split, limit)
    return _split(images[random.permutation(len(images))[:limit]], validation_split)


def _split(images: np.ndarray, validation_split: float) -> tuple[np.ndarray, np.ndarray]:
    """Cuts shuffled images in two; neither part is empty."""
    if len(images) < 2:
        raise ValueError(
            "Expected at least two images, one to train and one to validate. "
            f"Received: {len(images)}"
        )
    held_out = min(max(1, round(len(images) * validation_split)), len(images) - 1)
    return images[: len(images) - held_out], images[len(images) - held_out :]


def _check_options(
    batch_size: Any, validation_split: Any, repeats: Any, limit: Any, channels: Any, seed: Any
) -> None:
    if not isinstance(validation_split, (int, float)) or not 0.0 < validation_split < 1.0:
        raise ValueError(f"Expected `validation_split` in (0, 1). Received: {validation_split!r}")
    least = {"batch_size": 1, "repeats": 1, "limit": 2, "channels": 1}
    values = {"batch_size": batch_size, "repeats": repeats, "limit": limit, "channels": channels}
    for name, value in values.items():
        if value is None and name in ("limit", "channels"):
            continue
        if not hasattr(value, "__index__") or value < least[name]:
            raise ValueError(
                f"Expected `{name}` to be an int of at least {least[name]}. Received: {value!r}"
            )
    if not hasattr(seed, "__index__"):
        raise ValueError(f"Expected `seed` to be an int. Received: {seed!r}")
