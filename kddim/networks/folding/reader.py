"""The reader: turns the layers of a functional network into sums, and sums into instructions."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from kddim.networks.folding import kernels, sums
from kddim.networks.folding.cost import composing_pays, repeating_pays
from kddim.networks.folding.instructions import Convolution, LayerCall, Plan
from kddim.networks.folding.kernels import Kernel
from kddim.networks.folding.rule import (
    CONVOLUTIONS,
    NORMALIZATIONS,
    conditional_tensors,
    image_shape,
    linear_calls,
    may_compose,
)
from kddim.networks.folding.sums import Source, Sum
from kddim.networks.graph import Call, calls_of, users_of


def plan_of(network: keras.Model) -> Plan:
    """Return the plan that computes a network. It is empty if folding gains nothing.

    Args:
        network: Keras model `[noisy_images, noise_variances] -> prediction`, with or without
            labels as a third input. Only functional models whose images, variances and output
            have four axes are folded.
    """
    calls = calls_of(network)
    if not calls or len(network.inputs) not in (2, 3) or len(network.outputs) != 1:
        return Plan([], [])
    if any(len(tensor.shape) != 4 for tensor in (*network.inputs[:2], *network.outputs)):
        return Plan([], [])
    reader = _Reader(network, calls)
    for call in calls:
        reader.read(call)
    reader.compute(network.outputs[0])
    return reader.plan if reader.plan.weights else Plan([], [])


class _Reader:
    """Reads calls in turn into sums, and emits an instruction whenever a tensor is needed.

    Args:
        network: The network.
        calls: Its calls, in an order in which they can run.

    Attributes:
        plan: Instructions emitted so far, with the weights that they read.
        sums: Sum that gives each tensor read so far, by the `id` of the symbolic tensor.
    """

    def __init__(self, network: keras.Model, calls: list[Call]):
        self.plan = Plan([], [])
        self.sums = {id(tensor): _sum_of_tensor(tensor) for tensor in network.inputs}
        self._users = users_of(network, calls)
        self._images, variances, *labels = (id(tensor) for tensor in network.inputs)
        self._shared = conditional_tensors(calls, variances)
        conditional = self._shared.union(*(conditional_tensors(calls, key) for key in labels))
        self._linear = linear_calls(calls, self._users, conditional)

    def read(self, call: Call) -> None:
        """Add the outputs of a call to `sums`."""
        if id(call) not in self._linear:
            self._call(call)
            return
        readers: dict[Any, Callable[[Call], Sum]] = {
            **dict.fromkeys(CONVOLUTIONS, self._convolution),
            layers.Add: functools.partial(self._joined, sums.added),
            **dict.fromkeys(NORMALIZATIONS, self._normalization),
            layers.Concatenate: functools.partial(self._joined, sums.concatenated),
            layers.UpSampling2D: self._upsampling,
        }
        output = call.outputs[0]
        self.sums[id(output)] = total = readers[type(call.operation)](call)
        if self._num_readers(output) > 1 and not repeating_pays(total):
            if isinstance(call.operation, layers.Concatenate):
                self._call(call)
            else:
                self.compute(output)

    def compute(self, tensor: Any) -> None:
        """Emit the instruction that computes `tensor`, so that later sums can read it."""
        total = self.sums[id(tensor)]
        if total.terms[0].source.key != id(tensor):
            self._convolve(tensor, total, None)
            self.sums[id(tensor)] = _sum_of_tensor(tensor, total.dtype)

    # Sums of linear layers.

    def _convolution(self, call: Call) -> Sum:
        layer, (images,) = call.operation, call.inputs
        kernel = kernels.of_variable(layer.kernel)
        total, readers = self.sums[id(images)], self._num_readers(images)
        composes = may_compose(total, kernel, layer.compute_dtype)
        if not composes or not composing_pays(total, kernel, readers):
            self.compute(images)
        total = self.sums[id(images)].convolved(kernel, layer.compute_dtype)
        if layer.use_bias:
            total = total.shifted(kernels.of_variable(layer.bias))
        if layer.activation in (None, keras.activations.linear):
            return total
        self._convolve(call.outputs[0], total, layer.activation)
        return _sum_of_tensor(call.outputs[0], total.dtype)

    def _joined(self, join: Callable, call: Call) -> Sum:
        parts = [self.sums[id(tensor)] for tensor in call.inputs]
        return join(parts, call.operation.compute_dtype)

    def _upsampling(self, call: Call) -> Sum:
        self.compute(call.inputs[0])
        source = Source(id(call.inputs[0]), image_shape(call.inputs[0])[-1], uniform=True)
        size = image_shape(call.outputs[0])[:2]
        return sums.of_source(source, size, call.operation.compute_dtype)

    def _normalization(self, call: Call) -> Sum:
        """Return `scale * x + shift`, with `scale = gamma / sqrt(variance + epsilon)`."""
        layer = call.operation
        mean = kernels.of_variable(layer.moving_mean)
        variance = kernels.of_variable(layer.moving_variance)
        scale = Kernel(variance.shape, lambda v: keras.ops.rsqrt(v + layer.epsilon), variance)
        if layer.scale:
            scale = kernels.scaled(scale, kernels.of_variable(layer.gamma))
        shift = Kernel(mean.shape, lambda m, s: -m * s, mean, scale)
        if layer.center:
            shift = kernels.summed(shift, kernels.of_variable(layer.beta))
        total = self.sums[id(call.inputs[0])]
        return total.scaled(scale, layer.compute_dtype).shifted(shift)

    def _num_readers(self, tensor: Any) -> int:
        return len(self._users.get(id(tensor), []))

    # Instructions.

    def _convolve(self, tensor: Any, total: Sum, activation: Any) -> None:
        instruction = Convolution(id(tensor), total, activation, self.plan.weights)
        self.plan.instructions.append(instruction)

    def _call(self, call: Call) -> None:
        for tensor in call.inputs:
            self.compute(tensor)
        shared = {id(tensor) for tensor in call.inputs} & self._shared
        if all(id(tensor) in shared for tensor in call.inputs):
            shared = set()  # the output has a batch of one, too, and stays small
        self.plan.instructions.append(LayerCall(call, shared, self._images))
        for tensor in call.outputs:
            self.sums[id(tensor)] = _sum_of_tensor(tensor)


def _sum_of_tensor(tensor: Any, dtype: str | None = None) -> Sum:
    """Return the sum whose only term is a symbolic tensor that has been computed."""
    shape = image_shape(tensor)
    size = shape[:2] if len(shape) == 3 else (0, 0)
    channels = shape[-1] if shape else 0
    return sums.of_source(Source(id(tensor), channels), size, dtype or tensor.dtype)
