"""Noise from seeds, and interpolation between noises.

Image `i` of seed `s` has its own random stream, with the key `(s, i)`. Draw 0 of the stream is
the initial noise of the image. Draw `k`, from 1, is the noise that a stochastic sampler adds in
step `k`. Images therefore depend neither on the batch size nor on the backend.
"""

import operator
import random
from typing import Any

import numpy as np

from kddim.backend import to_numpy

_MASK = 2**64 - 1

# Draw that encoding adds to an image if the schedule has noise at time 0. It is far beyond the
# draws of any number of steps.
END = 2**32


def resolve_seed(seed: int | None) -> int:
    """Return `seed` as an int, or a new seed if it is None.

    New seeds come from Python's generator, so that `keras.utils.set_random_seed` makes a whole
    program reproducible.

    Args:
        seed: An integer, or None.

    Raises:
        ValueError: If `seed` is neither an integer nor None.
    """
    if seed is None:
        return random.getrandbits(63)
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise ValueError(f"Expected `seed` to be an int or None. Received: {seed!r}")
    return operator.index(seed)


def noise(num_images: int, image_shape: Any, seed: int, start: int = 0, draw: int = 0):
    """Return standard normal noise from one independent random stream per image.

    The streams come from Philox, a counter-based generator (Salmon et al., "Parallel random
    numbers: as easy as 1, 2, 3", SC 2011). Streams with different keys or counters do not overlap.

    Args:
        num_images: Number of images.
        image_shape: Shape of one image, without the batch axis.
        seed: Any int. Its lowest 64 bits count.
        start: Index of the first image, at least 0.
        draw: Index of the draw in each stream, at least 0. Draw 0 is the initial noise.

    Returns:
        NumPy float32 array `(num_images, *image_shape)`.
    """
    noises = np.empty((num_images, *image_shape), "float32")
    for row in range(num_images):
        key = np.array([seed & _MASK, (start + row) & _MASK], "uint64")
        philox = np.random.Philox(key=key, counter=[0, 0, 0, draw])
        np.random.Generator(philox).standard_normal(dtype="float32", out=noises[row])
    return noises


def initial_noise(num_images: int, image_shape: Any, seed: int, start: int = 0) -> np.ndarray:
    """Return the noise that images are generated from.

    Args:
        num_images: Number of images.
        image_shape: `(height, width, channels)`.
        seed: Any int, or None for a new seed.
        start: Index of the first image, at least 0. The noise of an image depends only on `seed`
            and its index.

    Returns:
        NumPy float32 array `(num_images, height, width, channels)`, standard normal.

    Raises:
        ValueError: If `seed` is neither an integer nor None.

    Example:
        >>> noise = initial_noise(16, (64, 64, 3), seed=0)
        >>> images = model.generate(16, initial_noise=noise)
    """
    return noise(num_images, image_shape, resolve_seed(seed), start)


def check_noise(array: Any, name: str) -> np.ndarray:
    """Return `array` as a NumPy array, unless it holds pixels in place of noise.

    Half of the values of standard normal noise are negative. An array of at least 32 values,
    all of them in [0, 1], is therefore a picture: noise is like that with a probability below
    1e-14.

    Args:
        array: Array or tensor of any shape.
        name: Name of the argument, for the error message.

    Raises:
        ValueError: If the array has at least 32 values, all of them in [0, 1].
    """
    array = to_numpy(array)
    if array.size >= 32 and array.min() >= 0.0 and array.max() <= 1.0:
        raise ValueError(
            f"Expected `{name}` to be standard normal noise. Received: values from "
            f"{array.min():.4g} to {array.max():.4g}, as pictures have them. Turn pictures into "
            "noises first, with `model.encode(images)`."
        )
    return array


def slerp(start: Any, end: Any, fractions: Any) -> np.ndarray:
    """Interpolate between two noises along an arc (DDIM paper, Appendix D.5, Eq. 67).

    `sin((1 - f) * theta) / sin(theta) * start + sin(f * theta) / sin(theta) * end`, where `theta`
    is the angle between the two noises. The norm stays that of a noise. Linear interpolation
    would shrink it.

    Args:
        start: Array of any shape.
        end: Array of the same shape.
        fractions: Float or `(n,)` floats. Fraction 0 is `start`, and 1 is `end`.

    Returns:
        NumPy array of the shape of `start` if `fractions` is a float, otherwise `(n, *shape)`.
        Its dtype is that of the inputs, at least float32.

    Raises:
        ValueError: If the shapes differ, or if the noises point in opposite directions.
    """
    start, end = np.asarray(start), np.asarray(end)
    if start.shape != end.shape:
        raise ValueError(
            f"slerp expects two arrays of one shape. Received: start {start.shape}, end {end.shape}"
        )
    dtype = np.result_type(start, end, np.float32)
    a, b = start.astype("float64"), end.astype("float64")
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = np.clip(np.sum(a * b) / norms, -1.0, 1.0) if norms > 0 else 1.0
    theta = np.arccos(cosine)
    f = np.asarray(fractions, "float64").reshape(np.shape(fractions) + (1,) * start.ndim)
    if cosine < 0.0 and np.sin(theta) < 1e-6:
        raise ValueError(
            "slerp expects two noises that do not point in opposite directions. Received: an angle "
            "of 180 degrees, for which no arc is the shortest. Choose another noise."
        )
    if np.sin(theta) < 1e-6:  # In the same direction, the limit is the straight line.
        return ((1.0 - f) * a + f * b).astype(dtype)
    path = (np.sin((1.0 - f) * theta) * a + np.sin(f * theta) * b) / np.sin(theta)
    return path.astype(dtype)


def slerp_grid(corners: Any, num_rows: int, num_cols: int) -> np.ndarray:
    """Interpolate between the four corners of a grid (DDIM paper, Appendix D.5, Fig. 12).

    The left and the right edge are arcs between their corners. Each row is an arc between the
    edges.

    Args:
        corners: Noises `(4, ...)`: top left, top right, bottom left, bottom right.
        num_rows: Number of rows, at least 2.
        num_cols: Number of columns, at least 2.

    Returns:
        NumPy array `(num_rows, num_cols, ...)`.

    Raises:
        ValueError: If there are not four corners, if there are fewer than two rows or columns, or
            if two corners of an arc point in opposite directions.
    """
    corners = np.asarray(corners)
    if len(corners) != 4 or min(num_rows, num_cols) < 2:
        raise ValueError(
            "slerp_grid expects four corners, and at least 2 rows and columns. "
            f"Received: {len(corners)} corners, {num_rows} rows, {num_cols} columns"
        )
    top_left, top_right, bottom_left, bottom_right = corners
    down, across = np.linspace(0.0, 1.0, num_rows), np.linspace(0.0, 1.0, num_cols)
    lefts, rights = slerp(top_left, bottom_left, down), slerp(top_right, bottom_right, down)
    return np.stack([slerp(left, right, across) for left, right in zip(lefts, rights)])
