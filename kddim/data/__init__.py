"""Data sets: batches of images for `fit` from a name, a folder or a file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kddim.checks import check_count, check_image_size, is_number, printable
from kddim.data.array_files import stream_arrays
from kddim.data.arrays import load_arrays
from kddim.data.dataset import ImageDataset
from kddim.data.decode import arrays_to_size, set_channels
from kddim.data.digits import load_digit_labels, load_digits
from kddim.data.fingerprints import fingerprint
from kddim.data.folder import load_folder
from kddim.data.labels import Labels, file_labels, folder_labels
from kddim.data.native import NativeImages
from kddim.data.skipped import Unreadable, write_skipped
from kddim.data.stored import StoredImages
from kddim.data.tfds import UNKNOWN_SOURCE, load_tfds

__all__ = ["ImageDataset", "NativeImages", "Unreadable", "fingerprint", "load", "write_skipped"]


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
    steps_per_epoch: int | None = None,
    strict: bool = False,
    labels: bool = False,
    stream: bool | None = None,
    verbose: int = 0,
) -> tuple[ImageDataset, ImageDataset]:
    """Load images for training and validation.

    Images of other sizes are cropped at their centre and resized with antialiasing. All images are
    decoded once and kept as uint8, or as the floats of a NumPy file: in memory, or on the disk if
    they are streamed.

    Args:
        source: "digits" for the embedded data set, a folder of pictures (including its
            subfolders), a `.npy` or `.npz` file, or the name of a TensorFlow data set such as
            "oxford_flowers102".
        image_size: Side length in pixels, or `(height, width)`.
        batch_size: Number of images per batch, at least 1.
        channels: Number of channels, 1 or 3. None keeps the channels of the data.
        validation_split: Fraction of the images for validation, in (0, 1). Of a TensorFlow data
            set, it is the last part of every official split, as in the keras.io example. Of other
            sources, it is a random choice.
        repeats: Number of passes over the training images per epoch, at least 1.
        flip: If true, mirror each training image with probability 1/2.
        limit: Maximum number of images of both parts together, at least 2. None uses all.
        seed: Int that determines the split, the order of the training images and the flips.
        steps_per_epoch: Number of training batches per epoch, at least 1, instead of the number
            that `repeats` gives.
        strict: If true, a picture or folder that cannot be read is an error. If false, it is
            skipped, and a warning in the log counts and names such files.
        labels: If true, batches are `(images, labels)`, with int32 labels `(batch,)`, and the data
            sets have `class_names`. The class of a picture is the name of its folder on the first
            level below `source`. TensorFlow data sets and digits have labels of their own, and a
            `.npz` file has them in its array `labels`, with names in `class_names` or without.
        stream: If true, images are decoded once into a file in the cache, and read from there
            batch by batch. If false, all images are in memory. None streams images that take more
            than half of the free memory. Digits and `.npz` files are always in memory.
        verbose: 1 draws a progress bar of the decoding. 0 writes lines to the log.

    Returns:
        `(train, validation)`, each an `ImageDataset` with batches of float32 images in [0, 1],
        `(batch, height, width, channels)`. The attribute `skipped` of both lists the files that
        were skipped, as `(path, reason)`. `write_skipped` writes them to a file.

    Raises:
        ValueError: If the source is unknown, if no image can be read, if values lie outside
            [0, 1], if the images do not fit in memory, if there are fewer training images than a
            batch, if a file was skipped and `strict` is true, if `labels` is true and the source
            has none, or if an option is invalid.

    Example:
        >>> train, validation = kddim.data.load("oxford_flowers102", 64, repeats=5)
        >>> model.fit(train, validation_data=validation)
    """
    size = check_image_size(image_size)
    counts = {"batch_size": batch_size, "repeats": repeats}
    given = {"limit": limit, "channels": channels, "steps_per_epoch": steps_per_epoch}
    _check_options(source, validation_split, seed, counts, given)
    loaded = _load_parts(
        source, size, channels, validation_split, limit, seed, strict, labels, stream, verbose
    )
    (images, train_labels), held_out = loaded.train, loaded.validation
    if len(images) < batch_size:
        raise ValueError(
            f"Expected at least one batch of {batch_size} training images. Received: "
            f"{len(images)} images. Use a smaller batch size or more images."
        )
    options = {"repeats": repeats, "steps_per_epoch": steps_per_epoch, "flip": flip, "seed": seed}
    train = ImageDataset(images, batch_size, labels=train_labels, training=True, **options)  # type: ignore[arg-type]
    validation = ImageDataset(held_out.images, batch_size, labels=held_out.labels)
    train.skipped = validation.skipped = loaded.skipped
    return train, validation


def _check_options(source, validation_split, seed, counts, given) -> None:
    if not is_number(validation_split) or not 0.0 < validation_split < 1.0:
        raise ValueError(f"Expected `validation_split` in (0, 1). Received: {validation_split!r}")
    for name, value in counts.items():
        check_count(name, value)
    for name, value in given.items():
        if value is not None:
            check_count(name, value, least=2 if name == "limit" else 1)
    if not hasattr(seed, "__index__"):
        raise ValueError(f"Expected `seed` to be an int. Received: {seed!r}")
    if not str(source):
        raise ValueError(UNKNOWN_SOURCE.format(source))


class _Part(NamedTuple):
    """Images of a part of a source, and their labels."""

    images: np.ndarray | StoredImages
    labels: Labels | None = None


class _Loaded(NamedTuple):
    """Parts for training and for validation, and the files that cannot be read."""

    train: _Part
    validation: _Part
    skipped: Sequence[Unreadable] = ()


def _load_parts(
    source, size, channels, validation_split, limit, seed, strict, with_labels, stream, verbose
) -> _Loaded:
    path = Path(source)
    random = np.random.default_rng(seed % 2**64)
    skipped: list[Unreadable] = []
    images: Any
    labels = None
    if source == "digits":
        images = load_digits()
        rows = random.permutation(len(images))[:limit]
        images = set_channels(arrays_to_size(images[rows], size), channels)
        if with_labels:
            labels = Labels(load_digit_labels()[rows], tuple("0123456789"))
    elif path.is_dir():
        paths: list[Path] = []
        images, skipped = load_folder(
            path, size, channels, random, limit, strict, verbose, paths, stream
        )
        if with_labels:
            labels = folder_labels(path, paths)
    elif path.suffix.lower() in (".npy", ".npz"):
        kept: list[int] = []
        images = stream_arrays(path, size, channels, random, limit, kept, stream, verbose)
        if images is None:
            images = load_arrays(path, size, channels, random, limit, kept)
        if with_labels:
            labels = file_labels(path, np.array(kept))
    elif path.exists():
        raise ValueError(
            'Expected "digits", a folder of pictures, a .npy or .npz file, or the name of a '
            f"TensorFlow data set. Received: the file {printable(source)}"
        )
    else:
        found: list[Labels] | None = [] if with_labels else None
        parts = load_tfds(
            str(source), size, channels, validation_split, limit, verbose, found, stream
        )
        train, validation = (_Part(*pair) for pair in zip(parts, found or (None, None)))
        return _Loaded(train, validation)
    return _Loaded(*_split(_Part(images, labels), validation_split), skipped)


def _split(whole: _Part, validation_split: float) -> tuple[_Part, _Part]:
    """Cut shuffled images into two parts, neither of which is empty."""
    number = len(whole.images)
    if number < 2:
        raise ValueError(
            "Expected at least two images, one for training and one for validation. "
            f"Received: {number}"
        )
    held_out = min(max(1, round(number * validation_split)), number - 1)
    cut = slice(number - held_out), slice(number - held_out, None)
    if whole.labels is None:
        return _Part(whole.images[cut[0]]), _Part(whole.images[cut[1]])
    values, names = whole.labels
    first, second = (_Part(whole.images[rows], Labels(values[rows], names)) for rows in cut)
    return first, second
