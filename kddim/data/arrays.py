"""Images from `.npy` and `.npz` files."""

import math
import os

import numpy as np

from kddim import npz
from kddim.budget import check_memory
from kddim.checks import printable
from kddim.data.decode import arrays_to_size, set_channels
from kddim.images import check_range

_FILE = "a NumPy file of images"
_FEW = (1, 3, 4)  # numbers of channels of pictures


def load_arrays(
    path: str | os.PathLike,
    image_size: tuple[int, int],
    channels: int | None = None,
    order: np.random.Generator | None = None,
    limit: int | None = None,
    kept: list[int] | None = None,
) -> np.ndarray:
    """Read images from a NumPy file and bring them to one size.

    Args:
        path: A `.npy` file, or a `.npz` file that holds an array `images` or only one array. Its
            shape is `(n, height, width)` or `(n, height, width, channels)`, and its values are
            uint8 or floats in [0, 1]. Pickled objects are refused.
        image_size: `(height, width)` in pixels. Images of other sizes are cropped at their centre
            and resized.
        channels: Number of channels of the result. None keeps the channels of the file.
        order: Random generator that shuffles the images before `limit` is applied. None keeps
            them as they are in the file.
        limit: Maximum number of images. None takes all.
        kept: List that receives the indices of the images within the file.

    Returns:
        NumPy uint8 or float32 array `(n, height, width, channels)`.

    Raises:
        ValueError: If the file is missing or is another kind of file, if its array has another
            shape or type or does not fit in the free memory, or if values are not finite or lie
            outside [0, 1].
    """
    images = read_images(path, limit)
    rows = np.arange(len(images)) if order is None else order.permutation(len(images))
    if kept is not None:
        kept += rows[:limit].tolist()
    if order is not None:
        images = images[rows[:limit]]
    images = set_channels(as_pixels(images[:limit]), channels)
    return arrays_to_size(images, image_size)


def read_images(path: str | os.PathLike, limit: int | None = None) -> np.ndarray:
    """Read images from a NumPy file at their own size, with the same checks as `load_arrays`.

    Args:
        path: A `.npy` or `.npz` file.
        limit: Maximum number of images that the caller will copy. None stands for all.

    Returns:
        NumPy array `(n, height, width, channels)` of uint8, or of floats of any precision that
        `as_pixels` takes.
    """
    if not os.path.exists(path):
        raise ValueError(f"Expected {_FILE}. Received: {printable(path)}, no such file")
    described = npz.headers(path, what=_FILE)
    name = "images" if "images" in described else next(iter(described), None)
    if name is None or (name != "images" and len(described) > 1):
        raise ValueError(
            f"Expected an array `images`, or only one array, in {printable(path)}. "
            f"Received: {list(described)}"
        )
    shape, dtype = described[name]
    if not dtype.hasobject:  # the reader says why
        check_shape(shape, f" in {printable(path)}")
        check_type(dtype, path)
        copied = min(limit or shape[0], shape[0])
        check_memory(
            (shape[0] + copied) * math.prod(shape[1:]) * dtype.itemsize,
            f"the images of {printable(path)}",
            "Split the file, or save its images as pictures in a folder.",
        )
    images = npz.read_arrays(path, [name], what=_FILE)[name]
    if images.dtype != np.uint8:
        check_range(images, f" in {printable(path)}")
    return images[..., None] if images.ndim == 3 else images


def as_pixels(images: np.ndarray) -> np.ndarray:
    """Return images as uint8, or as float32 values in [0, 1].

    Args:
        images: Array of `read_images`, which may be overwritten.
    """
    if images.dtype == np.uint8:
        return images
    images = images.astype("float32", copy=False)
    return np.clip(images, 0.0, 1.0, out=images)


def check_shape(shape: tuple[int, ...], where: str = "") -> None:
    """Raise unless a shape is that of images with the channels last.

    Args:
        shape: Shape of an array.
        where: Place of the array for the error message, such as " in images.npy".

    Raises:
        ValueError: If it is another shape.
    """
    if len(shape) not in (3, 4) or 0 in shape:
        raise ValueError(
            "Expected images of shape (n, height, width) or (n, height, width, channels). "
            f"Received: shape {shape}{where}"
        )
    if len(shape) == 4 and shape[1] in _FEW and shape[3] > max(_FEW):
        raise ValueError(
            f"Expected images of shape (n, height, width, channels). Received: shape {shape}"
            f"{where}, which looks like channels first. Use np.moveaxis(images, 1, -1)."
        )


def check_type(dtype: np.dtype, path: str | os.PathLike) -> None:
    """Raise unless a type is that of images.

    Args:
        dtype: Type of an array.
        path: File of the array.

    Raises:
        ValueError: If it is neither uint8 nor a type of floats.
    """
    if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
        raise ValueError(
            f"Expected uint8, or floats in [0, 1]. Received: {dtype} in {printable(path)}"
        )
