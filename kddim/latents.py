"""Noise by seed, and paths between noises.

Image `i` of seed `s` has a random stream of its own, keyed by `(s, i)`: draw 0 is its
initial noise, draw `k` the fresh noise of step `k` of a stochastic sampler. Images
therefore depend neither on the batch size nor on the backend.
"""

import operator
import random
from typing import Any

import numpy as np

from kddim.backend import to_numpy

_MASK = 2**64 - 1

# The draw of an image's stream that encoding adds where a schedule ends with noise: far
# from those of any number of steps.
END = 2**32


def resolve_seed(seed: int | None) -> int:
    """`seed`, or a fresh one where it is None.

    A fresh one comes from Python's generator, so that
    `keras.utils.set_random_seed` makes a whole program reproducible.

    Raises:
        ValueError: `seed` is neither None nor an integer.
    """
    if seed is None:
        return random.getrandbits(63)
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise ValueError(f"Expected `seed` to be an int or None. Received: {seed!r}")
    return operator.index(seed)


def noise(num_images: int, image_shape: Any, seed: int, start: int = 0, draw: int = 0):
    """Standard normal noise, one independent stream an image.

    Args:
        num_images: how many images.
        image_shape: shape of one, without the batch axis.
        seed: any int.
        start: index of the first image.
        draw: which draw of each image's stream; 0 is the initial noise.

    Returns:
        NumPy float32 array `(num_images, *image_shape)`. Philox is counter-based
        (Salmon et al., SC 2011): streams of different keys and counters do not meet.
    """
    noises = np.empty((num_images, *image_shape), "float32")
    for row in range(num_images):
        key = np.array([seed & _MASK, (start + row) & _MASK], "uint64")
        philox = np.random.Philox(key=key, counter=[0, 0, 0, draw])
        np.random.Generator(philox).standard_normal(dtype="float32", out=noises[row])
    return noises


def initial_noise(num_images: int, image_shape: Any, seed: int, start: int = 0) -> np.ndarray:
    """The noise from which images `start` to `start + num_images - 1` of `seed` begin.

    Args:
        num_images: how many, at least 1.
        image_shape: `(height, width, channels)`.
        seed: any int.
        start: index of the first image.

    Returns:
        NumPy float32 array `(num_images, height, width, channels)`, standard normal.
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
    """Spherical interpolation between two noises (DDIM paper, Appendix D.5, Eq. 67).

    `sin((1 - f) theta) / sin(theta) * start + sin(f theta) / sin(theta) * end`, with
    `theta` the angle between the two. On the way the norm stays that of a noise, where
    linear interpolation would shrink it.

    Args:
        start: array of any shape.
        end: array of the same shape.
        fractions: float or `(n,)` floats; 0 is `start`, 1 is `end`.

    Returns:
        NumPy array of the shape of `start`, or `(n, *shape)`.

    Raises:
        ValueError: the shapes differ, or the directions are opposite.
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
        raise ValueError("slerp expects directions that are not opposite: no arc is the shortest")
    if np.sin(theta) < 1e-6:  # the same direction: the limit is the straight line
        return ((1.0 - f) * a + f * b).astype(dtype)
    path = (np.sin((1.0 - f) * theta) * a + np.sin(f * theta) * b) / np.sin(theta)
    return path.astype(dtype)


def slerp_grid(corners: Any, num_rows: int, num_cols: int) -> np.ndarray:
    """Spherical interpolation between the four corners of a grid (Appendix D.5, Fig. 12).

    The left and right edge are arcs between their corners, each row is an arc between
    the edges.

    Args:
        corners: `(4, ...)` noises: top left, top right, bottom left, bottom right.
        num_rows: at least 2.
        num_cols: at least 2.

    Returns:
        NumPy array `(num_rows, num_cols, ...)`.

    Raises:
        ValueError: not four corners, fewer than two rows or columns, or as `slerp`.
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
