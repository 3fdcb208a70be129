"""Data sets of TensorFlow Datasets, by name."""

import re
from typing import Any

import numpy as np
from PIL import Image

from kddim.backend import leave_devices_to_the_backend
from kddim.data.decode import picture_to_array
from kddim.data.storage import allocate

UNKNOWN_SOURCE = (
    'Expected "digits", a folder of pictures that exists, a .npy or .npz file, or the name of a '
    "TensorFlow data set. Received: {!r}, which is none of them here"
)


def split_names(splits: Any, validation_split: float) -> tuple[str, str]:
    """The example's splits: the first part of every official split, and its rest.

    Args:
        splits: names of the official splits.
        validation_split: fraction of each for validation, in whole percents.

    Returns:
        Such as `("train[:80%]+test[:80%]", "train[80%:]+test[80%:]")`.
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
    """Loads a data set through `tfds.load`, downloading it where that is needed.

    Args:
        name: such as "oxford_flowers102"; it needs a feature "image".
        image_size: `(height, width)`; images are centre-cropped and resized to it.
        channels: 1 or 3; None keeps the data set's own.
        validation_split: fraction of every official split, in whole percents.
        limit: reads at most so many images in all.

    Returns:
        `(train, validation)`, uint8 `(n, height, width, channels)`.

    Raises:
        ValueError: TensorFlow Datasets is not installed or knows no such data set; it
            has no images; it could not be downloaded.
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
    # Made-up data (`tfds.testing.mock_data`) know no splits and allow any.
    names = list(builder.info.splits) or ["train", "validation", "test"]
    parts: list[np.ndarray] = []
    for split in split_names(names, validation_split):
        dataset = tfds.load(name, split=split, shuffle_files=False)
        number = int(dataset.cardinality())
        if number < 0:  # unknown to this data set
            number = builder.info.splits[split].num_examples
        if limit is not None:
            share = max(1, round(limit * (1.0 - validation_split))) if not parts else limit
            number = min(number, share - sum(map(len, parts)))
        if number < 1:
            raise ValueError(
                "Expected images to train on and to validate on. "
                f"Received: none in {split} of {name!r} (limit={limit})"
            )
        examples = tfds.as_numpy(dataset.take(number))
        parts.append(_decode(examples, number, image_size, channels or found or 3))
    return parts[0], parts[1]


def _prepare(tfds: Any, name: str) -> Any:
    """The builder of a data set of images, downloaded and prepared."""
    try:
        builder = tfds.builder(name)
    except Exception as error:  # unknown names and versions raise half a dozen types
        raise ValueError(UNKNOWN_SOURCE.format(name)) from error
    if "image" not in builder.info.features:
        raise ValueError(
            'Expected a data set with a feature "image". '
            f"Received: {name!r} with {sorted(builder.info.features)}"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # any of a dozen network and file errors
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"Expected to download and prepare the data set {name!r}. "
            f"Received: {type(error).__name__}: {reason[0] if reason else ''}"
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
