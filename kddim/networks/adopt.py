"""Taking a network into a model: is it one, and how it is copied."""

import keras
import numpy as np

from kddim.checks import reason_of


def copy_network(network: keras.Model, image_shape: tuple[int, ...]) -> keras.Model:
    """A copy that is not trained, with the same weights.

    `clone_model` alone would draw new ones.
    """
    copy = keras.models.clone_model(network)
    _run_once(copy, image_shape)
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy


def check_network(network: keras.Model, image_shape: tuple[int, ...]) -> None:
    """Refuses a network that does not take noisy images and noise variances to images.

    A subclassed model has its weights afterwards: it is called once.

    Raises:
        ValueError: it cannot be called so, or its output has another shape.
    """
    try:
        shape = _run_once(network, image_shape)
    except Exception as error:
        reason = reason_of(error)
        raise ValueError(
            "Expected a network [noisy_images, noise_variances] -> prediction for images "
            f"{image_shape}. Received: {network.name}, which fails ({reason})"
        ) from error
    if shape != (1, *image_shape):
        raise ValueError(
            "Expected a network [noisy_images, noise_variances] -> prediction of shape "
            f"{('batch', *image_shape)}. Received: {network.name}, with output {shape}"
        )


def _run_once(network: keras.Model, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Builds what is not built yet; the shape of the output for one image."""
    inputs = [np.zeros((1, *image_shape), "float32"), np.zeros((1, 1, 1, 1), "float32")]
    return tuple(network(inputs, training=False).shape)
