"""Arrays of images: checks, batches of data sets, 8-bit pixels, grids and PNG files."""

import copy
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from kddim.backend import to_numpy
from kddim.files import atomic_write
from kddim.ranges import mend, mend_shape


def check_images(images: Any, image_shape: Sequence[int | None] = (None, None, None)) -> np.ndarray:
    """Return images as a NumPy array if they are floats in [0, 1].

    Args:
        images: Array or tensor `(batch, height, width, channels)`.
        image_shape: Expected `(height, width, channels)`. None in place of a number allows any.

    Returns:
        NumPy array of the same shape and dtype. bfloat16 becomes float32.

    Raises:
        ValueError: If the shape is another one, if there is no image, if the dtype is not a float,
            or if a value is not finite or lies outside [0, 1] by more than 1e-4.
    """
    array = to_numpy(images)
    wanted = "(batch, {}, {}, {})".format(
        *(w or n for w, n in zip(image_shape, ("height", "width", "channels")))
    )
    fits = array.ndim == 4 and all(w in (None, s) for w, s in zip(image_shape, array.shape[1:]))
    if not fits or 0 in array.shape:
        raise ValueError(
            f"Expected images of shape {wanted}. Received: shape {array.shape}"
            + mend_shape(array.shape, image_shape)
        )
    if array.dtype.name == "bfloat16":  # NumPy cannot compute with it.
        array = array.astype("float32")
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"Expected float images in [0, 1]. Received: {array.dtype}. Divide uint8 images by 255."
        )
    check_range(array)
    return array


def check_range(images: np.ndarray, where: str = "") -> None:
    """Raise unless all pixel values are finite and in [0, 1].

    Args:
        images: NumPy array of floats, at least one.
        where: Place of the images for the error message, such as " in images.npy".

    Raises:
        ValueError: If a value is not finite, or lies outside [0, 1] by more than 1e-4. The
            message recognises 8-bit, 16-bit, standardised and [-1, 1] images.
    """
    low, high = float(images.min()), float(images.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f"Expected finite pixel values. Received: NaN or infinite values{where}")
    if low < -1e-4 or high > 1.0 + 1e-4:
        raise ValueError(
            "Expected pixel values in [0, 1]. "
            f"Received: values from {low:.4g} to {high:.4g}{where}{mend(images)}"
        )


def check_finite_images(images: np.ndarray) -> None:
    """Raise unless all values of images that a model made are finite.

    Args:
        images: Float images or latents, `(n, height, width, channels)`.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    bad = int(np.sum(~np.isfinite(images).all(axis=(1, 2, 3))))
    if bad:
        raise ValueError(
            f"Expected finite images of the model. Received: NaN or infinity in {bad:,} of "
            f"{len(images):,}. Use float32 (--dtype float32), a sampler and a schedule that suit "
            "the model, or a model of an earlier epoch."
        )


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


def to_uint8(images: Any) -> np.ndarray:
    """Convert floats in [0, 1] to uint8.

    Values are rounded to the nearest level and clipped to [0, 255]. NaN becomes 0.

    Args:
        images: Array or tensor of any shape.

    Returns:
        NumPy uint8 array of the same shape.
    """
    return (np.clip(np.nan_to_num(to_numpy(images)), 0.0, 1.0) * 255.0 + 0.5).astype("uint8")


def grid(images: Any, num_cols: int, padding: int = 2, scale: int | None = None) -> np.ndarray:
    """Arrange images in rows on a white background.

    Args:
        images: Floats in [0, 1], `(n, height, width, channels)`.
        num_cols: Number of images per row, at least 1.
        padding: Distance between images in pixels. It grows with large values of `scale`.
        scale: Side length of the square that each pixel becomes. By default, small images are
            enlarged to at least 64 pixels.

    Returns:
        Pixels of the grid, a NumPy uint8 array `(height, width, channels)`.

    Raises:
        ValueError: If `num_cols` is below 1.
    """
    if num_cols < 1:
        raise ValueError(f"Expected `num_cols` of at least 1. Received: {num_cols}")
    pixels = to_uint8(images)
    scale = scale or max(1, -(-64 // max(pixels.shape[1:3])))
    padding *= max(1, scale // 4)
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    # White places fill the last row. Each image has white pixels below it and on its right.
    margins = ((0, -len(pixels) % num_cols), (0, padding), (0, padding), (0, 0))
    tiles = np.pad(pixels, margins, constant_values=255)
    _, height, width, channels = tiles.shape
    rows = tiles.reshape(-1, num_cols, height, width, channels).swapaxes(1, 2)
    canvas = rows.reshape(-1, num_cols * width, channels)
    return np.pad(canvas, ((padding, 0), (padding, 0), (0, 0)), constant_values=255)


def save_png(path: str | os.PathLike, pixels: np.ndarray) -> Path:
    """Write one image as a PNG file, completely or not at all.

    Args:
        path: File to write. Missing folders are created. The format is PNG with any ending.
        pixels: uint8 array `(height, width, channels)`. With 1, 3 or 4 channels it is a grey, RGB
            or RGBA image. With any other number, the channels become grey panels side by side.

    Returns:
        The path.
    """
    path = Path(path)
    with atomic_write(path) as partial:
        Image.fromarray(as_picture(pixels)).save(partial, format="PNG")
    return path


def as_picture(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels to a shape that image files and plots accept.

    Args:
        pixels: Array `(height, width, channels)`.

    Returns:
        The same array for 3 and 4 channels, `(height, width)` for one channel. For any other
        number, `(height, channels * width)`: one grey panel per channel, side by side.
    """
    if pixels.shape[-1] in (3, 4):
        return pixels
    return np.concatenate(np.split(pixels, pixels.shape[-1], axis=-1), axis=1)[..., 0]
