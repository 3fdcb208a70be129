"""Kernels of convolutions, computed from the weights of a network.

A `Kernel` is a recipe: it is made once, when a network is read, and evaluated again whenever
the network's weights have changed. Values are computed in float32, whatever the network's
dtype.
"""

import math
from collections.abc import Callable
from typing import Any

from keras import ops

Shape = tuple[int, int, int, int]


class Kernel:
    """Recipe for the kernel of a convolution.

    Args:
        shape: Shape of the kernel, `(rows, columns, channels, filters)`.
        compute: Function from the values of the operands to the value of the kernel.
        *operands: Kernels that the value is computed from.
        identity: If true, a convolution with this kernel returns its input.
    """

    def __init__(
        self, shape: Shape, compute: Callable, *operands: "Kernel", identity: bool = False
    ):
        self.shape = shape
        self.compute = compute
        self.operands = operands
        self.identity = identity

    def value(self, memo: dict["Kernel", Any]) -> Any:
        """Return the value of the kernel for the current weights of the network.

        Args:
            memo: Values of kernels that were computed before. Pass the same dictionary,
                empty at first, for all kernels of a network.

        Returns:
            Float32 tensor of shape `shape`.
        """
        if self not in memo:
            memo[self] = self.compute(*(operand.value(memo) for operand in self.operands))
        return memo[self]

    @property
    def taps(self) -> int:
        """Number of positions that the kernel reads, `rows * columns`."""
        return self.shape[0] * self.shape[1]

    @property
    def multiplications(self) -> int:
        """Number of multiplications per pixel of a convolution with this kernel."""
        return 0 if self.identity else math.prod(self.shape)


def identity(channels: int) -> Kernel:
    """Return the 1x1 kernel that leaves an image of `channels` channels unchanged."""
    shape = (1, 1, channels, channels)
    return Kernel(
        shape, lambda: ops.reshape(ops.eye(channels, dtype="float32"), shape), identity=True
    )


def of_variable(variable: Any) -> Kernel:
    """Return the kernel whose value is a variable of a layer.

    A vector, such as a bias, becomes a 1x1 kernel that is applied to the constant 1.

    Args:
        variable: Keras variable of shape `(rows, columns, channels, filters)` or `(filters,)`.
    """
    shape = tuple(variable.shape)
    shape = shape if len(shape) == 4 else (1, 1, 1, *shape)
    return Kernel(shape, lambda: ops.reshape(ops.cast(variable.value, "float32"), shape))


def compose(first: Kernel, second: Kernel) -> Kernel:
    """Return the kernel of two convolutions in a row.

    At least one of the two must be 1x1. Because a 1x1 convolution needs no padding, the result
    is then exact at the borders, too.

    Args:
        first: Kernel that is applied first.
        second: Kernel that is applied to the result.
    """
    if first.identity:
        return second
    if second.identity:
        return first
    rows, columns = (a * b for a, b in zip(first.shape[:2], second.shape[:2]))
    shape = (rows, columns, first.shape[2], second.shape[3])

    def compute(f: Any, s: Any) -> Any:
        """Return the filters of both kernels in one array."""
        return ops.reshape(ops.einsum("abim,rcmo->arbcio", f, s), shape)

    return Kernel(shape, compute, first, second)


def scaled(kernel: Kernel, vector: Kernel) -> Kernel:
    """Return a kernel whose filters are multiplied by the numbers of a vector."""
    return Kernel(kernel.shape, lambda k, v: k * v, kernel, vector)


def placed(kernel: Kernel, before: int, total: int) -> Kernel:
    """Return a kernel with zero filters added, as a concatenation of images needs.

    Args:
        kernel: The kernel.
        before: Number of zero filters in front of its own.
        total: Number of filters of the result.
    """
    shape = (*kernel.shape[:3], total)
    padding = [(0, 0)] * 3 + [(before, total - before - kernel.shape[3])]
    return Kernel(shape, lambda k: ops.pad(k, padding), kernel)


def summed(first: Kernel, second: Kernel) -> Kernel:
    """Return the sum of two kernels of the same shape."""
    return Kernel(first.shape, lambda f, s: f + s, first, second)


def over_positions(taps: Any, size: tuple[int, int]) -> Any:
    """Return the convolution, with padding "same", of an image that is 1 everywhere.

    At the borders, a part of the kernel meets the padding and contributes nothing.

    Args:
        taps: Kernel, `(batch, rows, columns, filters)`.
        size: Height and width of the image.

    Returns:
        Tensor `(batch, height, width, filters)`, or `(batch, 1, 1, filters)` if the kernel is
        1x1 and the result therefore the same at every pixel.
    """
    if taps.shape[1] == taps.shape[2] == 1:
        return taps
    rows, columns = (_inside(*pair) for pair in zip(size, taps.shape[1:3]))
    return ops.einsum("hr,wc,brco->bhwo", rows, columns, taps)


def _inside(size: int, taps: int) -> Any:
    """Return a `(size, taps)` matrix: 1 if a tap at a position is inside the image, else 0."""
    positions = ops.expand_dims(ops.arange(size), 1) + ops.arange(taps) - (taps - 1) // 2
    return ops.cast((positions >= 0) & (positions < size), "float32")
