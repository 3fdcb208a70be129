"""The folded form of a network: its plan, its folded weights, and how it runs."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kddim.networks.folding.instructions import of_batch
from kddim.networks.folding.reader import plan_of


class FoldedNetwork:
    """A network with `training=False`, computed in fewer and smaller convolutions.

    The output equals the network's up to rounding. `kddim.networks.folding` explains how.
    A network in which nothing can be folded is called as it is.

    Args:
        network: Keras model `[noisy_images, noise_variances] -> prediction`.
        compile_step: Function `(function, variables) -> compiled function`, such as
            `kddim.backend.compile_step`.

    Attributes:
        original: The network.
        folds: True if anything is folded.
        weights: Variables that hold the folded weights; `refresh` computes them.
        variables: All variables that a call reads. Layers that are not folded read their own.
    """

    def __init__(self, network: keras.Model, compile_step: Callable):
        self.original = network
        self.plan = plan_of(network)
        self.folds = bool(self.plan.weights)
        self.weights = [
            keras.Variable(ops.zeros(w.shape, w.dtype), trainable=False, dtype=w.dtype)
            for w in self.plan.weights
        ]
        self._network_variables = network.variables
        self.variables = [*self._network_variables, *self.weights]
        self._values = compile_step(self._compute_weights, self._network_variables)
        self._last_readers = {key: i for i in self.plan.instructions for key in i.reads}

    def represents(self, network: keras.Model) -> bool:
        """Return True if this is the folded form of `network` as it is now.

        A network whose layers were given other variables, as by `enable_lora`, must be folded
        again. Other values of the same variables need only a `refresh`.
        """
        ids = [id(variable) for variable in network.variables]
        return network is self.original and ids == [id(v) for v in self._network_variables]

    def refresh(self) -> None:
        """Compute the folded weights from the values that the network's variables have now."""
        if self.folds:
            for variable, value in zip(self.weights, self._values()):
                variable.assign(value)

    def __call__(self, inputs: list[Any], training: bool = False) -> Any:
        """Return the prediction of the network.

        Args:
            inputs: `[noisy_images, noise_variances]`, of shapes `(batch, height, width,
                channels)` and `(batch, 1, 1, 1)`, and labels `(batch,)` if the network has such
                an input. A single noise variance, of shape `(1, 1, 1, 1)`, serves all images.
            training: Ignored: the network is computed as in inference.
        """
        images, variances, *labels = inputs
        batch = ops.shape(images)[0]
        if not self.folds:
            return self.original([images, of_batch(variances, batch), *labels], training=False)
        tensors = {
            id(symbol): ops.cast(tensor, symbol.dtype)
            for symbol, tensor in zip(self.original.inputs, inputs)
        }
        weights = [variable.value for variable in self.weights]
        kept = {id(tensor) for tensor in (*self.original.inputs, *self.original.outputs)}
        for instruction in self.plan.instructions:
            instruction.run(tensors, weights)
            for key in set(instruction.reads) - kept:
                # Without a later reader, an eager backend can free the memory of the tensor.
                if self._last_readers[key] is instruction:
                    del tensors[key]
        return of_batch(tensors[id(self.original.outputs[0])], batch)

    def _compute_weights(self) -> list[Any]:
        memo: dict[Any, Any] = {}
        return [ops.cast(weight.value(memo), weight.dtype) for weight in self.plan.weights]
