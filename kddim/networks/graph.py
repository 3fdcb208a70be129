"""A functional Keras model as a list of calls, for code that computes it in another way."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import keras

Tensors = dict[int, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or operation.

    Attributes:
        operation: The Keras layer or operation.
        arguments: Keras' record of the arguments, which may be nested.
        inputs: Symbolic tensors among the arguments.
        outputs: Symbolic tensors that the call returned.
    """

    operation: Any
    arguments: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]

    def run(self, tensors: Tensors, training: bool = False) -> Tensors:
        """Call the operation on tensors.

        Args:
            tensors: Values of the symbolic tensors, by their `id`.
            training: Argument for layers whose `call` accepts it.

        Returns:
            Values of `outputs`, by the `id` of the symbolic tensor.
        """
        args, kwargs = self.arguments.fill_in(tensors)
        if isinstance(self.operation, keras.Layer):  # layers drop the argument if unused
            kwargs["training"] = training
        return by_id(self.outputs, keras.tree.flatten(self.operation(*args, **kwargs)))


Users = dict[int, list[Call | None]]


def by_id(symbols: Iterable[Any], tensors: Iterable[Any]) -> Tensors:
    """Return the values of symbolic tensors, by the `id` of the symbolic tensor."""
    return {id(symbol): tensor for symbol, tensor in zip(symbols, tensors)}


def calls_of(network: keras.Model) -> list[Call]:
    """Return the calls of a functional model in an order in which they can run.

    Returns:
        List of calls. It is empty for models that are not functional, and for subclasses of
        functional models, because they may override what Keras does.
    """
    by_depth = getattr(network, "_nodes_by_depth", ())
    if not type(network).__module__.startswith("keras."):
        return []
    return [
        Call(node.operation, node.arguments, tuple(node.input_tensors), tuple(node.outputs))
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if not node.is_input
    ]


def bytes_per_image(network: keras.Model, image_shape: Iterable[int]) -> int:
    """Return the least memory that the network takes per image of a batch.

    It is the largest size of the inputs and outputs of one layer, or that of the image.

    Args:
        network: Keras model `[noisy_images, noise_variances] -> prediction`.
        image_shape: `(height, width, channels)` of the images.
    """
    sizes = [4 * math.prod(image_shape)]
    for call in calls_of(network):
        sizes.append(sum(_bytes_of(tensor) for tensor in (*call.inputs, *call.outputs)))
    return max(sizes)


def _bytes_of(tensor: Any) -> int:
    """Return the size of a symbolic tensor per image. Unknown sides count as one."""
    known = [side for side in tensor.shape[1:] if side is not None]
    half = keras.backend.standardize_dtype(tensor.dtype) in ("float16", "bfloat16")
    return math.prod(known) * (2 if half else 4)


def users_of(network: keras.Model, calls: list[Call]) -> Users:
    """Return the calls that read each symbolic tensor, by the `id` of the tensor.

    For outputs of the network, None stands for the network's caller.
    """
    users: Users = {}
    for call in calls:
        for tensor in call.inputs:
            users.setdefault(id(tensor), []).append(call)
    for tensor in network.outputs:
        users.setdefault(id(tensor), []).append(None)
    return users
