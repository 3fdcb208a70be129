"""Batches of data sets of any kind: their images and their labels."""

import copy
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kddim import hosts
from kddim.backend import to_numpy
from kddim.images import check_images


def images_of(batch: Any) -> Any:
    """Return the images of a batch without its labels.

    Args:
        batch: Images, or a tuple or list that begins with images.

    Raises:
        ValueError: If the batch is a dictionary.
    """
    if isinstance(batch, dict):
        raise ValueError(
            "Expected batches of images, or of (images, labels). Received: a dictionary with "
            f"keys {sorted(map(str, batch))}. Map the data set to its images first."
        )
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def iterate_batches(data: Any, batch_size: int = 256) -> Iterator[Any]:
    """Yield the batches of a data set once, without labels.

    Args:
        data: Images as an array or tensor `(n, height, width, channels)`, or batches from
            `tf.data`, `keras.utils.PyDataset`, a torch `DataLoader` or any other iterable.
        batch_size: Number of images per batch if `data` is an array or tensor.

    Yields:
        Images `(batch, height, width, channels)`, as the data set has them.

    Raises:
        ValueError: If the data set has no end, or if `data` is not a data set.
    """
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        for start in range(0, len(data), batch_size):
            yield data[start : start + batch_size]
    elif isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError(
                "Expected a data set that ends. Received: an endless PyDataset. Give it a length."
            )
        for index in range(data.num_batches):
            yield images_of(data[index])
    elif hasattr(data, "cardinality") and int(data.cardinality()) == -1:
        raise ValueError(
            "Expected a data set that ends. Received: one repeated without end. Call its `take`."
        )
    elif hasattr(data, "__iter__"):
        for batch in data:
            yield images_of(batch)
    else:
        raise ValueError(
            "Expected an array of images or an iterable of batches. "
            f"Received: {type(data).__name__}"
        )


def first_batch(data: Any) -> Any | None:
    """Return the images of the first batch of a data set, as `first_pair` with its labels."""
    found = first_pair(data)
    return None if found is None else images_of(found)


def first_pair(data: Any) -> Any | None:
    """Return the first batch of a data set, or None if taking it would use it up.

    Args:
        data: Images as `fit` and `evaluate` take them: an array or tensor, `tf.data`,
            `keras.utils.PyDataset`, a torch `DataLoader`, or a generator of batches.

    Returns:
        The first batch, with labels if it has some, or all images of an array. None for a
        generator, which can be read only once.

    Raises:
        ValueError: If `data` is None, a list or a tuple, or if it has no batch. Keras takes the
            arrays in a list as several inputs of one model.
    """
    if data is None:
        raise ValueError("Expected images to train on. Received: None")
    if isinstance(data, (list, tuple)):
        raise ValueError(
            "Expected images as one array (batch, height, width, channels), or as a data set of "
            f"batches. Received: a {type(data).__name__} of {len(data)}. Join several arrays with "
            "np.concatenate, and leave labels out."
        )
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        return data
    if isinstance(data, keras.utils.PyDataset):
        found = [data[0]] if data.num_batches != 0 else []
    elif hasattr(data, "__iter__") and not hasattr(data, "__next__"):  # tf.data, torch DataLoader
        found = list(itertools.islice(iter(data), 1))
    else:
        return None
    if not found:
        raise ValueError("Expected at least one batch of images. Received: an empty data set")
    return found[0]


def with_batches_in_tuples(data: Any) -> Any:
    """Return a data set in a form that Keras accepts.

    Keras needs the batches of a torch `DataLoader` to be tuples. A loader whose batches are
    single tensors gets a collate function that wraps them.

    Args:
        data: Data set of any kind.

    Returns:
        A changed copy of the loader. Any other data set is returned as it is.
    """
    if not hasattr(data, "collate_fn") or isinstance(next(iter(data)), (tuple, list, dict)):
        return data
    wrapped = copy.copy(data)
    wrapped.collate_fn = functools.partial(_collate_into_tuple, data.collate_fn)
    return wrapped


class PartOfBatches(keras.utils.PyDataset):
    """Rows of each batch that one of several processes gives to JAX, in equal parts.

    Args:
        data: Data set of whole batches, the same in all processes.
        index: Number of the process, from 0.
        count: Number of processes.
    """

    def __init__(self, data: keras.utils.PyDataset, index: int, count: int):
        super().__init__()
        self._data, self._index, self._count = data, index, count

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._data, name)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        return keras.tree.map_structure(self._part, self._data[index])

    def _part(self, rows: Any) -> Any:
        number, left = divmod(len(rows), self._count)
        if left:
            raise ValueError(
                f"Expected batches that {self._count} processes divide equally. Received: one of "
                f"{len(rows)}"
            )
        return rows[self._index * number : (self._index + 1) * number]

    def on_epoch_end(self) -> None:
        """Tell the data set that the epoch ended."""
        self._data.on_epoch_end()


def part_of_process(data: Any) -> Any:
    """Return the data set that this process trains on, if several of them train with JAX.

    TensorFlow divides the batches of all kinds of data sets by itself.

    Args:
        data: Training data of `fit`.

    Raises:
        ValueError: If it is no `keras.utils.PyDataset`, such as `kddim.data.ImageDataset`.
    """
    if hosts.count() == 1 or keras.backend.backend() != "jax":
        return data
    if not isinstance(data, keras.utils.PyDataset):
        raise ValueError(
            "Expected a kddim.data.ImageDataset, because several processes train with JAX. "
            f"Received: {type(data).__name__}"
        )
    return PartOfBatches(data, hosts.index(), hosts.count())


def _collate_into_tuple(collate: Any, samples: Any) -> tuple[Any]:
    return (collate(samples),)


def take_images(data: Any, num_images: int | None, image_shape: Sequence[int | None]) -> np.ndarray:
    """Return the first images of a data set as one array.

    Args:
        data: Array of images or data set of batches, as for `iterate_batches`.
        num_images: Maximum number of images. None takes all.
        image_shape: Expected `(height, width, channels)`. None in place of a number allows any.

    Returns:
        NumPy float32 array `(n, height, width, channels)` in [0, 1], with `n <= num_images`.

    Raises:
        ValueError: If there is no image, or if images have another shape, another type, or
            values outside [0, 1].
    """
    taken: list[np.ndarray] = []
    for batch in iterate_batches(data):
        taken.append(check_images(batch, image_shape).astype("float32"))
        if num_images is not None and sum(map(len, taken)) >= num_images:
            break
    if not taken:
        raise ValueError("Expected at least one batch of images. Received: an empty data set")
    return np.concatenate(taken)[:num_images]


def take_labels(data: Any, num_images: int) -> np.ndarray | None:
    """Return the labels of the first images of a data set, or None if it has none.

    Args:
        data: Data set of batches `(images, labels)`, or of images alone.
        num_images: Maximum number of labels.

    Returns:
        NumPy int32 array `(n,)`, with `n <= num_images`.
    """
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        return None
    found: list[np.ndarray] = []
    for batch in data:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            return None
        found.append(to_numpy(batch[1]).astype("int32"))
        if sum(map(len, found)) >= num_images:
            break
    return np.concatenate(found)[:num_images] if found else None


def images_and_labels(batch: Any) -> tuple[Any, Any]:
    """Return the images of a batch, and its labels or None."""
    has_labels = isinstance(batch, (tuple, list)) and len(batch) > 1
    return images_of(batch), batch[1] if has_labels else None
