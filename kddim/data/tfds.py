"""Data sets of TensorFlow Datasets."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import Image

from kddim.backend import leave_devices_to_the_backend
from kddim.checks import reason_of
from kddim.data.decode import check_channels, picture_to_array
from kddim.data.decoded import DecodedImages, in_batches
from kddim.data.labels import Labels, check_values
from kddim.data.storage import check_room, in_its_place, in_memory, is_streamed
from kddim.data.stored import StoredImages
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
    stream: bool | None = None,
) -> tuple[Any, Any]:
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
        stream: If true, the images are `StoredImages`, and if false arrays. None decides by the
            free memory.

    Returns:
        `(train, validation)`, uint8 images `(n, height, width, channels)` each.

    Raises:
        ValueError: If TensorFlow Datasets is not installed or does not know the name, if the data
            set has no images or too many for the memory and the disk, or if it cannot be
            downloaded. If labels are asked for and the data set has no feature "label".
    """
    check_channels(channels, "a TensorFlow data set")
    if not re.fullmatch(r"\w+(/[\w.\-]+)?(:[\d.*]+)?", name):
        raise ValueError(UNKNOWN_SOURCE.format(name))
    builder = _builder(name)
    class_names = None if labels is None else _class_names(builder, name)
    channels = channels or builder.info.features["image"].shape[-1] or 3
    # Before the download, if the data set knows its length by then.
    known = sum(split.num_examples for split in builder.info.splits.values())
    shape = (min(known, limit or known), *image_size, channels)
    if known and is_streamed(shape, stream) and not stream:
        check_room(shape)
    _prepare(builder, name)
    parts = _parts(builder, name, validation_split, limit)
    shape = (sum(part.number for part in parts), *image_size, channels)
    words = f"decoding {shape[0]:,} images of {name}"
    whole: Any
    if is_streamed(shape, stream):
        whole = in_its_place(_stored(builder, parts, shape, words, verbose), stream)
    else:
        whole = in_memory(shape, _decoded(parts, shape, words, verbose))
    if class_names is not None and labels is not None:
        labels += [_labels(part, class_names) for part in parts]
    first = parts[0].number
    return whole[:first], whole[first:]


class _Part(NamedTuple):
    """Part of a data set.

    Attributes:
        split: Name of the splits that it takes images from.
        dataset: Examples, a `tf.data.Dataset`.
        number: Number of examples.
    """

    split: str
    dataset: Any
    number: int


def _parts(builder: Any, name: str, validation_split: float, limit: int | None) -> list[_Part]:
    """Return the parts for training and for validation."""
    # The data of `tfds.testing.mock_data` have no official splits and accept any name.
    names = list(builder.info.splits) or ["train", "validation", "test"]
    parts: list[_Part] = []
    for split in split_names(names, validation_split):
        dataset = builder.as_dataset(split=split, shuffle_files=False)
        number = int(dataset.cardinality())
        if number < 0:  # The data set does not know its length.
            number = builder.info.splits[split].num_examples
        if limit is not None:
            share = max(1, round(limit * (1.0 - validation_split))) if not parts else limit
            number = min(number, share - sum(part.number for part in parts))
        if number < 1:
            raise ValueError(
                "Expected images for training and for validation. "
                f"Received: none in {split} of {name!r} (limit={limit})"
            )
        parts.append(_Part(split, dataset.take(number), number))
    return parts


def _labels(part: _Part, class_names: tuple[str, ...]) -> Labels:
    values = part.dataset.map(lambda example: example["label"]).as_numpy_iterator()
    return Labels(check_values(np.fromiter(values, "int32"), len(class_names)), class_names)


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


def _stored(
    builder: Any, parts: list[_Part], shape: tuple[int, ...], words: str, verbose: int
) -> StoredImages:
    """Return the images of both parts from the cache, decoded if they are not there."""
    key = {
        "source": builder.info.full_name,
        "parts": [(part.split, part.number) for part in parts],
        "image_shape": shape[1:],
        "pillow": PIL.__version__,
    }
    entry = DecodedImages(key)
    images = entry.open()
    if images is None:
        check_room(shape)
        images = entry.make(shape, "uint8", lambda notes: _decoded(parts, shape, words, verbose))
    return images


def _decoded(
    parts: list[_Part], shape: tuple[int, ...], words: str, verbose: int
) -> Iterator[np.ndarray]:
    """Yield batches of decoded images of both parts."""
    _, height, width, channels = shape
    with show_batches(words, shape[0], verbose) as advance:
        for part in parts:
            pictures = part.dataset.map(lambda example: example["image"]).as_numpy_iterator()
            for rows in in_batches(part.number, _CHUNK):
                images = np.empty((rows.stop - rows.start, *shape[1:]), "uint8")
                for place, image in enumerate(images):
                    if (pixels := next(pictures, None)) is None:
                        raise ValueError(
                            f"Expected {part.number:,} images in {part.split}. Received: "
                            f"{rows.start + place:,}. Prepare the data set again."
                        )
                    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
                    image[...] = picture_to_array(
                        Image.fromarray(pixels), (height, width), channels
                    )
                advance(len(images))
                yield images
