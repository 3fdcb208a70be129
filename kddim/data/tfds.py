"""Data sets of TensorFlow Datasets, by name."""

from typing import Any

import numpy as np
from PIL import Image

from kddim.backend import leave_devices_to_the_backend
from kddim.data.decode import picture_to_array
from kddim.data.storage import allocate


def split_names(splits: Any, validation_split: float) -> tuple[str, str]:
    """The example's splits: the first part of every official split, and its rest.

    Args:
        splits: names of the official splits.
        validation_split: fraction of each for validation, in whole percents.

    Returns:
        Such as `("train[:80%]+test[:80%]", "train[80%:]+test[80%:]")`.
    """
    percent = round(100 * (1.0 - validation_split))
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
    tfds = _import_tfds(name)
    leave_devices_to_the_backend()
    try:
        builder = tfds.builder(name)
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError) as error:
        raise ValueError(
            'Expected "digits", a folder, a .npy or .npz file, or the name of a TensorFlow '
            f"data set. Received: {name!r}, which is none of them here"
        ) from error
    if "image" not in builder.info.features:
        raise ValueError(
            'Expected a data set with a feature "image". '
            f"Received: {name!r} with {sorted(builder.info.features)}"
        )
    found = builder.info.features["image"].shape[-1]
    try:
        builder.download_and_prepare()
    except Exception as error:  # any of a dozen network and file errors
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"Expected to download and prepare the data set {name!r}. "
            f"Received: {type(error).__name__}: {reason[0] if reason else ''}"
        ) from error
    # Made-up data (`tfds.testing.mock_data`) know no splits and allow any.
    names = list(builder.info.splits) or ["train", "validation", "test"]
    fractions = (1.0 - validation_split, validation_split)
    parts = []
    for split, fraction in zip(split_names(names, validation_split), fractions):
        dataset = tfds.load(name, split=split, shuffle_files=False)
        number = int(dataset.cardinality())
        if limit is not None:
            number = min(number, max(1, round(limit * fraction)))
        examples = tfds.as_numpy(dataset.take(number))
        parts.append(_decode(examples, number, image_size, channels or found or 3))
    return parts[0], parts[1]


def _import_tfds(name: str) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            'Expected "digits", a folder or a .npy or .npz file that exists, or the name of a '
            f"TensorFlow data set. Received: {name!r}. For TensorFlow data sets, install "
            "kddim[tfds]"
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
