"""Kernels of convolutions that are computed from the weights of a network.

A `Kernel` is a recipe, written down while a network is read, and followed each time that
its weights have changed. Everything is computed in float32, whatever the network's dtype.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

Shape = tuple[int, int, int, int]


class Kernel:
    """`(rows, columns, channels, filters)` weights, and how they come about.

    Args:
        shape: of the weights.
        compute: from the operands' values to the value.
        *operands: other kernels.
        identity: whether convolving with it changes nothing.
    """

    def __init__(
        self, shape: Shape, compute: Callable, *operands: "Kernel", identity: bool = False
    ):
        self.shape = shape
        self.compute = compute
        self.operands = operands
        self.identity = identity

    def value(self, memo: dict["Kernel", Any]) -> Any:
        """The weights as they are now.

        Args:
            memo: values that were computed already; the caller starts with an empty one.
        """
        if self not in memo:
            memo[self] = self.compute(*(operand.value(memo) for operand in self.operands))
        return memo[self]

    @property
    def taps(self) -> int:
        return self.shape[0] * self.shape[1]


def identity(channels: int) -> Kernel:
    shape = (1, 1, channels, channels)
    return Kernel(
        shape, lambda: ops.reshape(ops.eye(channels, dtype="float32"), shape), identity=True
    )


def of_variable(variable: Any) -> Kernel:
    """A layer's kernel, or its vector as a kernel with one channel that is always 1."""
    shape = tuple(variable.shape)
    shape = shape if len(shape) == 4 else (1, 1, 1, *shape)
    return Kernel(shape, lambda: ops.reshape(ops.cast(variable.value, "float32"), shape))


def compose(first: Kernel, second: Kernel) -> Kernel:
    """The kernel of one convolution after another, of which at least one is 1x1.

    With zero padding that is exact, at the borders too, because a 1x1 convolution pads
    nothing.
    """
    if first.identity:
        return second
    if second.identity:
        return first
    if first.taps == 1:
        shape = (*second.shape[:2], first.shape[2], second.shape[3])
        return Kernel(shape, lambda f, s: ops.einsum("im,rcmo->rcio", f[0, 0], s), first, second)
    shape = (*first.shape[:3], second.shape[3])
    return Kernel(shape, lambda f, s: ops.einsum("rcim,mo->rcio", f, s[0, 0]), first, second)


def scaled(kernel: Kernel, vector: Kernel) -> Kernel:
    """Its filters times the numbers of a vector."""
    return Kernel(kernel.shape, lambda k, v: k * v, kernel, vector)


def placed(kernel: Kernel, before: int, after: int) -> Kernel:
    """Its filters among others that are zero, as in a concatenation."""
    shape = (*kernel.shape[:3], before + kernel.shape[3] + after)
    padding = [(0, 0)] * 3 + [(before, after)]
    return Kernel(shape, lambda k: ops.pad(k, padding), kernel)


def summed(first: Kernel, second: Kernel) -> Kernel:
    return Kernel(first.shape, lambda f, s: f + s, first, second)


def over_positions(taps: Any, size: tuple[int, int]) -> Any:
    """What a convolution, padding "same", makes of an image that is 1 everywhere.

    Args:
        taps: `(batch, rows, columns, filters)`, the kernel.
        size: height and width of the image.

    Returns:
        `(batch, height, width, filters)`; at the borders some taps meet padding.
    """
    if taps.shape[1] == taps.shape[2] == 1:
        return taps
    rows, columns = (_inside(*pair) for pair in zip(size, taps.shape[1:3]))
    return ops.einsum("hr,wc,brco->bhwo", rows, columns, taps)


def _inside(size: int, taps: int) -> Any:
    """`(size, taps)`: 1 where a tap of the kernel at a position lies inside the image."""
    positions = ops.expand_dims(ops.arange(size), 1) + ops.arange(taps) - (taps - 1) // 2
    return ops.cast((positions >= 0) & (positions < size), "float32")
