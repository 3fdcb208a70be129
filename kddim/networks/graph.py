"""A functional Keras model as a list of calls, for those who compute it in another way."""

import dataclasses
from typing import Any

import keras


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or operation, from symbolic tensors to symbolic tensors."""

    operation: Any
    arguments: Any  # Keras' record of the nested arguments
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]

    def run(self, tensors: dict[int, Any], training: bool = False) -> list[Any]:
        """Calls the operation on tensors.

        Args:
            tensors: by the `id` of the symbolic tensor that each stands for.
            training: passed to layers that ask for it.

        Returns:
            A tensor for each of `outputs`.
        """
        args, kwargs = self.arguments.fill_in(tensors)
        if isinstance(self.operation, keras.Layer):  # which drops it where it has no use for it
            kwargs["training"] = training
        return keras.tree.flatten(self.operation(*args, **kwargs))


def calls_of(network: keras.Model) -> list[Call] | None:
    """The calls of a functional model in an order in which they can run.

    Returns:
        None for a model that is not functional, or that overrides what Keras does.
    """
    by_depth = getattr(network, "_nodes_by_depth", None)
    if by_depth is None or not type(network).__module__.startswith("keras."):
        return None
    return [
        Call(node.operation, node.arguments, tuple(node.input_tensors), tuple(node.outputs))
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if not node.is_input
    ]


def users_of(network: keras.Model, calls: list[Call]) -> dict[int, list[Call | None]]:
    """Who reads each symbolic tensor, by its `id`; None stands for the network's caller."""
    users: dict[int, list[Call | None]] = {}
    for call in calls:
        for tensor in call.inputs:
            users.setdefault(id(tensor), []).append(call)
    for tensor in network.outputs:
        users.setdefault(id(tensor), []).append(None)
    return users
