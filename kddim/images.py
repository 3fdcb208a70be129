"""Arrays of images: checks, 8-bit pixels, grids and PNG files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
