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

from kddim.networks.graph import Call, Tensors, Users, by_id, calls_of, users_of
from kddim.networks.layers import (
    BatchNormalization,
    Conv2D,
    LabelEmbedding,
    SinusoidalEmbedding,
    SpatialAttention,
    UpSampling2D,
)

# Layers that may be called twice: they draw no random numbers and change no state, except that
# batch normalisation moves its averages.
REPEATABLE = (
    layers.Activation,
    layers.Add,
    layers.AveragePooling2D,
    layers.BatchNormalization,
    layers.Concatenate,
    layers.Conv2D,
    layers.Conv2DTranspose,
    layers.Dense,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Multiply,
    layers.Reshape,
    layers.UpSampling2D,
    BatchNormalization,
    Conv2D,
    LabelEmbedding,
    SinusoidalEmbedding,
    SpatialAttention,
    UpSampling2D,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Calls that are computed again together.

    Attributes:
        calls: The calls, in an order in which they can run. All of them call layers.
        inputs: Symbolic tensors that the calls read and do not compute.
        outputs: Symbolic tensors that the calls compute and others read.
    """

    calls: list[Call]
    inputs: list[Any]
    outputs: list[Any]

    def run(self, tensors: Tensors, training: bool = True) -> Tensors:
        """Run the calls, and update the moving averages of batch normalisation once.

        Args:
            tensors: Values of the symbolic tensors, by their `id`.
            training: Argument for layers whose `call` accepts it.

        Returns:
            Values of `outputs`, by the `id` of the symbolic tensor.
        """
        variables = [v for call in self.calls for v in call.operation.variables]
        averages = [
            average
            for layer in (call.operation for call in self.calls)
            if isinstance(layer, layers.BatchNormalization) and layer.trainable
            for average in (layer.moving_mean, layer.moving_variance)
        ]

        @keras.remat
        def run(*inputs):
            """Return the outputs of the block and the new moving averages, assigning nothing."""
            inside = by_id(self.inputs, inputs)
            with keras.StatelessScope([(v, v.value) for v in variables]) as scope:
                for call in self.calls:
                    inside |= call.run(inside, training)
            moved = [scope.get_current_value(average) for average in averages]
            return [*(inside[id(s)] for s in self.outputs), *moved]

        found = run(*(tensors[id(s)] for s in self.inputs))
        for average, value in zip(averages, found[len(self.outputs) :]):
            average.assign(ops.stop_gradient(value))
        return by_id(self.outputs, found)


class RematerializedNetwork:
    """A network in training that saves memory.

    It keeps only the tensors between residual blocks, and recomputes the tensors inside them
    for the gradients. Keras' own `RematScope` repeats single layers, which saves little in
    convolutional networks, and updates the moving averages of batch normalisation twice. Here,
    a block returns the new averages, which are assigned once.

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
        self.parts = _cut(network, calls_of(network))
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
        tensors = by_id(self.network.inputs, inputs)
        for part in self.parts:
            tensors |= part.run(tensors, training=True)
        return tensors[id(self.network.outputs[0])]


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
    outputs = [
        tensor
        for key, tensor in made.items()
        if any(user not in calls for user in users.get(key, []))
    ]
    return Block(calls, [t for key, t in read.items() if key not in made], outputs)


def _repeatable(layer: Any) -> bool:
    """Return True if a layer may be called a second time for the gradients."""
    plain = getattr(layer, "activity_regularizer", None) is None
    plain = plain and not isinstance(getattr(layer, "activation", None), keras.Layer)
    return plain and type(layer) in REPEATABLE and not getattr(layer, "renorm", False)
