"""The folded form of a network, with weights of its own."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kddim.networks.folding.instructions import of_batch
from kddim.networks.folding.plan import Plan, plan_of


class FoldedNetwork:
    """What a network computes with `training=False`, in fewer and smaller convolutions.

    Batch normalisation goes into the convolution behind it, linear layers into one another,
    and what the noise level alone decides is computed once for a batch that shares it. The
    results are the network's to rounding. A network without any of that is used as it is.

    Args:
        network: a Keras model `[noisy_images, noise_variances] -> prediction`; only
            functional ones can be folded.
        compile_step: `(function, variables) -> function`, such as
            `kddim.backend.compile_step`.
    """

    def __init__(self, network: keras.Model, compile_step: Callable):
        self.original = network
        self.plan = plan_of(network) or Plan([], [])
        self.folds = bool(self.plan.weights)
        self._own = [
            keras.Variable(ops.zeros(w.shape, w.dtype), trainable=False, dtype=w.dtype)
            for w in self.plan.weights
        ]
        self.variables = [*network.variables, *self._own]  # layers that are called read theirs
        self._values = compile_step(self._compute_weights, network.variables)
        self._unused = self._unused_after_each()

    def refresh(self) -> None:
        """Takes over the weights and statistics that the network has now."""
        if self.folds:
            for variable, value in zip(self._own, self._values()):
                variable.assign(value)

    def __call__(self, inputs: list[Any], training: bool = False) -> Any:
        """Like the network itself; noise variances may be one for the whole batch."""
        images, variances = inputs
        batch = ops.shape(images)[0]
        if not self.folds:
            return self.original([images, of_batch(variances, batch)], training=False)
        tensors = {
            id(symbol): ops.cast(tensor, symbol.dtype)
            for symbol, tensor in zip(self.original.inputs, (images, variances))
        }
        weights = [variable.value for variable in self._own]
        for instruction, unused in zip(self.plan.instructions, self._unused):
            instruction.run(tensors, weights)
            for key in unused:
                del tensors[key]
        return of_batch(tensors[id(self.original.outputs[0])], batch)

    def _compute_weights(self) -> list[Any]:
        memo: dict[Any, Any] = {}
        return [ops.cast(weight.value(memo), weight.dtype) for weight in self.plan.weights]

    def _unused_after_each(self) -> list[list[int]]:
        """The tensors to let go after each instruction: an eager backend frees them."""
        unused: list[list[int]] = []
        if not self.folds:
            return unused
        kept = {id(tensor) for tensor in (*self.original.inputs, *self.original.outputs)}
        for instruction in reversed(self.plan.instructions):
            keys = set(instruction.reads) - kept
            unused.append(sorted(keys))
            kept |= keys
        return unused[::-1]
