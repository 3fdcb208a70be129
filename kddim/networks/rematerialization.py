"""Rematerialisation: training in less memory, at the cost of a second forward pass.

A functional network is cut behind each of its additions, since an addition closes a residual
block. Only the tensors between blocks are kept for the gradients. The tensors inside a block
are released after the forward pass and computed again in the backward pass.

Reference:
    Chen et al. 2016, "Training deep nets with sublinear memory cost" (arXiv:1604.06174).
"""

import dataclasses
from typing import Any

import keras
from keras import layers, ops

from kddim.networks.graph import Call, Users, calls_of, users_of
from kddim.networks.layers import Conv2D, SinusoidalEmbedding, SpatialAttention

# Layers that may be called twice: they draw no random numbers and change no state. (Batch
# normalisation is treated apart.)
REPEATABLE = (
    layers.Activation,
    layers.Add,
    layers.AveragePooling2D,
    layers.BatchNormalization,
    layers.Concatenate,
    layers.Conv2D,
    layers.Dense,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Multiply,
    layers.Reshape,
    layers.UpSampling2D,
    Conv2D,
    SinusoidalEmbedding,
    SpatialAttention,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Calls that are computed again together.

    Attributes:
        calls: The calls, in an order in which they can run.
        inputs: Symbolic tensors that the calls read and do not compute.
        outputs: Symbolic tensors that the calls compute and others read.
    """

    calls: list[Call]
    inputs: list[Any]
    outputs: list[Any]


class RematerializedNetwork:
    """A network in training that saves memory.

    It keeps only the tensors between residual blocks, and recomputes the tensors inside them
    for the gradients. Keras' own `RematScope` repeats single layers, which saves little in
    convolutional networks, and updates the statistics of batch normalisation twice. Here, a
    block returns the statistics of the batch, and the moving averages are updated once.

    Args:
        network: Functional Keras model with residual additions (`keras.layers.Add`).

    Attributes:
        network: The network.
        parts: Blocks, and the calls between them, in an order in which they can run.

    Raises:
        ValueError: If the network is not functional, or has no additions that close a block.
    """

    def __init__(self, network: keras.Model):
        self.network = network
        self.parts = _cut(network, calls_of(network) or [])
        if not any(isinstance(part, Block) for part in self.parts):
            raise ValueError(
                "Expected a functional network with residual additions (keras.layers.Add), to "
                f"recompute its blocks. Received: {network.name}. Use remat=False."
            )

    def __call__(self, inputs: list[Any], training: bool = True) -> Any:
        """Return the prediction of the network in training.

        Args:
            inputs: Inputs of the network.
            training: Ignored: the network is always computed as in training.
        """
        tensors = {id(s): t for s, t in zip(self.network.inputs, inputs)}
        for part in self.parts:
            found = self._run(part, tensors) if isinstance(part, Block) else part.run(tensors, True)
            tensors |= {id(s): t for s, t in zip(part.outputs, found)}
        return tensors[id(self.network.outputs[0])]

    def _run(self, block: Block, tensors: dict[int, Any]) -> list[Any]:
        """Return the outputs of a block, and update the averages of its normalisations."""
        normalizations = [c.operation for c in block.calls if _has_statistics(c.operation)]

        @keras.remat
        def run(*inputs):
            """Return the outputs of the block, and the mean and variance of each normalisation."""
            inside = {id(s): t for s, t in zip(block.inputs, inputs)}
            statistics = []
            for call in block.calls:
                if _has_statistics(call.operation):
                    normalized, *batch = _normalize(call.operation, inside[id(call.inputs[0])])
                    found = [normalized]
                    statistics += batch
                else:
                    found = call.run(inside, training=True)
                inside |= {id(s): t for s, t in zip(call.outputs, found)}
            return [*(inside[id(s)] for s in block.outputs), *statistics]

        found = run(*(tensors[id(s)] for s in block.inputs))
        statistics = found[len(block.outputs) :]
        for layer, mean, variance in zip(normalizations, statistics[::2], statistics[1::2]):
            _move(layer.moving_mean, mean, layer.momentum)
            _move(layer.moving_variance, variance, layer.momentum)
        return found[: len(block.outputs)]


def _cut(network: keras.Model, calls: list[Call]) -> list[Block | Call]:
    """Return the calls in their order, with those that lead to an addition joined in blocks."""
    users = users_of(network, calls)
    parts: list[Block | Call] = []
    waiting: list[Call] = []
    for call in calls:
        waiting.append(call)
        if not _repeatable(call.operation):
            parts += waiting
            waiting = []
        elif type(call.operation) is layers.Add:
            parts.append(_block(waiting, users))
            waiting = []
    return [*parts, *waiting]


def _block(calls: list[Call], users: Users) -> Block:
    """Return a block of calls, with the tensors that enter and leave it."""
    made = {id(tensor): tensor for call in calls for tensor in call.outputs}
    read = {id(tensor): tensor for call in calls for tensor in call.inputs}
    inside = {id(call) for call in calls}
    outputs = [
        tensor
        for key, tensor in made.items()
        if any(user is None or id(user) not in inside for user in users.get(key, []))
    ]
    return Block(calls, [t for key, t in read.items() if key not in made], outputs)


def _repeatable(layer: Any) -> bool:
    """Return True if a layer may be called a second time for the gradients."""
    plain = getattr(layer, "activity_regularizer", None) is None
    plain = plain and not isinstance(getattr(layer, "activation", None), keras.Layer)
    return plain and type(layer) in REPEATABLE and not getattr(layer, "renorm", False)


def _has_statistics(layer: Any) -> bool:
    """Return True for a batch normalisation that updates its moving averages."""
    return type(layer) is layers.BatchNormalization and layer.trainable


def _normalize(layer: Any, inputs: Any) -> tuple[Any, Any, Any]:
    """Return the output of batch normalisation in training, and the batch's mean and variance."""
    inputs = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    axes = [axis for axis in range(len(inputs.shape)) if axis != layer.axis % len(inputs.shape)]
    mean, variance = ops.moments(inputs, axes=axes, synchronized=layer.synchronized)
    offset = ops.cast(layer.beta.value, inputs.dtype) if layer.center else None
    scale = ops.cast(layer.gamma.value, inputs.dtype) if layer.scale else None
    normalized = ops.batch_normalization(
        inputs, mean, variance, layer.axis, offset, scale, layer.epsilon
    )
    return ops.cast(normalized, layer.compute_dtype), mean, variance


def _move(average: Any, value: Any, momentum: float) -> None:
    """Move a moving average towards the value of this batch."""
    average.assign(average.value * momentum + ops.stop_gradient(value) * (1.0 - momentum))
