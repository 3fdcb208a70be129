"""Norm of the gradients of a training step, without code for the gradients themselves."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from kddim import backend


@contextlib.contextmanager
def record_norm(optimizer: keras.optimizers.Optimizer) -> Iterator[list[Any]]:
    """Record the norm of the gradients that an optimiser is given while the block runs.

    The training steps of Keras hand all gradients to one method of the optimiser, which the
    block replaces. In a compiled step the block runs only while the step is traced.

    Args:
        optimizer: Optimiser of the model that trains.

    Yields:
        A list. It receives one scalar tensor per call of the method: the global L2 norm of the
        gradients, in float32 and without the scale of the loss.
    """
    norms: list[Any] = []
    method = "stateless_apply" if keras.backend.backend() == "jax" else "apply"
    apply, own = getattr(optimizer, method), vars(optimizer).get(method)
    vars(optimizer)[method] = _recording(apply, optimizer, norms)
    try:
        yield norms
    finally:
        del vars(optimizer)[method]
        if own is not None:
            vars(optimizer)[method] = own


def _recording(apply: Callable, optimizer: Any, norms: list[Any]) -> Callable:
    """Return `apply` with a note of the norm of its gradients."""

    def apply_gradients(*arguments: Any, **kwargs: Any) -> Any:
        norms.append(backend.global_norm(arguments[0]) / _loss_scale(optimizer))
        return apply(*arguments, **kwargs)

    def stateless_apply(values: Any, gradients: Any, *arguments: Any, **kwargs: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(optimizer.variables, values))):
            norms.append(backend.global_norm(gradients) / _loss_scale(optimizer))
        return apply(values, gradients, *arguments, **kwargs)

    return stateless_apply if keras.backend.backend() == "jax" else apply_gradients


def _loss_scale(optimizer: Any) -> Any:
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return keras.ops.convert_to_tensor(optimizer.dynamic_scale.value)
    return optimizer.loss_scale_factor or 1.0


def add_log(result: Any, name: str, value: Any) -> Any:
    """Return the result of a training step with one more value in its logs.

    Args:
        result: Logs, or with JAX `(logs, state)`.
        name: Key of the value.
        value: Scalar tensor.
    """
    if isinstance(result, tuple):
        logs, state = result
        return logs | {name: value}, state
    return result | {name: value}
