"""Differences between the frameworks that compute: TensorFlow, JAX and PyTorch.

No other file of the package imports a framework. The others use `keras.ops`, NumPy, and the
functions of this module. Keras chooses the framework (`KERAS_BACKEND`).
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kddim.checks import reason_of


def array_module(array: Any) -> Any:
    """Return the namespace that computes on `array`, `numpy` or `keras.ops`.

    Both namespaces use the same names for elementary functions, so one formula serves both.
    For NumPy arrays it runs in their precision on the host, as for the time grids that are
    computed before sampling begins. For tensors it runs inside a compiled step.

    Args:
        array: NumPy array, Python number or backend tensor.
    """
    if isinstance(array, (float, int, np.ndarray, np.generic)):
        return np
    return keras.ops


def to_numpy(array: Any) -> np.ndarray:
    """Return an array or tensor of any framework as a NumPy array.

    Args:
        array: Array, nested list, number, or tensor on any device. Tensors of PyTorch are
            accepted with every backend.
    """
    if hasattr(array, "detach"):  # a PyTorch tensor, whatever the backend
        array = array.detach().cpu()
    if keras.ops.is_tensor(array):
        if callable(getattr(array, "value", None)):  # a variable of TensorFlow, on any devices
            array = array.value()
        array = keras.ops.convert_to_numpy(array)
    return np.asarray(array)


def initialise_devices() -> None:
    """Make TensorFlow search for its devices, which writes messages to standard error.

    With the other backends, nothing happens.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.list_physical_devices()


def accelerators() -> list[str]:
    """Return the names of the accelerators that the backend computes on. On a CPU, it is empty."""
    if keras.backend.backend() == "torch":
        import torch

        return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.local_devices() if device.platform != "cpu"]
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    details = map(tf.config.experimental.get_device_details, found)
    return [about.get("device_name", "GPU") for about in details]


def leave_devices_to_the_backend() -> None:
    """Hide the accelerators from TensorFlow if it only reads data for another backend."""
    if keras.backend.backend() != "tensorflow":
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # TensorFlow uses its devices already.
            tf.config.set_visible_devices([], "GPU")


def devices_of(count: int | None) -> list[str]:
    """Return the names of the devices that train, such as `["gpu:0", "gpu:1"]`.

    Without accelerators, the processor becomes `count` virtual devices, if the framework has not
    started yet. PyTorch has one device, because Keras distributes nothing with it.

    Args:
        count: Number of devices, which are the first ones. None is all.
    """
    if keras.backend.backend() == "jax":
        import jax

        if count:
            with contextlib.suppress(RuntimeError):  # JAX uses its devices already
                jax.config.update("jax_num_cpu_devices", count)
        return keras.distribution.list_devices()[:count]
    if keras.backend.backend() == "torch":
        return ["the default device"]
    import tensorflow as tf

    kind = "GPU" if _has_gpu() else "CPU"
    if count and kind == "CPU":
        virtual = [tf.config.LogicalDeviceConfiguration()] * count
        with contextlib.suppress(RuntimeError):  # TensorFlow uses its devices already
            processor = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(processor, virtual)
    number = len(tf.config.list_logical_devices(kind))
    return [f"{kind.lower()}:{index}" for index in range(number)][:count]


def distributed_over(devices: Sequence[str]) -> contextlib.AbstractContextManager:
    """Return the scope in which a model is made and trained on several devices.

    It is that of Keras' `DataParallel` with JAX, and of a `MirroredStrategy` with TensorFlow.

    Args:
        devices: Names of the devices, as `devices_of` returns them.
    """
    if keras.backend.backend() == "jax":
        return keras.distribution.DataParallel(devices=list(devices)).scope()
    return _mirrored(tuple(devices)).scope()


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    """Return the strategy of devices, the same one for each model of a process.

    Another one for the same devices would number its collective operations from the start again,
    and TensorFlow would take those of a second model for those of the first.
    """
    import tensorflow as tf

    class Strategy(tf.distribute.MirroredStrategy):
        # Each set of devices numbers its groups from a start of its own, by the attribute for which
        # TensorFlow has no argument: two sets share some device, and a group's number is one group.
        _collective_key_base = 1000 * _mirrored.cache_info().currsize

    return Strategy(list(devices))


def num_devices() -> int:
    """Return the number of devices among which a training batch is divided."""
    if keras.backend.backend() == "jax":
        distribution = keras.distribution.distribution()
        return 1 if distribution is None else int(distribution.device_mesh.devices.size)
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


@contextlib.contextmanager
def undivided_batches() -> Iterator[None]:
    """Compute whole batches on each device with JAX, which divides no others into equal parts."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        yield
        return
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def divided(images: Any) -> Any:
    """Return a batch divided among the devices of JAX, if they can share it equally.

    Several processes compute whole batches, because none could read the parts of the others.

    Args:
        images: Tensor `(batch, height, width, channels)`.
    """
    if keras.backend.backend() != "jax" or len(images) % sampling_devices():
        return images
    distribution = keras.distribution.distribution()
    if distribution is None or sampling_devices() == 1:
        return images
    return keras.distribution.distribute_tensor(images, distribution.get_data_layout(images.shape))


def sampling_devices() -> int:
    """Return the number of devices of this process among which a batch of noise is divided."""
    if keras.backend.backend() == "jax":
        import jax

        return num_devices() if jax.process_count() == 1 else 1
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    # Several processes compute whole batches, because none has the parts of the others.
    strategy = tf.distribute.get_strategy()
    several = isinstance(strategy, tf.distribute.MirroredStrategy)
    return strategy.num_replicas_in_sync if several else 1


def divisible(number: int) -> int:
    """Return the size of a batch that the devices share equally.

    Args:
        number: Number of images of the batch.

    Returns:
        The least multiple of the number of devices that is not below `number`. If there are more
        devices than images, `number`, and one device computes the batch.
    """
    count = sampling_devices()
    return number if number < count else -(-number // count) * count


def in_replica() -> bool:
    """Return True in a step that each of several devices computes with TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.distribute.in_cross_replica_context() and num_devices() > 1


def rows_of_replica(draw: Callable[[Any], Any], number: Any) -> Any:
    """Return what `draw` returns for the images of this device.

    With TensorFlow, each device computes a step for its part of a batch. All of them draw for the
    whole batch, and each takes the rows of its part. The draws are those of one device, and other
    ones on each device. With JAX, one step computes the whole batch.

    Args:
        draw: Function from a number of images to nested tensors with one row per image.
        number: Number of images of this device.
    """
    if not in_replica():
        return draw(number)
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    place = tf.cast(context.replica_id_in_sync_group, "int32")
    mine = tf.one_hot(place, num_devices(), dtype="int32") * tf.cast(number, "int32")
    numbers = context.all_reduce("SUM", mine)
    start = tf.cumsum(numbers, exclusive=True)[place]
    everything = draw(tf.reduce_sum(numbers))
    return keras.tree.map_structure(lambda rows: rows[start : start + number], everything)


def sum_over_replicas(tensors: Sequence[Any]) -> Sequence[Any]:
    """Return the sums of tensors over all devices, where each computes its part of a batch."""
    if not in_replica():
        return tensors
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce("SUM", list(tensors))


def distributed_over_hosts() -> contextlib.AbstractContextManager:
    """Return the scope in which all processes of a cluster make and train one model.

    It is that of a `MultiWorkerMirroredStrategy` with TensorFlow, and with JAX that of Keras'
    `DataParallel` over the devices of all processes. It waits until all of them are there.
    """
    if keras.backend.backend() == "jax":
        import jax

        with contextlib.suppress(AttributeError):  # later versions need no choice
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        if not jax.distributed.is_initialized():
            keras.distribution.initialize()
        # Each process gives the engine its own part of a batch.
        return keras.distribution.DataParallel(auto_shard_dataset=False).scope()
    return _multi_worker().scope()


@functools.cache
def _multi_worker() -> Any:
    """Return the strategy of all processes, of which a process can make only one."""
    import tensorflow as tf

    return tf.distribute.MultiWorkerMirroredStrategy()


def in_hosts() -> bool:
    """Return True if several processes train together."""
    if keras.backend.backend() == "jax":
        import jax

        distributed = keras.distribution.distribution() is not None
        return distributed and jax.process_count() > 1
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return several and strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)


def local_devices() -> int:
    """Return the number of devices of this process that compute a part of each batch."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return len(tf.distribute.get_strategy().extended.worker_devices)


def sums_over_hosts(values: Sequence[float]) -> list[float]:
    """Return the sums of numbers over all processes, or with TensorFlow over all devices.

    All processes must call it at the same place of the program.
    """
    if keras.backend.backend() == "jax":
        from jax.experimental import multihost_utils

        gathered = multihost_utils.process_allgather(np.asarray(values, "float32"))
        return [float(total) for total in np.sum(gathered, axis=0)]
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    found = _sum_of_tensorflow(strategy)(tf.constant(values, "float32"))
    return strategy.experimental_local_results(found)[0].numpy().tolist()


@functools.lru_cache(1)
def _sum_of_tensorflow(strategy: Any) -> Any:
    import tensorflow as tf

    def total(tensor: Any) -> Any:
        # A copy, which lies on the device of the replica.
        return tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(tensor))

    return tf.function(lambda tensor: strategy.run(total, (tensor,)), autograph=False)


def errors_of_hosts() -> tuple[type[Exception], ...]:
    """Return the errors that an operation raises if another process cannot be reached."""
    if keras.backend.backend() == "jax":
        import jax

        return (jax.errors.JaxRuntimeError,)
    if keras.backend.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return (tf.errors.OpError,)


def logs_of_step(logs: Any) -> Any:
    """Return the logs of a step in the form in which Keras can average them over hosts.

    With a `MultiWorkerMirroredStrategy`, Keras takes the mean over the first axis, which the
    scalars of a step do not have.
    """
    if not (keras.backend.backend() == "tensorflow" and in_replica() and in_hosts()):
        return logs
    return keras.tree.map_structure(lambda value: keras.ops.reshape(value, (1,)), logs)


def compile_step(function: Callable, variables: Sequence[Any]) -> Callable:
    """Compile one step of a loop that runs in Python.

    Args:
        function: Function from tensors, or nested tuples and dicts of tensors, to tensors. It
            may read `variables`. It must not assign to any variable.
        variables: Keras variables that `function` reads. With JAX, their values become arguments
            of the compiled function. Otherwise they would become constants in it.

    Returns:
        Function with the same arguments and results. It is compiled once per combination of
        input shapes. With PyTorch it runs eagerly and records no gradients.
    """
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()(function)
    if keras.backend.backend() == "jax":
        return _compile_jax(function, list(variables))
    import tensorflow as tf

    # On a CPU, the plain graph is faster than XLA for convolutional networks of this size:
    # 0.21 s instead of 0.27 s per forward pass of 16 images of 64x64 pixels on 2 cores.
    return tf.function(
        tf.autograph.experimental.do_not_convert(function),
        jit_compile=_has_gpu(),
    )


def compile_batch_step(function: Callable, variables: Sequence[Any]) -> Callable:
    """Compile a step as `compile_step` does, of which each device computes a part of the batch.

    JAX divides a step by its tensors, see `divided`. With TensorFlow, each device receives its
    rows of all tensors that have as many rows as the batch, and the results are joined.

    Args:
        function: Function of nested tensors, the batch `(n, height, width, channels)`, and more
            nested tensors. Each row of its results depends only on the same row of these tensors
            and on tensors without rows.
        variables: As for `compile_step`.

    Returns:
        Function with the same arguments and results. One device computes a batch that the
        devices cannot share equally.
    """
    if keras.backend.backend() != "tensorflow" or sampling_devices() == 1:
        return compile_step(function, variables)
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    count = strategy.num_replicas_in_sync
    # XLA compiles the step of one device. The function around it has several.
    on_one = [compile_step(function, variables) for _ in range(count)]

    def step(values: Any, images: Any, *others: Any) -> Any:
        number, arguments = images.shape[0], (values, images, *others)
        size, left = divmod(number, count)
        if left:
            return on_one[0](*arguments)
        parts = [_rows(arguments, number, n * size, size) for n in range(count)]

        def of_replica() -> Any:
            place = tf.distribute.get_replica_context().replica_id_in_sync_group
            index = int(tf.get_static_value(place))
            return on_one[index](*parts[index])

        return keras.tree.map_structure(join, strategy.run(of_replica))

    def join(result: Any) -> Any:
        found = strategy.experimental_local_results(result)
        return tf.concat(found, 0) if found[0].shape.rank else found[0]

    return tf.function(step, autograph=False)


def _rows(arguments: Any, number: int, start: int, size: int) -> Any:
    """Return nested tensors with `size` rows in place of all `number` rows of a batch."""

    def part(tensor: Any) -> Any:
        has_rows = tensor is not None and len(tensor.shape) and tensor.shape[0] == number
        return tensor[start : start + size] if has_rows else tensor

    return keras.tree.map_structure(part, arguments)


def _has_gpu() -> bool:
    """Return True if TensorFlow has a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _compile_jax(function: Callable, variables: list) -> Callable:
    import jax

    @jax.jit
    def stateless(values, *args):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            return function(*args)

    return lambda *args: stateless([v.value for v in variables], *args)


def convolve(images: Any, kernel: Any, bias: Any = None) -> Any:
    """Convolve images with zero padding and stride 1, with the fastest operation of each framework.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        kernel: Tensor `(rows, columns, channels, filters)` of the same dtype.
        bias: Tensor `(filters,)` of the same dtype, or None.

    Returns:
        Tensor `(batch, height, width, filters)` of the same dtype.
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
    """Convolve without copying the images to another memory layout.

    Keras copies them before and after each convolution. PyTorch needs no copy: its memory
    format `channels_last` is a view of `(batch, height, width, channels)` with permuted axes.
    """
    import torch

    if torch.compiler.is_dynamo_compiling():
        # The compiler cannot order the strides of images of unknown size, which it keeps
        # for the gradients (pytorch/pytorch#185510). A network's sizes are fixed anyway.
        for axis in (1, 2):
            torch._dynamo.mark_static(images, axis)
    # Pooling in Keras returns another layout, and convolutions would keep it.
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    kernel = keras.ops.convert_to_tensor(kernel).permute(3, 2, 0, 1)
    result = torch.nn.functional.conv2d(images, kernel, bias, padding="same")
    return result.permute(0, 2, 3, 1)


def swish(x: Any) -> Any:
    """Return `x * sigmoid(x)`, with a gradient that reads the memory once.

    On a CPU, TensorFlow computes the gradient in six operations, each of which reads and writes
    a whole tensor. XLA computes it in one loop: 3 ms instead of 13 for 16 images of 64x64 pixels
    and 32 channels in bfloat16, and 3 ms instead of 7 in float32.

    Args:
        x: Tensor of floats.

    Returns:
        Tensor of the same shape and dtype.
    """
    if keras.backend.backend() == "tensorflow" and not _has_gpu():
        return _swish_of_tensorflow()(x)
    return keras.activations.silu(x)


@functools.cache
def _swish_of_tensorflow() -> Callable:
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False, reduce_retracing=True)
    def gradient(x, upstream):
        wide = tf.float64 if x.dtype == tf.float64 else tf.float32
        number, share = tf.cast(x, wide), tf.sigmoid(tf.cast(x, wide))
        slope = share * (1.0 + number * (1.0 - share))
        return tf.cast(tf.cast(upstream, wide) * slope, x.dtype)

    @tf.custom_gradient
    def swish_of(x):
        return x * tf.sigmoid(x), lambda upstream: gradient(x, upstream)

    return swish_of


def normalize_batch(images: Any, scale: Any, offset: Any, epsilon: float) -> tuple | None:
    """Normalise images by the statistics of their batch, in one operation of TensorFlow.

    Statistics are float32 for images in half precision, too. Keras computes them with separate
    operations, each of which reads or writes a float32 copy of the images.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        scale: Tensor `(channels,)`, or None for ones.
        offset: Tensor `(channels,)`, or None for zeros.
        epsilon: Number that is added to the variances.

    Returns:
        Normalised images, means and variances. None if the backend has no such operation for
        these arguments: it is for another framework, dtype or rank, or `epsilon` is below
        what CUDA accepts.
    """
    if keras.backend.backend() != "tensorflow" or len(images.shape) != 4 or epsilon < 1.001e-5:
        return None
    import tensorflow as tf

    channels = images.shape[-1]
    if images.dtype not in (tf.float16, tf.bfloat16, tf.float32) or channels is None:
        return None
    scale = tf.ones(channels) if scale is None else tf.cast(scale, tf.float32)
    offset = tf.zeros(channels) if offset is None else tf.cast(offset, tf.float32)
    normalized, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        images, scale, offset, epsilon=epsilon
    )
    # The operation returns the unbiased estimate, which divides by one number less.
    count = tf.cast(tf.size(images) // channels, tf.float32)
    return normalized, mean, variance * ((count - 1.0) / count)


def upsample(images: Any, factors: tuple[int, int]) -> Any:
    """Enlarge images by bilinear interpolation.

    For half precision with TensorFlow, Keras limits the result to the range of its dtype. The
    result is an average, so that the limits only cost time.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        factors: Numbers of new rows and columns per row and column.

    Returns:
        Tensor `(batch, factors[0] * height, factors[1] * width, channels)` of the same dtype.
    """
    height, width = keras.ops.shape(images)[1:3]
    size = (height * factors[0], width * factors[1])
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.cast(tf.image.resize(images, size), images.dtype)
    return keras.ops.image.resize(images, size, "bilinear", data_format="channels_last")


def add_and_activate(parts: list[Any], activation: Callable | None) -> Any:
    """Return `activation(sum(parts))`.

    With PyTorch, outside of gradient recording, the sum and the activation overwrite the first
    part. In an eager step, allocating memory takes as long as the addition itself.

    Args:
        parts: Tensors that broadcast together, at least one. The caller must not use the first
            one afterwards.
        activation: Elementwise function, or None for the sum itself.

    Returns:
        Tensor of the broadcast shape.
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
    """Run `update` at the end of a training step.

    With JAX, a training step receives the values of all variables and returns new ones. The
    values that `update` assigns are put into the returned state.

    Args:
        model: Model whose `train_step` returned `result`.
        result: Return value of Keras' own `train_step`: logs, or with JAX `(logs, state)`, where
            `state` holds the new values of the variables.
        update: Function that assigns to non-trainable variables of `model`.

    Returns:
        `result`. With JAX, its state holds the assigned values.
    """
    if keras.backend.backend() == "torch":
        import torch

        with torch.no_grad():  # PyTorch's compiler does not read it as a decorator here
            update()
        return result
    if keras.backend.backend() != "jax":
        update()
        return result
    logs, (trainable, non_trainable, *others) = result
    variables = model.trainable_variables + model.non_trainable_variables
    mapping = list(zip(variables, [*trainable, *non_trainable]))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        update()
    non_trainable = [scope.get_current_value(v) for v in model.non_trainable_variables]
    return logs, (trainable, non_trainable, *others)


def value_and_product(function: Callable[[Any], Any], x: Any, vectors: Any) -> tuple[Any, Any]:
    """Return the value of a function, and its transposed Jacobian times vectors.

    Args:
        function: Function from a tensor to a tensor.
        x: Tensor at which the function is evaluated.
        vectors: Tensor of the shape of the value.

    Returns:
        `(function(x), product)`, where the product has the shape of `x`.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return value, tape.gradient(value, x, output_gradients=vectors)
    if keras.backend.backend() == "jax":
        import jax

        value, pull_back = jax.vjp(function, x)
        return value, pull_back(vectors)[0]
    import torch

    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        value = function(x)
    (product,) = torch.autograd.grad(value, x, vectors)
    return value.detach(), product


def global_norm(tensors: Sequence[Any]) -> Any:
    """Return the L2 norm of all numbers of several tensors, a float32 scalar tensor.

    Args:
        tensors: Tensors of any shapes. None among them is left out.
    """
    tensors = [tensor for tensor in tensors if tensor is not None]
    if keras.backend.backend() == "torch":
        import torch

        # One call for all tensors: a call per tensor would take 5 % of a small step.
        return torch.nn.utils.get_total_norm([tensor.float() for tensor in tensors])
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.linalg.global_norm([tf.cast(tensor, "float32") for tensor in tensors])
    squares = [keras.ops.sum(keras.ops.cast(tensor, "float32") ** 2) for tensor in tensors]
    return keras.ops.sqrt(sum(squares))


def load_torch_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict that `torch.save` wrote.

    No code in the file is executed.

    Args:
        path: File to read.

    Returns:
        NumPy arrays by name.

    Raises:
        ValueError: If PyTorch is not installed, or if the file holds no state dict.
    """
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"Expected PyTorch to read {os.fspath(path)}. Received: {error}. Install torch, or "
            "convert the file on a machine that has it."
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): to_numpy(value) for name, value in state.items()}
    except Exception as error:  # pickle, zip and type errors of many kinds
        raise ValueError(
            f"Expected a PyTorch state dict. Received: {os.fspath(path)}: {reason_of(error)}"
        ) from error
