"""Norm of the gradients of a training step, without code for the gradients themselves."""

import contextlib
import threading
from collections.abc import Iterator
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
    method = "stateless_apply" if keras.backend.backend() == "jax" else "apply"
    recorder = vars(optimizer).get(method)
    if not isinstance(recorder, _Recorder):  # else of another device, whose thread waits
        recorder = _Recorder(optimizer, method)
        vars(optimizer)[method] = recorder
    try:
        yield recorder.begin()
    finally:
        recorder.end()


class _Recorder:
    """Replacement for the method of an optimiser that is given all gradients.

    Several devices trace their steps in threads that take turns. Each has its own list.

    Args:
        optimizer: The optimiser.
        method: Name of its method: `apply`, or with JAX `stateless_apply`.
    """

    def __init__(self, optimizer: Any, method: str):
        self._optimizer, self._method = optimizer, method
        self._apply, self._own = getattr(optimizer, method), vars(optimizer).get(method)
        self._norms: dict[int, list[Any]] = {}

    def begin(self) -> list[Any]:
        """Return the list that receives the norms of this thread."""
        return self._norms.setdefault(threading.get_ident(), [])

    def end(self) -> None:
        """Forget this thread, and give the optimiser its method back after the last one."""
        del self._norms[threading.get_ident()]
        if not self._norms:
            del vars(self._optimizer)[self._method]
            if self._own is not None:
                vars(self._optimizer)[self._method] = self._own

    def __call__(self, *arguments: Any, **kwargs: Any) -> Any:
        if self._method == "stateless_apply":  # of the values of variables, and of gradients
            mapping = list(zip(self._optimizer.variables, arguments[0]))
            with keras.StatelessScope(state_mapping=mapping):
                self._note(arguments[1])
        else:
            self._note(arguments[0])
        return self._apply(*arguments, **kwargs)

    def _note(self, gradients: Any) -> None:
        norm = backend.global_norm(backend.sum_over_replicas(gradients))
        self.begin().append(norm / _loss_scale(self._optimizer))


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
