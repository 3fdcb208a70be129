"""The rule: which layers are linear, and which sums may be convolved further."""

from typing import Any

import keras
from keras import layers

from kddim.networks.folding.kernels import Kernel
from kddim.networks.folding.sums import Sum
from kddim.networks.graph import Call, Users
from kddim.networks.layers import BatchNormalization, Conv2D, is_plain

CONVOLUTIONS = (layers.Conv2D, Conv2D)
NORMALIZATIONS = (layers.BatchNormalization, BatchNormalization)


def linear_calls(calls: list[Call], users: Users, conditional: set[int]) -> set[int]:
    """Return the ids of the calls that become sums of convolutions.

    Convolutions and additions always become sums. Other linear layers (batch normalisation,
    concatenation, upsampling of the noise level) only change the kernels of a convolution.
    They become sums if every call that reads their output is a convolution, or a linear layer
    that leads to convolutions.

    Args:
        calls: Calls of the network, in an order in which they can run.
        users: Calls that read each tensor, by the `id` of the tensor.
        conditional: Ids of the tensors that depend only on the noise variances, or only on the
            labels.
    """
    linear: set[int] = set()
    for call in reversed(calls):
        readers = users.get(id(call.outputs[0]), [])
        convolved = bool(readers) and all(_is_convolved(reader, linear) for reader in readers)
        taken_in = convolved and _is_taken_in(call, readers, conditional)
        if taken_in or _is_convolution(call) or _is_addition(call):
            linear.add(id(call))
    return linear


def may_compose(total: Sum, kernel: Kernel, dtype: str) -> bool:
    """Return True if a convolution of a sum is itself a sum of convolutions of its sources.

    One of the kernels must be 1x1, because only then padding commutes with convolution. The
    sum must not be rounded to half precision by the convolution: its terms could be large
    numbers that cancel.

    Args:
        total: Sum that the convolution reads.
        kernel: Kernel of the convolution.
        dtype: Compute dtype of the convolution.
    """
    rounds = total.dtype == "float32" and dtype != "float32" and not total.is_source
    return not rounds and (total.pointwise or kernel.taps == 1)


def conditional_tensors(calls: list[Call], condition: int) -> set[int]:
    """Return the ids of the tensors that depend only on one input of the network.

    Args:
        calls: Calls of the network, in an order in which they can run.
        condition: Id of the input: the noise variances or the labels.
    """
    found = {condition}
    for call in calls:
        if call.inputs and all(id(tensor) in found for tensor in call.inputs):
            found |= {id(tensor) for tensor in call.outputs}
    return found


def image_shape(tensor: Any) -> tuple:
    """Return the shape of a symbolic tensor without its batch axis."""
    return tuple(tensor.shape[1:])


def _is_convolution(call: Call) -> bool:
    layer = call.operation
    if type(layer) not in CONVOLUTIONS or not is_plain(layer):
        return False
    # After `enable_lora` or quantisation, `kernel` is computed at each call.
    return isinstance(layer.kernel, keras.Variable) and _has_known_size(call.inputs[0])


def _is_addition(call: Call) -> bool:
    shapes = {image_shape(tensor) for tensor in (*call.inputs, *call.outputs)}
    same = len(shapes) == 1 and _has_known_size(call.outputs[0])
    return same and type(call.operation) is layers.Add


def _is_taken_in(call: Call, readers: list[Call | None], conditional: set[int]) -> bool:
    """Return True for a linear layer that only changes the kernels of the convolutions behind it.

    Upsampling counts only if it tiles an embedding over an image.
    """
    layer, tensor = call.operation, call.inputs[0]
    if type(layer) is layers.UpSampling2D:
        tiles = layer.data_format == "channels_last" and image_shape(tensor)[:2] == (1, 1)
        return tiles and id(tensor) in conditional
    if type(layer) is layers.Concatenate:
        return layer.axis in (-1, 3) and _has_known_size(call.outputs[0])
    if type(layer) in NORMALIZATIONS:
        # The mean must be subtracted before a convolution of a narrower dtype rounds.
        dtypes = [reader.operation.compute_dtype for reader in readers if reader]
        return layer.axis in (-1, 3) and dtypes == [layer.compute_dtype]
    return False


def _is_convolved(reader: Call | None, linear: set[int]) -> bool:
    """Return True if a reader only convolves. The network's caller, None, does not."""
    return reader is not None and id(reader) in linear and type(reader.operation) is not layers.Add


def _has_known_size(tensor: Any) -> bool:
    """Return True for `(batch, height, width, channels)` whose sizes are all known."""
    return len(image_shape(tensor)) == 3 and None not in image_shape(tensor)
