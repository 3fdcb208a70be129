"""A functional Keras model as a list of calls, for code that computes it in another way."""

import dataclasses
from typing import Any

import keras


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

    def run(self, tensors: dict[int, Any], training: bool = False) -> list[Any]:
        """Call the operation on tensors.

        Args:
            tensors: Values of the symbolic tensors, by their `id`.
            training: Passed to layers whose `call` has this argument.

        Returns:
            One tensor for each of `outputs`.
        """
        args, kwargs = self.arguments.fill_in(tensors)
        if isinstance(self.operation, keras.Layer):  # layers drop the argument if unused
            kwargs["training"] = training
        return keras.tree.flatten(self.operation(*args, **kwargs))


Users = dict[int, list[Call | None]]


def calls_of(network: keras.Model) -> list[Call] | None:
    """Return the calls of a functional model in an order in which they can run.

    Returns:
        List of calls, or None for models that are not functional and for subclasses of
        functional models, which may override what Keras does.
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
