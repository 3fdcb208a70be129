"""Instructions of a folded network: convolve and add, or call a layer."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from keras import ops

from kddim import backend
from kddim.networks.folding import kernels
from kddim.networks.folding.kernels import Kernel
from kddim.networks.folding.sums import ONE, Sum, Term
from kddim.networks.graph import Call, Tensors

Weights = list[Any]


@dataclasses.dataclass(frozen=True)
class Weight:
    """An array that is computed from the network's weights whenever they have changed.

    Attributes:
        shape: Shape of the array.
        dtype: Its dtype.
        value: Function from the values of kernels computed so far (see `Kernel.value`) to
            the array.
    """

    shape: tuple[int, ...]
    dtype: str
    value: Callable[[dict[Kernel, Any]], Any]


@dataclasses.dataclass
class Plan:
    """Instructions in the order in which they run, and the weights that they read."""

    instructions: list[Any]
    weights: list[Weight]


class Convolution:
    """Instruction that computes a `Sum` and applies an activation to it.

    Args:
        target: Key of the result among the tensors.
        total: The sum.
        activation: Function from a tensor to a tensor, or None.
        weights: Weights of all instructions; those of this instruction are appended.
    """

    def __init__(self, target: int, total: Sum, activation: Callable | None, weights: list[Weight]):
        self.target = target
        self.size, self.channels, self.dtype = total.size, total.channels, total.dtype
        self.activation = activation
        images = sorted(total.images, key=lambda term: -term.kernel.multiplications)
        self.added = [term.source.key for term in images if term.kernel.identity]
        dense = [term for term in images if not term.kernel.identity]
        self.convolved = [(term.source.key, _keep(weights, term, self.dtype)) for term in dense]
        uniform = [t for t in total.terms if t.source.uniform and t.source is not ONE]
        self.uniform = [(term.source.key, _keep(weights, term, "float32")) for term in uniform]
        constants = [term.kernel for term in total.terms if term.source is ONE]
        self.biases = [len(weights)] if constants else []
        weights += [self._bias(constants)] if constants else []
        self.reads = [*self.added, *(key for key, _ in (*self.convolved, *self.uniform))]

    def _bias(self, constants: list[Kernel]) -> Weight:
        """Return one number per channel, or a map if a kernel reaches beyond the borders."""
        pointwise = all(kernel.taps == 1 for kernel in constants)
        shape = (self.channels,) if pointwise else (1, *self.size, self.channels)

        def value(memo):
            values = [
                kernels.over_positions(k.value(memo)[:, :, 0][None], self.size) for k in constants
            ]
            return ops.reshape(sum(values[1:], values[0]), shape)

        return Weight(shape, self.dtype, value)

    def run(self, tensors: Tensors, weights: Weights) -> None:
        """Compute the result and add it to `tensors`.

        Args:
            tensors: Tensors computed so far, by their keys.
            weights: Values of the weights of all instructions.
        """
        constants = [weights[index] for index in self.biases]
        constants += [self._everywhere(tensors[key], weights[i]) for key, i in self.uniform]
        # Constants are small, since they have one row per batch: add them up first.
        constant = sum(constants[1:], constants[0]) if constants else None
        is_vector = constant is not None and math.prod(constant.shape) == self.channels
        parts: list[Any] = []
        for key, index in self.convolved:
            bias = ops.reshape(constant, (-1,)) if is_vector and not parts else None
            images = ops.cast(tensors[key], self.dtype)
            parts.append(backend.convolve(images, weights[index], bias))
        parts += [ops.cast(tensors[key], self.dtype) for key in self.added]
        if constant is not None and not (is_vector and self.convolved):
            parts.append(constant)
        if not self.convolved:  # the first part may be overwritten, so it must be a new tensor
            zeros = ops.zeros((1, *self.size, self.channels), self.dtype)
            parts.insert(0, zeros)
        tensors[self.target] = backend.add_and_activate(parts, self.activation)

    def _everywhere(self, numbers: Any, taps: Any) -> Any:
        """Convolve a uniform source: `(batch, 1, 1, filters)`, or a map if the kernel pads."""
        numbers = ops.cast(numbers[:, 0, 0], "float32")
        taps = ops.einsum("bi,rcio->brco", numbers, taps)
        return ops.cast(kernels.over_positions(taps, self.size), self.dtype)


class LayerCall:
    """Instruction that calls a layer or operation as the network itself does.

    Args:
        call: Call of the network.
        shared: Keys of inputs that may have a batch of one, because they depend only on the
            noise level, while other inputs have one row per image.
        images: Key of a tensor that has one row per image.
    """

    def __init__(self, call: Call, shared: set[int], images: int):
        self.call = call
        self.shared = shared
        self.images = images
        self.reads = [id(tensor) for tensor in call.inputs]

    def run(self, tensors: Tensors, weights: Weights) -> None:
        """Call the operation and add its results to `tensors`.

        Args:
            tensors: Tensors computed so far, by their keys.
            weights: Not used; layers read their own weights.
        """
        inputs = {key: tensors[key] for key in self.reads}
        for key in self.shared:
            inputs[key] = of_batch(inputs[key], ops.shape(tensors[self.images])[0])
        tensors |= self.call.run(inputs)


def of_batch(tensor: Any, batch: Any) -> Any:
    """Return `tensor` with one row per image, repeating it if it has a batch of one.

    Args:
        tensor: Tensor whose first axis has length 1 or `batch`, or a scalar.
        batch: Number of images.
    """
    if not len(tensor.shape) or tensor.shape[0] != 1:
        return tensor
    return ops.broadcast_to(tensor, (batch, *tensor.shape[1:]))


def _keep(weights: list[Weight], term: Term, dtype: str) -> int:
    """Append the kernel of a term to the weights, and return its index."""
    weights.append(Weight(term.kernel.shape, dtype, term.kernel.value))
    return len(weights) - 1
