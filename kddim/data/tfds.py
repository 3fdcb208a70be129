"""Data sets of TensorFlow Datasets."""

import re
from typing import Any

import numpy as np
from PIL import Image

from kddim.backend import leave_devices_to_the_backend
from kddim.checks import reason_of
from kddim.data.decode import picture_to_array
from kddim.data.storage import allocate

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
) -> tuple[np.ndarray, np.ndarray]:
    """Load a data set with `tfds.load`, which downloads it if necessary.

    Args:
        name: Name of a data set with a feature "image", such as "oxford_flowers102".
        image_size: `(height, width)` in pixels. Images are cropped at their centre and resized.
        channels: Number of channels, 1 or 3. None keeps the channels of the data set.
        validation_split: Fraction of every official split for validation, in (0, 1). It is rounded
            to whole percents.
        limit: Maximum number of images of both parts together. None reads all.

    Returns:
        `(train, validation)`, two uint8 arrays `(n, height, width, channels)`.

    Raises:
        ValueError: If TensorFlow Datasets is not installed or does not know the name, if the data
            set has no images, or if it cannot be downloaded.
    """
    if channels not in (None, 1, 3):
        raise ValueError(
            f"Expected channels of 1 or 3 for a TensorFlow data set. Received: {channels}"
        )
    if not re.fullmatch(r"\w+(/[\w.\-]+)?(:[\d.*]+)?", name):
        raise ValueError(UNKNOWN_SOURCE.format(name))
    tfds = _import_tfds(name)
    leave_devices_to_the_backend()
    builder = _prepare(tfds, name)
    found = builder.info.features["image"].shape[-1]
    # The data of `tfds.testing.mock_data` have no official splits and accept any name.
    names = list(builder.info.splits) or ["train", "validation", "test"]
    parts: list[np.ndarray] = []
    for split in split_names(names, validation_split):
        dataset = tfds.load(name, split=split, shuffle_files=False)
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
        examples = tfds.as_numpy(dataset.take(number))
        parts.append(_decode(examples, number, image_size, channels or found or 3))
    return parts[0], parts[1]


def _prepare(tfds: Any, name: str) -> Any:
    """Return the builder of a data set after downloading and preparing the data."""
    try:
        builder = tfds.builder(name)
    except Exception as error:  # Unknown names and versions raise errors of many types.
        raise ValueError(UNKNOWN_SOURCE.format(name)) from error
    if "image" not in builder.info.features:
        raise ValueError(
            'Expected a data set with a feature "image". '
            f"Received: {name!r} with {sorted(builder.info.features)}"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # Network and file errors have many types.
        raise ValueError(
            f"Expected to download and prepare the data set {name!r}. "
            f"Received: {type(error).__name__}: {reason_of(error)}"
        ) from error
    return builder


def _import_tfds(name: str) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"{UNKNOWN_SOURCE.format(name)}. For TensorFlow data sets, install kddim[tfds]"
        ) from error
    return tfds


def _decode(examples: Any, number: int, image_size: tuple[int, int], channels: int) -> np.ndarray:
    images = allocate((number, *image_size, channels))
    count = 0
    for example in examples:
        pixels = example["image"]
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        images[count] = picture_to_array(Image.fromarray(pixels), image_size, channels)
        count += 1
    return images[:count]
