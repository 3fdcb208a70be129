"""Keras' InceptionV3 as an encoder."""

import os
from typing import Any

import keras

from kddim.metrics.encoders import pretrained
from kddim.metrics.encoders.base import Encoder


def check_inception_size(image_size: int) -> None:
    """Raise an error if the network does not take images of this size.

    Args:
        image_size: Side in pixels.

    Raises:
        ValueError: If the size is below 75.
    """
    if image_size < 75:
        raise ValueError(f"Expected `image_size` of at least 75. Received: {image_size}")


def inception_v3(
    image_size: int = 75,
    weights: str | os.PathLike | None = "imagenet",
    antialias: bool = False,
) -> keras.Model:
    """Build Keras' InceptionV3 without its classifier, averaged over positions.

    Images are resized and scaled to [-1, 1]. Published FID and KID use other weights: for
    figures that compare with the literature, use `pt_inception`.

    Args:
        image_size: Side in pixels that the network sees, at least 75.
        weights: "imagenet" for Keras' weights, which are downloaded once, a local file of
            weights of `keras.applications.InceptionV3(include_top=False)`, or None for random
            weights.
        antialias: If false, images are resized bilinearly without antialiasing, as in the
            keras.io example. If true, they are resized as Pillow does, with an antialiased
            bicubic filter (Parmar et al., CVPR 2022, arXiv 2104.11222).

    Returns:
        A model from images `(batch, height, width, 3)` in [0, 1] to features `(batch, 2048)`.

    Raises:
        ValueError: If the size is below 75, or the weights cannot be downloaded or read.
    """
    check_inception_size(image_size)
    return pretrained.build("InceptionV3", image_size, weights, antialias)


def inception_v3_encoder(image_size: int | None, weights: Any, antialias: bool) -> Encoder:
    """Return `inception_v3` as an encoder, with Keras' weights if `weights` is None."""
    size = image_size or 75
    model = inception_v3(size, "imagenet" if weights is None else weights, antialias)
    return pretrained.encoder(model, "inception_v3", size, weights, antialias, False)
