"""Resizing as two matrix products, equal on all backends and equal to other tools of the field."""

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim.checks import check_choice


@functools.lru_cache(maxsize=64)
def resize_matrix(source: int, target: int, method: str) -> np.ndarray:
    """Return the matrix that resizes one axis, `resized = matrix @ axis`.

    Args:
        source: Number of pixels of the axis.
        target: Number of pixels of the resized axis.
        method: "bicubic" and "bilinear" are Pillow's filters, which are antialiased: they cover
            more pixels the smaller the target. "tensorflow1" is the bilinear sampling of
            TensorFlow 1 that Inception was first used with. It samples pixel i at
            `i * source / target`, takes corners for centres, and is not antialiased.

    Returns:
        Matrix `(target, source)`, float32, whose rows sum to 1.

    Raises:
        ValueError: If the method is unknown.
    """
    methods = {"bicubic": _pillow, "bilinear": _pillow, "tensorflow1": _tensorflow1}
    check_choice("resizing", method, methods)
    return methods[method](source, target, method).astype("float32")


def _pillow(source: int, target: int, method: str) -> np.ndarray:
    """Return the weights of a filter around the centre of each pixel, cut at the borders."""
    scale = source / target
    stretch = max(scale, 1.0)
    kernel, support = {"bicubic": (_cubic, 2.0), "bilinear": (_triangle, 1.0)}[method]
    centres = (np.arange(target)[:, None] + 0.5) * scale
    pixels = np.arange(source) + 0.5
    weights = kernel((pixels - centres) / stretch)
    weights[np.abs(pixels - centres) > support * stretch] = 0.0
    return weights / weights.sum(1, keepdims=True)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Return Keys' cubic convolution kernel (1981), with Pillow's value of a."""
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _tensorflow1(source: int, target: int, method: str) -> np.ndarray:
    # The rounding of float32 chooses between neighbours, as in TensorFlow 1.
    positions = np.arange(target, dtype="float32") * np.float32(source / target)
    low = positions.astype("int64")
    share = (positions - low).astype("float64")
    matrix = np.zeros((target, source))
    rows = np.arange(target)
    np.add.at(matrix, (rows, low), 1.0 - share)
    np.add.at(matrix, (rows, np.minimum(low + 1, source - 1)), share)
    return matrix


@keras.saving.register_keras_serializable(package="kddim")
class Resize(keras.layers.Layer):
    """Layer that resizes images `(b, h, w, c)` to squares `(b, size, size, c)`.

    Unlike Keras' own antialiased resizing, it is equal on all backends. On devices that multiply
    float32 matrices at lower precision (TF32), it has that precision.

    Args:
        size: Side of the squares in pixels.
        method: "bicubic", "bilinear" or "tensorflow1", as in `resize_matrix`.
    """

    def __init__(self, size: int, method: str = "bicubic", **options: Any):
        super().__init__(**options)
        resize_matrix(1, 1, method)  # checks the name
        self.size, self.method = size, method

    def call(self, images: Any) -> Any:
        """Return images `(batch, size, size, channels)`."""
        _, height, width, _ = images.shape
        rows = resize_matrix(height, self.size, self.method)
        columns = resize_matrix(width, self.size, self.method)
        images = ops.einsum("ph,bhwc->bpwc", ops.cast(rows, images.dtype), images)
        return ops.einsum("qw,bpwc->bpqc", ops.cast(columns, images.dtype), images)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """Return the shape of the resized images."""
        return (input_shape[0], self.size, self.size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "size": self.size, "method": self.method}
