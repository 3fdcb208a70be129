"""What a folded network does with tensors: convolve and add, or call a layer."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from keras import ops

from kddim import backend
from kddim.networks.folding import kernels
from kddim.networks.folding.kernels import Kernel
from kddim.networks.folding.sums import ONE, Sum, Term
from kddim.networks.graph import Call

Tensors = dict[int, Any]
Weights = list[Any]


@dataclasses.dataclass(frozen=True)
class Weight:
    """An array that is computed anew when the network's weights have changed."""

    shape: tuple[int, ...]
    dtype: str
    value: Callable[[dict[Kernel, Any]], Any]


class Convolution:
    """Computes a `Sum`, and applies an activation to it.

    Args:
        target: what the result is known by.
        what: the sum.
        activation: a function of a tensor, or None.
        weights: of all instructions; those of this one are appended.
    """

    def __init__(self, target: int, what: Sum, activation: Callable | None, weights: list[Weight]):
        self.target = target
        self.size, self.channels, self.dtype = what.size, what.channels, what.dtype
        self.activation = activation
        large = [term for term in what.terms if term.is_large]
        dense = sorted(
            (term for term in large if not term.kernel.identity),
            key=lambda term: -term.multiplications,
        )
        self.added = [term.source.key for term in large if term.kernel.identity]
        self.convolved = [(term.source.key, _keep(weights, self._kernel(term))) for term in dense]
        self.uniform = [
            (term.source.key, _keep(weights, self._taps(term)))
            for term in what.terms
            if term.source.uniform and term.source is not ONE
        ]
        constants = [term.kernel for term in what.terms if term.source is ONE]
        self.biases = [_keep(weights, self._bias(constants))] if constants else []
        self.reads = [*self.added, *(key for key, _ in (*self.convolved, *self.uniform))]

    def _kernel(self, term: Term) -> Weight:
        return Weight(term.kernel.shape, self.dtype, term.kernel.value)

    def _taps(self, term: Term) -> Weight:
        return Weight(term.kernel.shape, "float32", term.kernel.value)

    def _bias(self, constants: list[Kernel]) -> Weight:
        """A number a channel, or a map where a kernel reaches over the borders."""
        pointwise = all(kernel.taps == 1 for kernel in constants)
        shape = (self.channels,) if pointwise else (1, *self.size, self.channels)

        def value(memo):
            values = [
                kernels.over_positions(k.value(memo)[:, :, 0][None], self.size) for k in constants
            ]
            return ops.reshape(sum(values[1:], values[0]), shape)

        return Weight(shape, self.dtype, value)

    def run(self, tensors: Tensors, weights: Weights) -> None:
        """Puts the result among the tensors."""
        constants = [weights[index] for index in self.biases]
        constants += [self._everywhere(tensors[key], weights[i]) for key, i in self.uniform]
        # Added up before they meet an image: those of the whole batch are small.
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
        if not self.convolved:  # what is first may be overwritten; here it is another's
            zeros = ops.zeros((1, *self.size, self.channels), self.dtype)
            parts.insert(0, zeros)
        tensors[self.target] = backend.add_and_activate(parts, self.activation)

    def _everywhere(self, numbers: Any, taps: Any) -> Any:
        """A uniform source convolved: `(batch, 1, 1, filters)`, or a map where it pads."""
        numbers = ops.cast(numbers[:, 0, 0], "float32")
        taps = ops.einsum("bi,rcio->brco", numbers, taps)
        return ops.cast(kernels.over_positions(taps, self.size), self.dtype)


class LayerCall:
    """Calls a layer or operation as the network itself would.

    Args:
        call: of the network.
        shared: inputs that follow from the noise level alone, and may have a batch of one,
            beside others that have not.
        images: what a tensor of the whole batch is known by.
    """

    def __init__(self, call: Call, shared: set[int], images: int):
        self.call = call
        self.shared = shared
        self.images = images
        self.reads = [id(tensor) for tensor in call.inputs]

    def run(self, tensors: Tensors, weights: Weights) -> None:
        """Puts the results among the tensors."""
        inputs = {key: tensors[key] for key in self.reads}
        for key in self.shared:
            inputs[key] = of_batch(inputs[key], ops.shape(tensors[self.images])[0])
        for symbol, tensor in zip(self.call.outputs, self.call.run(inputs)):
            tensors[id(symbol)] = tensor


def of_batch(tensor: Any, batch: Any) -> Any:
    """A tensor computed once for the whole batch, once an image."""
    if not len(tensor.shape) or tensor.shape[0] != 1:
        return tensor
    return ops.broadcast_to(tensor, (batch, *tensor.shape[1:]))


def _keep(weights: list[Weight], weight: Weight) -> int:
    weights.append(weight)
    return len(weights) - 1
