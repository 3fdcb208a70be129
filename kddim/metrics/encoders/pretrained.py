"""Networks of `keras.applications` as encoders."""

import os
from typing import Any

import keras
from keras import layers, ops

from kddim.checks import reason_of
from kddim.metrics.encoders.base import (
    SEEN,
    Encoder,
    check_weights,
    float32,
    from_model,
    weights_name,
)
from kddim.metrics.encoders.resizing import Resize

_FILES = {"InceptionV3": "the file inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"}


@float32()
def build(
    name: str,
    image_size: int,
    weights: str | os.PathLike | None,
    antialias: bool,
    **options: Any,
) -> keras.Model:
    """Build a network without its classifier, averaged over positions.

    Images are resized to squares and scaled to [-1, 1].

    Args:
        name: Name of the network in `keras.applications`.
        image_size: Side in pixels that the network sees.
        weights: "imagenet", a local file of weights, or None for random weights.
        antialias: If true, images are resized with Pillow's antialiased bicubic filter. If
            false, they are resized bilinearly without antialiasing.
        **options: Further options of the network.

    Returns:
        A model from images `(batch, height, width, 3)` in [0, 1] to features `(batch, d)`.

    Raises:
        ValueError: If the weights cannot be downloaded or read.
    """
    weights = check_weights(weights)
    try:
        network = getattr(keras.applications, name)(
            include_top=False,
            weights=weights,
            input_shape=(image_size, image_size, 3),
            pooling="avg",
            **options,
        )
    except Exception as error:  # network, file and format errors of many kinds
        raise _missing_weights(name, error) from error
    network.trainable = False
    images = keras.Input((None, None, 3))
    if antialias:
        resized = ops.clip(Resize(image_size, "bicubic")(images), 0.0, 1.0)
    else:
        resized = layers.Resizing(image_size, image_size)(images)
    x = layers.Rescaling(2.0, offset=-1.0)(layers.Identity(name=SEEN)(resized))
    return keras.Model(images, network(x), name=f"{name.removesuffix('V3').lower()}_encoder")


def _missing_weights(name: str, error: Exception) -> ValueError:
    return ValueError(
        f"Expected {name.removesuffix('V3')} weights: a network connection, "
        f"{_FILES.get(name, 'a file')} in Keras' cache, or a local file. Received: "
        f"{reason_of(error)}. Pass a local file as `weights` to KIDCallback or "
        "kddim.metrics.encoders.get (--encoder-weights on the command line), or choose the "
        'encoder "auto" or "random_conv", which work without weights.'
    )


def encoder(
    model: keras.Model, name: str, image_size: int, weights: Any, antialias: bool, always: bool
) -> Encoder:
    """Return a model that `build` made as an encoder.

    Args:
        model: The model.
        name: Name of the network for the description.
        image_size: Side in pixels that the network sees.
        weights: Local file of weights, or None for those of Keras.
        antialias: Option of `encoders.get`.
        always: True if images are antialiased whatever the option is.
    """
    words = f"{weights_name(weights)}, {image_size}x{image_size}"
    words += ", antialiased" if antialias or always else ""
    options = {"image_size": image_size, "antialias": antialias}
    return from_model(model, f"{name} ({words})", options)
