"""Adoption of a network by a model: the network is checked, and copied for the average."""

import math
from typing import Any

import keras
import numpy as np

from kddim.budget import check_memory
from kddim.checks import reason_of
from kddim.networks.sizes import variable_bytes

_SMALL = 2**20  # values of an image that any machine can compute


def copy_network(
    network: keras.Model, image_shape: tuple[int, ...], labelled: bool = False
) -> keras.Model:
    """Return a copy of a network that can hold the average of its weights.

    The copy starts with the same weights and is not trainable. Its name ends in `_ema`, so
    that `summary()` shows which network is which.

    Args:
        network: Network `[noisy_images, noise_variances] -> prediction`.
        image_shape: `(height, width, channels)` of the images.
        labelled: True if the network has a third input, the labels.
    """
    check_memory(variable_bytes(network), f"a copy of {network.name}", "Use a smaller network.")
    copy = keras.models.clone_model(network)  # draws new weights
    copy.name = f"{network.name}_ema"
    _build(copy, image_shape, labelled)
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy


def check_network(network: Any, image_shape: tuple[int, ...], labelled: bool = False) -> None:
    """Raise an error unless a network maps noisy images and noise variances to images.

    The network is called symbolically, so that a subclassed model has its weights afterwards
    and no image is computed.

    Args:
        network: The network.
        image_shape: `(height, width, channels)` of the images.
        labelled: If true, the network has a third input, the labels `(batch,)`.

    Raises:
        ValueError: If it is no Keras model, if the call fails, or if its output has another
            shape than the images.
    """
    inputs = "noisy_images, noise_variances" + (", labels" if labelled else "")
    expected = f"Expected a network [{inputs}] -> prediction"
    if not isinstance(network, keras.Model):
        raise ValueError(f"{expected}, a Keras model. Received: {network!r:.200}")
    try:
        shape = _build(network, image_shape, labelled)
    except Exception as error:
        raise ValueError(
            f"{expected} for images {image_shape}. Received: {network.name}, which fails "
            f"({reason_of(error)})"
        ) from error
    if len(shape) != 4 or shape[0] not in (None, 1) or shape[1:] != image_shape:
        raise ValueError(
            f"{expected} of shape {('batch', *image_shape)}. Received: {network.name}, with "
            f"output {shape}"
        )


def _build(network: keras.Model, image_shape: tuple[int, ...], labelled: bool) -> tuple:
    """Build the network for one image, and return the shape of its output.

    No image is computed, unless the network cannot be called symbolically. It then computes a
    small image, which may succeed, and else fails with an error of its own.
    """
    kinds = [((1, *image_shape), "float32"), ((1, 1, 1, 1), "float32")]
    kinds += [((1,), "int32")] if labelled else []
    try:
        symbols = [keras.KerasTensor(shape, dtype=dtype) for shape, dtype in kinds]
        return tuple(network(symbols, training=False).shape)
    except Exception:
        if math.prod(image_shape) > _SMALL:
            raise
    numbers = [np.zeros(shape, dtype) for shape, dtype in kinds]
    return tuple(network(numbers, training=False).shape)
