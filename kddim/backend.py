"""The only room that knows which framework computes: TensorFlow, JAX or PyTorch.

Keras' own backend choice (`KERAS_BACKEND`) holds. Everything else in the package
speaks `keras.ops`, NumPy, and the functions below.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kddim.checks import reason_of


def array_module(array: Any) -> Any:
    """The namespace (`numpy` or `keras.ops`) that computes on `array`.

    The two share the names of the elementary functions. Formulas written against
    the result run in float64 on the host for NumPy input, where a whole time grid
    is computed before the first step, and inside a compiled step for tensors.
    """
    if isinstance(array, (float, int, np.ndarray, np.generic)):
        return np
    return keras.ops


def to_numpy(array: Any) -> np.ndarray:
    """Any array or tensor, of any framework and device, as a NumPy array."""
    if hasattr(array, "detach"):  # a PyTorch tensor, whatever the backend
        array = array.detach().cpu()
    if keras.ops.is_tensor(array):
        array = keras.ops.convert_to_numpy(array)
    return np.asarray(array)


def initialise_devices() -> None:
    """Lets TensorFlow look for its devices, which it reports on standard error."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.list_physical_devices()


def leave_devices_to_the_backend() -> None:
    """Keeps TensorFlow off the accelerators where it only reads data for another backend."""
    if keras.backend.backend() != "tensorflow":
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # its devices are in use already
            tf.config.set_visible_devices([], "GPU")


def compile_step(function: Callable, variables: Sequence[Any]) -> Callable:
    """Compiles one step of a loop that runs in Python.

    Args:
        function: from tensors (and nested tuples and dicts of them) to tensors. It
            may read `variables`, and must not write to any.
        variables: the Keras variables that `function` reads. With JAX their values
            become arguments of the compiled function, not constants in it.

    Returns:
        A function with the same arguments. It is compiled once for each shape.
        With PyTorch it runs eagerly, without recording gradients.
    """
    compilers = {
        "tensorflow": _compile_tensorflow,
        "jax": _compile_jax,
        "torch": _compile_torch,
    }
    return compilers[keras.backend.backend()](function, list(variables))


def _compile_tensorflow(function: Callable, variables: list) -> Callable:
    import tensorflow as tf

    # On a CPU the plain graph beats XLA for convolutional networks of this size
    # (0.21 s against 0.27 s a forward pass of 16 images at 64x64 on 2 cores).
    return tf.function(
        tf.autograph.experimental.do_not_convert(function),
        jit_compile=bool(tf.config.list_physical_devices("GPU")),
    )


def _compile_jax(function: Callable, variables: list) -> Callable:
    import jax

    @jax.jit
    def stateless(values, *args):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            return function(*args)

    return lambda *args: stateless([v.value for v in variables], *args)


def _compile_torch(function: Callable, variables: list) -> Callable:
    import torch

    return torch.no_grad()(function)


def convolve(images: Any, kernel: Any, bias: Any = None) -> Any:
    """A convolution with zero padding and stride 1, as fast as the framework has it.

    Args:
        images: `(batch, height, width, channels)`.
        kernel: `(rows, columns, channels, filters)`, of the same dtype.
        bias: `(filters,)` or None.

    Returns:
        `(batch, height, width, filters)`.
    """
    if keras.backend.backend() == "torch":
        return _convolve_torch(images, kernel, bias)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        result = tf.nn.conv2d(images, kernel, strides=1, padding="SAME")
        return result if bias is None else tf.nn.bias_add(result, bias)
    result = keras.ops.conv(images, kernel, padding="same", data_format="channels_last")
    return result if bias is None else result + bias


def _convolve_torch(images: Any, kernel: Any, bias: Any) -> Any:
    """Without the copies to another layout and back that Keras makes around each convolution.

    A view of the images with the channels first is what PyTorch calls `channels_last`.
    """
    import torch

    if torch.compiler.is_dynamo_compiling():
        # The compiler cannot order the strides of images of unknown size, which it keeps
        # for the gradients (pytorch/pytorch#185510). A network's sizes are fixed anyway.
        for axis in (1, 2):
            torch._dynamo.mark_static(images, axis)
    # Keras' pooling gives another layout, which convolutions would hand on.
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    kernel = keras.ops.convert_to_tensor(kernel).permute(3, 2, 0, 1)
    result = torch.nn.functional.conv2d(images, kernel, bias, padding="same")
    return result.permute(0, 2, 3, 1)


def add_and_activate(parts: list[Any], activation: Callable | None) -> Any:
    """`activation(sum of parts)`, where the first part may be overwritten.

    With PyTorch without gradients it is: fresh memory costs an eager step as much as the
    addition itself.
    """
    result, *others = parts
    if keras.backend.backend() == "torch":
        import torch

        if not torch.is_grad_enabled():
            for other in others:
                grows = torch.broadcast_shapes(result.shape, other.shape) != result.shape
                result = result + other if grows else result.add_(other)
            if activation is keras.activations.silu:
                return torch.nn.functional.silu(result, inplace=True)
            return activation(result) if activation else result
    result = sum(others, result)
    return activation(result) if activation else result


def update_after_train_step(model: keras.Model, result: Any, update: Callable[[], None]) -> Any:
    """Runs `update`, which assigns to variables of `model`, at the end of a train step.

    Args:
        model: the model whose `train_step` gave `result`.
        result: what Keras' own `train_step` returned: logs, or with JAX
            `(logs, state)`, where `state` holds the variables' new values.
        update: assigns new values to non-trainable variables of `model`.

    Returns:
        `result`, with JAX holding the assigned values in its state.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        update()
        return result
    if backend == "torch":
        import torch

        with torch.no_grad():
            update()
        return result
    logs, (trainable, non_trainable, *others) = result
    variables = model.trainable_variables + model.non_trainable_variables
    mapping = list(zip(variables, [*trainable, *non_trainable]))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        update()
    non_trainable = [scope.get_current_value(v) for v in model.non_trainable_variables]
    return logs, (trainable, non_trainable, *others)


class StepCache:
    """Compiled sampling steps; no dictionary, which Keras would track and save."""

    def __init__(self):
        self._steps: dict[Any, Callable] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def get(self, key: Any, function: Callable, variables: Sequence[Any]) -> Callable:
        if key not in self._steps:
            self._steps[key] = compile_step(function, variables)
        return self._steps[key]


def load_torch_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a file that `torch.save` wrote of a state dict.

    Args:
        path: the file. Nothing in it is executed.

    Returns:
        Arrays by name.

    Raises:
        ValueError: PyTorch is not installed, or the file holds no state dict.
    """
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"Expected PyTorch to read {os.fspath(path)}. Received: {error}. Install torch, or "
            "convert the file where it is."
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): to_numpy(value) for name, value in state.items()}
    except Exception as error:  # pickle, zip and type errors of many kinds
        reason = reason_of(error)
        raise ValueError(
            f"Expected a PyTorch state dict. Received: {os.fspath(path)}: {reason}"
        ) from error
