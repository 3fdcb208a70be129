"""Resizing as two matrix products: the same on every backend, and as the field's tools do it."""

import functools
from typing import Any

import keras
import numpy as np
from keras import ops


@functools.lru_cache(maxsize=64)
def resize_matrix(source: int, target: int, method: str) -> np.ndarray:
    """The matrix that resizes one axis: `resized = matrix @ axis`.

    Args:
        source: pixels there are.
        target: pixels wanted.
        method: "bicubic" or "bilinear" is Pillow's filter, which covers more pixels as it
            makes images smaller: antialiased. "tensorflow1" is the bilinear sampling of
            TensorFlow 1 that Inception was first used with: pixel i lies at
            `i * source / target`, corners count as centres, and nothing is antialiased.

    Returns:
        float32 `(target, source)`; rows sum to 1.

    Raises:
        ValueError: an unknown method.
    """
    methods = {"bicubic": _pillow, "bilinear": _pillow, "tensorflow1": _tensorflow1}
    if method not in methods:
        raise ValueError(
            f"Unknown resizing: expected one of {', '.join(map(repr, methods))}. "
            f"Received: {method!r}"
        )
    return methods[method](source, target, method).astype("float32")


def _pillow(source: int, target: int, method: str) -> np.ndarray:
    """Weights of the filter around each target pixel's centre, cut at the borders."""
    scale = source / target
    stretch = max(scale, 1.0)
    kernel, support = {"bicubic": (_cubic, 2.0), "bilinear": (_triangle, 1.0)}[method]
    centres = (np.arange(target)[:, None] + 0.5) * scale
    pixels = np.arange(source) + 0.5
    weights = kernel((pixels - centres) / stretch)
    weights[np.abs(pixels - centres) > support * stretch] = 0.0
    return weights / weights.sum(1, keepdims=True)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic convolution kernel (1981), with Pillow's a."""
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _tensorflow1(source: int, target: int, method: str) -> np.ndarray:
    # Positions in float32, whose rounding decides between neighbours as it did there.
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
    """Images of any size to squares: `(b, h, w, c)` to `(b, size, size, c)`.

    Keras' own antialiased resizing differs between its backends; this does not. Where a
    device multiplies float32 matrices at lower precision (TF32), so are these.

    Args:
        size: side of the squares, in pixels.
        method: see `resize_matrix`.
    """

    def __init__(self, size: int, method: str = "bicubic", **options: Any):
        super().__init__(**options)
        resize_matrix(1, 1, method)  # checks the name
        self.size, self.method = size, method

    def call(self, images: Any) -> Any:
        _, height, width, _ = images.shape
        rows = resize_matrix(height, self.size, self.method)
        columns = resize_matrix(width, self.size, self.method)
        images = ops.einsum("ph,bhwc->bpwc", ops.cast(rows, images.dtype), images)
        return ops.einsum("qw,bpwc->bpqc", ops.cast(columns, images.dtype), images)

    def compute_output_shape(self, input_shape: Any) -> tuple:
        return (input_shape[0], self.size, self.size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "method": self.method}
