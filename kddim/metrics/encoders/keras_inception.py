"""Keras' InceptionV3 as an encoder."""

import os
from typing import Any

import keras
from keras import layers, ops

from kddim.metrics.encoders.base import SEEN, check_weights, float32, missing_weights
from kddim.metrics.encoders.resizing import Resize

_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"


def check_inception_size(image_size: int) -> None:
    """Raises:
    ValueError: the size is below what the network takes.
    """
    if image_size < 75:
        raise ValueError(f"Expected `image_size` of at least 75. Received: {image_size}")


@float32()
def inception_v3(
    image_size: int = 75,
    weights: str | os.PathLike | None = "imagenet",
    antialias: bool = False,
) -> keras.Model:
    """InceptionV3 without its classifier, averaged over positions.

    Images are resized and scaled to [-1, 1]. These weights are not those that published
    FID and KID use: for figures that compare with the literature, see `pt_inception`.

    Args:
        image_size: side that the network sees, in pixels, at least 75.
        weights: "imagenet" (Keras' own, downloaded once), a local file of weights of
            `keras.applications.InceptionV3(include_top=False)`, or None for random ones.
        antialias: False resizes bilinearly without antialiasing, as in the keras.io
            example; True as Pillow does, bicubic and antialiased (Parmar et al., CVPR
            2022, arXiv 2104.11222).

    Returns:
        A model `(batch, height, width, 3)` in [0, 1] to `(batch, 2048)` features.

    Raises:
        ValueError: a size under 75; weights that cannot be downloaded or read.
    """
    check_inception_size(image_size)
    weights = check_weights(weights)
    try:
        network = keras.applications.InceptionV3(
            include_top=False,
            weights=weights,
            input_shape=(image_size, image_size, 3),
            pooling="avg",
        )
    except Exception as error:  # network, file and format errors of many kinds
        raise missing_weights("Inception", f"the file {_FILE}", error) from error
    network.trainable = False
    images = keras.Input((None, None, 3))
    x = layers.Rescaling(2.0, offset=-1.0)(resized(images, image_size, antialias))
    return keras.Model(images, network(x), name="inception_encoder")


def resized(images: Any, image_size: int, antialias: bool) -> Any:
    """Images in [0, 1] as squares, still in [0, 1]."""
    if antialias:
        seen = ops.clip(Resize(image_size, "bicubic")(images), 0.0, 1.0)
    else:
        seen = layers.Resizing(image_size, image_size)(images)
    return layers.Identity(name=SEEN)(seen)
