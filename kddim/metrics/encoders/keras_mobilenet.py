"""Keras' MobileNet as an encoder, which is small and fast on a CPU."""

import os
from typing import Any

import h5py
import keras

from kddim.checks import reason_of
from kddim.metrics.encoders import pretrained
from kddim.metrics.encoders.base import Encoder, check_weights


def mobilenet(
    image_size: int = 128,
    weights: str | os.PathLike | None = "imagenet",
    alpha: float | None = None,
) -> keras.Model:
    """Build Keras' MobileNet without its classifier, averaged over positions.

    Images are resized as Pillow does, with an antialiased bicubic filter, and scaled to
    [-1, 1] (Howard et al., 2017, arXiv 1704.04861). Scores mostly order models as those of
    Inception do, at a small part of the cost. They do not compare with published figures.

    Args:
        image_size: Side in pixels that the network sees, at least 32. Keras has "imagenet"
            weights for 128, 160, 192 and 224.
        weights: "imagenet" for Keras' weights, which are downloaded once, a local file of
            weights of `keras.applications.MobileNet(include_top=False)`, or None for random
            weights.
        alpha: Width of the network. None is the width that the file of weights has, or 0.25.

    Returns:
        A model from images `(batch, height, width, 3)` in [0, 1] to features
        `(batch, 1024 * alpha)`.

    Raises:
        ValueError: If the size is below 32, or the weights cannot be downloaded or read or have
            another width.
    """
    if image_size < 32:
        raise ValueError(f"Expected `image_size` of at least 32. Received: {image_size}")
    alpha = _alpha(check_weights(weights), alpha)
    return pretrained.build("MobileNet", image_size, weights, True, alpha=alpha)


def mobilenet_encoder(image_size: int | None, weights: Any, antialias: bool) -> Encoder:
    """Return `mobilenet` as an encoder, with Keras' weights if `weights` is None."""
    size = image_size or 128
    model = mobilenet(size, "imagenet" if weights is None else weights)
    name = f"mobilenet {model.output_shape[-1] / 1024:g}"
    return pretrained.encoder(model, name, size, weights, antialias, True)


def _alpha(weights: str | None, alpha: float | None) -> float:
    """Return the width of the network, after comparing it with that of the file."""
    if weights in (None, "imagenet"):
        return 0.25 if alpha is None else alpha
    found = file_alpha(weights)  # type: ignore[arg-type]
    if alpha not in (None, found):
        raise ValueError(
            f"Expected weights of a MobileNet with alpha={alpha}. Received: {weights}, which has "
            f"alpha={found}. Leave `alpha` out to read it from the file."
        )
    return found


def file_alpha(path: str) -> float:
    """Return the width of the MobileNet whose weights a file holds.

    Args:
        path: File of weights.

    Raises:
        ValueError: If it is not a file of weights, or belongs to another network.
    """
    try:
        with h5py.File(path) as file:
            shapes: list[tuple[int, ...]] = []
            file.visititems(lambda _, item: shapes.append(getattr(item, "shape", ())))
    except Exception as error:  # h5py raises errors of many types
        raise ValueError(
            f"Expected an HDF5 file of MobileNet weights. Received: {path}: {reason_of(error)}"
        ) from error
    widths = {shape[3] for shape in shapes if len(shape) == 4 and shape[:3] == (3, 3, 3)}
    if len(widths) != 1:
        raise ValueError(
            "Expected MobileNet weights, with one 3x3 convolution of colours. "
            f"Received: {path}, which has {len(widths)}"
        )
    return widths.pop() / 32
