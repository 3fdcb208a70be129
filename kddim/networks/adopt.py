"""Adoption of a network by a model: the network is checked, and copied for the average."""

import keras
import numpy as np

from kddim.checks import reason_of


def copy_network(network: keras.Model, image_shape: tuple[int, ...]) -> keras.Model:
    """Return a copy of a network that can hold the average of its weights.

    The copy starts with the same weights and is not trainable. Its name ends in `_ema`, so
    that `summary()` shows which network is which.

    Args:
        network: Network `[noisy_images, noise_variances] -> prediction`.
        image_shape: `(height, width, channels)` of the images.
    """
    copy = keras.models.clone_model(network)  # draws new weights
    copy.name = f"{network.name}_ema"
    _run_once(copy, image_shape)
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy


def check_network(network: keras.Model, image_shape: tuple[int, ...]) -> None:
    """Raise an error unless a network maps noisy images and noise variances to images.

    The network is called once, so that a subclassed model has its weights afterwards.

    Args:
        network: The network.
        image_shape: `(height, width, channels)` of the images.

    Raises:
        ValueError: If the call fails, or if its output has another shape than the images.
    """
    try:
        shape = _run_once(network, image_shape)
    except Exception as error:
        raise ValueError(
            "Expected a network [noisy_images, noise_variances] -> prediction for images "
            f"{image_shape}. Received: {network.name}, which fails ({reason_of(error)})"
        ) from error
    if shape != (1, *image_shape):
        raise ValueError(
            "Expected a network [noisy_images, noise_variances] -> prediction of shape "
            f"{('batch', *image_shape)}. Received: {network.name}, with output {shape}"
        )


def _run_once(network: keras.Model, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Build the network by a call on one image, and return the shape of its output."""
    inputs = [np.zeros((1, *image_shape), "float32"), np.zeros((1, 1, 1, 1), "float32")]
    return tuple(network(inputs, training=False).shape)
