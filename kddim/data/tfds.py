"""Data sets of TensorFlow Datasets."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from kddim.backend import leave_devices_to_the_backend
from kddim.checks import reason_of
from kddim.data.decode import picture_to_array
from kddim.data.labels import Labels, check_values
from kddim.data.storage import allocate, fits_in_memory
from kddim.progress import show_batches

_CHUNK = 256  # number of images between two reports of the progress

UNKNOWN_SOURCE = (
    'Expected "digits", a folder of pictures that exists, a .npy or .npz file, or the name of a '
    "TensorFlow data set. Received: {!r}, which is none of them here"
)


def split_names(splits: Any, validation_split: float) -> tuple[str, str]:
    """Return the names of a training and a validation part of all official splits.

    As in the keras.io example, the training part is the first part of every official split, and
    the validation part is the rest.

    Args:
        splits: Names of the official splits.
        validation_split: Fraction of each split for validation, in (0, 1). It is rounded to whole
            percents.

    Returns:
        `(train, validation)`, such as `("train[:80%]+test[:80%]", "train[80%:]+test[80%:]")`.
    """
    percent = min(99, max(1, round(100 * (1.0 - validation_split))))
    train = "+".join(f"{name}[:{percent}%]" for name in splits)
    return train, "+".join(f"{name}[{percent}%:]" for name in splits)


def load_tfds(
    name: str,
    image_size: tuple[int, int],
    channels: int | None = None,
    validation_split: float = 0.2,
    limit: int | None = None,
    verbose: int = 0,
    labels: list[Labels] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Load a data set with `tfds.load`, which downloads it if necessary.

    Args:
        name: Name of a data set with a feature "image", such as "oxford_flowers102".
        image_size: `(height, width)` in pixels. Images are cropped at their centre and resized.
        channels: Number of channels, 1 or 3. None keeps the channels of the data set.
        validation_split: Fraction of every official split for validation, in (0, 1). It is rounded
            to whole percents.
        limit: Maximum number of images of both parts together. None reads all.
        verbose: 1 draws a progress bar. 0 writes lines to the log.
        labels: List that receives the labels of both parts.

    Returns:
        `(train, validation)`, two uint8 arrays `(n, height, width, channels)`.

    Raises:
        ValueError: If TensorFlow Datasets is not installed or does not know the name, if the data
            set has no images or too many for the memory and the disk, or if it cannot be
            downloaded. If labels are asked for and the data set has no feature "label".
    """
    if channels not in (None, 1, 3):
        raise ValueError(
            f"Expected channels of 1 or 3 for a TensorFlow data set. Received: {channels}"
        )
    if not re.fullmatch(r"\w+(/[\w.\-]+)?(:[\d.*]+)?", name):
        raise ValueError(UNKNOWN_SOURCE.format(name))
    builder = _builder(name)
    class_names = None if labels is None else _class_names(builder, name)
    channels = channels or builder.info.features["image"].shape[-1] or 3
    # Before the download, if the data set knows its length by then.
    known = sum(split.num_examples for split in builder.info.splits.values())
    if known:
        fits_in_memory((min(known, limit or known), *image_size, channels))
    _prepare(builder, name)
    # The data of `tfds.testing.mock_data` have no official splits and accept any name.
    names = list(builder.info.splits) or ["train", "validation", "test"]
    parts: list[np.ndarray] = []
    for split in split_names(names, validation_split):
        dataset = builder.as_dataset(split=split, shuffle_files=False)
        number = int(dataset.cardinality())
        if number < 0:  # The data set does not know its length.
            number = builder.info.splits[split].num_examples
        if limit is not None:
            share = max(1, round(limit * (1.0 - validation_split))) if not parts else limit
            number = min(number, share - sum(map(len, parts)))
        if number < 1:
            raise ValueError(
                "Expected images for training and for validation. "
                f"Received: none in {split} of {name!r} (limit={limit})"
            )
        dataset = dataset.take(number)
        pictures = dataset.map(lambda example: example["image"])
        words = f"decoding {number:,} images of {name}"
        with show_batches(words, number, verbose) as advance:
            images = allocate((number, *image_size, channels))
            parts.append(_decode(pictures, images, advance))
        if class_names and labels is not None:
            values = dataset.map(lambda example: example["label"]).as_numpy_iterator()
            values = np.fromiter(values, "int32")[: len(parts[-1])]
            labels.append(Labels(check_values(values, len(class_names)), class_names))
    return parts[0], parts[1]


def _builder(name: str) -> Any:
    """Return the builder of a data set, with a feature "image"."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"{UNKNOWN_SOURCE.format(name)}. For TensorFlow data sets, install kddim[tfds]"
        ) from error
    leave_devices_to_the_backend()
    try:
        builder = tfds.builder(name)
    except Exception as error:  # Unknown names and versions raise errors of many types.
        raise ValueError(UNKNOWN_SOURCE.format(name)) from error
    if "image" not in builder.info.features:
        raise ValueError(
            'Expected a data set with a feature "image". '
            f"Received: {name!r} with {sorted(builder.info.features)}"
        )
    return builder


def _class_names(builder: Any, name: str) -> tuple[str, ...]:
    """Return the names of the classes of a data set."""
    features = builder.info.features
    feature = dict(features.items()).get("label")
    if not getattr(feature, "names", None):
        raise ValueError(
            'Expected a data set with a feature "label" of named classes, for labels. '
            f"Received: {name!r} with {sorted(builder.info.features)}. Train without labels."
        )
    return tuple(feature.names)  # type: ignore[union-attr]


def _prepare(builder: Any, name: str) -> None:
    """Download and prepare the data of a builder."""
    try:
        builder.download_and_prepare()
    except Exception as error:  # Network and file errors have many types.
        raise ValueError(
            f"Expected to download and prepare the data set {name!r}. "
            f"Received: {type(error).__name__}: {reason_of(error)}"
        ) from error


def _decode(pictures: Any, images: np.ndarray, advance: Callable[[int], None]) -> np.ndarray:
    _, height, width, channels = images.shape
    count = 0
    for count, pixels in enumerate(pictures.as_numpy_iterator(), start=1):
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        images[count - 1] = picture_to_array(Image.fromarray(pixels), (height, width), channels)
        if count % _CHUNK == 0:
            advance(_CHUNK)
    return images[:count]
