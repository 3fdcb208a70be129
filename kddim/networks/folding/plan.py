"""How a network is read: which of its layers become kernels, and which are called."""

import dataclasses
from typing import Any

import keras
from keras import layers

from kddim.networks.folding import kernels, sums
from kddim.networks.folding.instructions import Convolution, LayerCall, Weight
from kddim.networks.folding.kernels import Kernel
from kddim.networks.folding.sums import Source, Sum
from kddim.networks.graph import Call, calls_of, users_of
from kddim.networks.layers import Conv2D, is_plain

CONVOLUTIONS = (layers.Conv2D, Conv2D)


@dataclasses.dataclass
class Plan:
    """Instructions in their order, and the weights that they read."""

    instructions: list[Any]
    weights: list[Weight]


def plan_of(network: keras.Model) -> Plan | None:
    """The plan of a functional network `[noisy_images, noise_variances] -> prediction`.

    Returns:
        None where nothing would be gained.
    """
    calls = calls_of(network)
    if calls is None or len(network.inputs) != 2 or len(network.outputs) != 1:
        return None
    if any(len(tensor.shape) != 4 for tensor in (*network.inputs, *network.outputs)):
        return None
    reader = _Reader(network, calls)
    for call in calls:
        reader.read(call)
    reader.compute(network.outputs[0])
    return Plan(reader.instructions, reader.weights) if reader.weights else None


class _Reader:
    """Reads calls one by one into sums, and writes instructions where sums are needed."""

    def __init__(self, network: keras.Model, calls: list[Call]):
        self.users = users_of(network, calls)
        self.images, variances = (id(tensor) for tensor in network.inputs)
        self.conditional = _conditional(calls, variances)
        self.sums = {id(tensor): _as_it_stands(tensor) for tensor in network.inputs}
        self.instructions: list[Any] = []
        self.weights: list[Weight] = []
        self.linear: set[int] = set()
        for call in reversed(calls):
            if self._stays_linear(call):
                self.linear.add(id(call))

    # What can be written as a sum.

    def _stays_linear(self, call: Call) -> bool:
        """Whether a call changes kernels alone, on the way to a convolution or an addition."""
        layer = call.operation
        if type(layer) in CONVOLUTIONS:
            # An adapted or quantised kernel is no variable, but computed at each call.
            is_variable = isinstance(layer.kernel, keras.Variable)
            return is_variable and is_plain(layer) and _is_image(call.inputs[0])
        if type(layer) is layers.Add:
            shapes = {_shape(tensor) for tensor in (*call.inputs, *call.outputs)}
            return len(shapes) == 1 and _is_image(call.outputs[0])
        users = self.users.get(id(call.outputs[0]), [])
        if not users or any(user is None or not self._takes_in(user) for user in users):
            return False
        if type(layer) is layers.BatchNormalization:
            # In a wider dtype, its mean must be subtracted before anything is rounded.
            same = all(u.operation.compute_dtype == layer.compute_dtype for u in users if u)
            return len(users) == 1 and same and layer.axis in (-1, 3)
        if type(layer) is layers.Concatenate:
            return layer.axis in (-1, 3) and _is_image(call.outputs[0])
        if type(layer) is layers.UpSampling2D:
            one = layer.data_format == "channels_last" and _shape(call.inputs[0])[:2] == (1, 1)
            return one and id(call.inputs[0]) in self.conditional
        return False

    def _takes_in(self, user: Call) -> bool:
        """Whether a sum that the user reads ends in its convolution."""
        return id(user) in self.linear and type(user.operation) is not layers.Add

    # Reading.

    def read(self, call: Call) -> None:
        """Adds what a call gives."""
        output = call.outputs[0]
        if id(call) not in self.linear:
            self._call(call)
            return
        readers = {
            **dict.fromkeys(CONVOLUTIONS, self._convolution),
            layers.Add: self._addition,
            layers.BatchNormalization: self._normalization,
            layers.Concatenate: self._concatenation,
            layers.UpSampling2D: self._upsampling,
        }
        self.sums[id(output)] = readers[type(call.operation)](call)
        what = self.sums[id(output)]
        if len(self.users.get(id(output), [])) > 1 and not _worth_repeating(what):
            self.compute(output)

    def _convolution(self, call: Call) -> Sum:
        layer, (images,) = call.operation, call.inputs
        kernel = kernels.of_variable(layer.kernel)
        if not self._worth_composing(images, kernel, layer.compute_dtype):
            self.compute(images)
        what = self.sums[id(images)].convolved(kernel, layer.compute_dtype)
        if layer.use_bias:
            what = what.shifted(kernels.of_variable(layer.bias))
        if layer.activation in (None, keras.activations.linear):
            return what
        self._convolve(call.outputs[0], what, layer.activation)
        return _as_it_stands(call.outputs[0], what.dtype)

    def _addition(self, call: Call) -> Sum:
        return sums.added(self._sums(call), call.operation.compute_dtype)

    def _concatenation(self, call: Call) -> Sum:
        """Where several layers read it, its parts are put side by side once."""
        parts = self._sums(call)
        what = sums.concatenated(parts, call.operation.compute_dtype)
        if len(self.users[id(call.outputs[0])]) > 1 and not _worth_repeating(what):
            self._call(call)
            return self.sums[id(call.outputs[0])]
        return what

    def _upsampling(self, call: Call) -> Sum:
        self.compute(call.inputs[0])
        source = Source(id(call.inputs[0]), _shape(call.inputs[0])[-1], uniform=True)
        return sums.of_source(source, _shape(call.outputs[0])[:2], call.operation.compute_dtype)

    def _normalization(self, call: Call) -> Sum:
        layer = call.operation
        mean = kernels.of_variable(layer.moving_mean)
        variance = kernels.of_variable(layer.moving_variance)
        scale = Kernel(variance.shape, lambda v: keras.ops.rsqrt(v + layer.epsilon), variance)
        if layer.scale:
            scale = kernels.scaled(scale, kernels.of_variable(layer.gamma))
        shift = Kernel(mean.shape, lambda m, s: -m * s, mean, scale)
        if layer.center:
            shift = kernels.summed(shift, kernels.of_variable(layer.beta))
        what = self.sums[id(call.inputs[0])]
        return what.scaled(scale, layer.compute_dtype).shifted(shift)

    def _worth_composing(self, images: Any, kernel: Kernel, dtype: str) -> bool:
        """Whether convolving the sources costs no more than computing `images` first."""
        what = self.sums[id(images)]
        rounds = what.dtype == "float32" and dtype != "float32" and not what.is_source
        if rounds or (not what.pointwise and kernel.taps > 1):
            return False
        filters = kernel.shape[3]
        composed = sum(
            term.source.channels * max(term.kernel.taps, kernel.taps) * filters
            for term in what.terms
            if term.is_large
        )
        first = what.multiplications if len(self.users[id(images)]) == 1 else 0
        return composed <= first + what.channels * kernel.taps * filters

    # Writing.

    def compute(self, tensor: Any) -> None:
        """Sees to it that a tensor itself is computed, and is the source of its sum."""
        what = self.sums[id(tensor)]
        if what.terms[0].source.key != id(tensor):
            self._convolve(tensor, what, None)
            self.sums[id(tensor)] = _as_it_stands(tensor, what.dtype)

    def _convolve(self, tensor: Any, what: Sum, activation: Any) -> None:
        self.instructions.append(Convolution(id(tensor), what, activation, self.weights))

    def _call(self, call: Call) -> None:
        for tensor in call.inputs:
            self.compute(tensor)
        shared = {id(tensor) for tensor in call.inputs} & self.conditional
        if all(id(tensor) in shared for tensor in call.inputs):
            shared = set()  # what follows from the noise level alone may stay so
        self.instructions.append(LayerCall(call, shared, self.images))
        for tensor in call.outputs:
            self.sums[id(tensor)] = _as_it_stands(tensor)

    def _sums(self, call: Call) -> list[Sum]:
        return [self.sums[id(tensor)] for tensor in call.inputs]


def _conditional(calls: list[Call], variances: int) -> set[int]:
    """The tensors that follow from the noise variances alone."""
    found = {variances}
    for call in calls:
        if call.inputs and all(id(tensor) in found for tensor in call.inputs):
            found |= {id(tensor) for tensor in call.outputs}
    return found


def _as_it_stands(tensor: Any, dtype: str | None = None) -> Sum:
    shape = _shape(tensor)
    size = shape[:2] if len(shape) == 3 else (0, 0)
    channels = shape[-1] if shape else 0
    return sums.of_source(Source(id(tensor), channels), size, dtype or tensor.dtype)


def _worth_repeating(what: Sum) -> bool:
    """Whether its sources are so few that every reader had better start from them."""
    return what.pointwise and what.inputs < what.channels


def _shape(tensor: Any) -> tuple:
    return tuple(tensor.shape[1:])


def _is_image(tensor: Any) -> bool:
    """`(batch, height, width, channels)`, of a known size."""
    return len(_shape(tensor)) == 3 and None not in _shape(tensor)
