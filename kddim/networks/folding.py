"""Batch normalisation folded into the convolution behind it, for sampling.

With fixed statistics a normalisation scales and shifts each channel. The scale goes into
the kernel. The shift becomes a bias, of another value at the borders of the image, where
the convolution pads normalised zeros: hence a map of biases, one for each position.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="kddim")
class FoldedConv2D(layers.Conv2D):
    """A convolution, padding "same", whose bias has a value for each position and channel.

    Shapes: `(batch, height, width, channels)` to `(batch, height, width, filters)`.
    """

    def build(self, input_shape):
        bias_shape = (*input_shape[1:3], self.filters)
        self.use_bias = False
        super().build(input_shape)
        self.bias_map = self.add_weight(name="bias_map", shape=bias_shape, initializer="zeros")

    def call(self, inputs):
        return self.activation(self.convolution_op(inputs, self.kernel) + self.bias_map)


class FoldedNetwork:
    """What a network computes with `training=False`, in fewer passes over its activations.

    It shares the network's layers, but for batch normalisations with one consumer, a
    convolution, and those convolutions. A network without such is used as it is.

    Args:
        network: a Keras model; only functional ones can be folded.
        compile_step: `(function, variables) -> function`, such as
            `kddim.backend.compile_step`.
    """

    def __init__(self, network: keras.Model, compile_step: Callable):
        self.original = network
        self.network = network
        self._pairs: list[tuple[Any, Any, Any]] = []
        found = _foldable(network)
        if not found:
            return
        copies: dict[Any, Any] = {}

        def copy(layer: Any) -> Any:
            if any(layer is convolution for _, convolution in found):
                copies[id(layer)] = FoldedConv2D.from_config(layer.get_config())
                return copies[id(layer)]
            return layer

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            folded_away = any(layer is normalization for normalization, _ in found)
            return args[0] if folded_away else layer(*args, **kwargs)

        self.network = keras.models.clone_model(network, clone_function=copy, call_function=call)
        self._pairs = [(n, c, copies[id(c)]) for n, c in found]
        variables = [v for n, c, _ in self._pairs for v in (*n.variables, *c.variables)]
        self._values = compile_step(self._compute, variables)

    def refresh(self) -> None:
        """Takes over the weights and statistics that the network has now."""
        if self._pairs:
            for (_, _, folded), (kernel, bias_map) in zip(self._pairs, self._values()):
                folded.kernel.assign(kernel)
                folded.bias_map.assign(bias_map)

    def _compute(self) -> list[tuple[Any, Any]]:
        return [fold(*pair) for pair in self._pairs]


class FoldedNetworks:
    """The folded form of the latest network; no attribute that Keras would track and save.

    `current` is the network to use while sampling goes on, else None.
    """

    def __init__(self):
        self.current: keras.Model | None = None
        self._all: list[FoldedNetwork] = []  # kept: compiled steps are known by their `id`

    @contextlib.contextmanager
    def sampling(self, network: keras.Model, compile_step: Callable) -> Iterator[keras.Model]:
        """Makes the folded form `current`, with the weights that the network has now."""
        if not self._all or self._all[-1].original is not network:
            self._all.append(FoldedNetwork(network, compile_step))
        self._all[-1].refresh()
        before, self.current = self.current, self._all[-1].network
        try:
            yield self.current
        finally:
            self.current = before


def fold(normalization: Any, convolution: Any, folded: FoldedConv2D) -> tuple[Any, Any]:
    """Kernel and bias map that do what the normalisation and the convolution do.

    Returns:
        `(kernel (rows, columns, channels, filters), bias_map (height, width, filters))`.
    """
    scale = ops.rsqrt(normalization.moving_variance.value + normalization.epsilon)
    if normalization.scale:
        scale = scale * normalization.gamma.value
    kernel = convolution.kernel.value * ops.expand_dims(scale, -1)
    # The shift is that of the kernel as half precision rounds it: what a rounding error
    # makes of a mean far from zero must cancel.
    rounded = ops.cast(ops.cast(kernel, convolution.compute_dtype), "float32")
    taps = -ops.einsum("rcio,i->rco", rounded, normalization.moving_mean.value)
    if normalization.center:
        taps = taps + ops.einsum("rcio,i->rco", convolution.kernel.value, normalization.beta.value)
    height, width, _ = folded.bias_map.shape
    rows, columns = (
        _inside(size, taps) for size, taps in zip((height, width), convolution.kernel_size)
    )
    bias_map = ops.einsum("hr,wc,rco->hwo", rows, columns, taps)
    return kernel, bias_map + convolution.bias.value if convolution.use_bias else bias_map


def _inside(size: int, taps: int) -> Any:
    """`(size, taps)`: 1 where a tap of the kernel at a position lies inside the image."""
    positions = ops.expand_dims(ops.arange(size), 1) + ops.arange(taps) - (taps - 1) // 2
    return ops.cast((positions >= 0) & (positions < size), "float32")


def _foldable(network: keras.Model) -> list[tuple[Any, Any]]:
    """Batch normalisations and the convolutions that alone use their results."""
    by_depth = getattr(network, "_nodes_by_depth", None)  # of functional models alone
    if by_depth is None:
        return []
    own_nodes = {id(node) for nodes in by_depth.values() for node in nodes}
    used_by: dict[int, list] = {}
    for layer in network.layers:
        for node in layer._inbound_nodes:
            if id(node) in own_nodes:
                for tensor in node.input_tensors:
                    used_by.setdefault(id(tensor._keras_history.operation), []).append(layer)
    outputs = {id(t._keras_history.operation) for t in network.outputs}
    found = []
    for layer in network.layers:
        users = used_by.get(id(layer), [])
        if _plain_normalization(layer) and len(users) == 1 and id(layer) not in outputs:
            once = len(layer._inbound_nodes) == len(users[0]._inbound_nodes) == 1
            if once and _plain_convolution(users[0]):
                found.append((layer, users[0]))
    return found


def _plain_normalization(layer: Any) -> bool:
    return type(layer) is layers.BatchNormalization and layer.axis in (-1, 3)


def _plain_convolution(layer: Any) -> bool:
    return (
        type(layer) is layers.Conv2D
        and layer.padding == "same"
        and layer.data_format == "channels_last"
        and set(layer.strides) == set(layer.dilation_rate) == {1}
        and layer.groups == 1
        and None not in layer.input.shape[1:]
    )
