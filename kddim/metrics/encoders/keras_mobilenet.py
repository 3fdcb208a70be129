"""Keras' MobileNet as an encoder: small, and quick on a CPU."""

import os

import h5py
import keras
from keras import layers

from kddim.checks import reason_of
from kddim.metrics.encoders.base import check_weights, float32, missing_weights
from kddim.metrics.encoders.keras_inception import resized


@float32()
def mobilenet(
    image_size: int = 128,
    weights: str | os.PathLike | None = "imagenet",
    alpha: float | None = None,
) -> keras.Model:
    """MobileNet (Howard et al., 2017, arXiv 1704.04861), averaged over positions.

    Images are resized as Pillow does, bicubic and antialiased, and scaled to [-1, 1].
    Its scores order models as Inception's mostly do, at a small part of the cost; they
    compare with no published figure.

    Args:
        image_size: side that the network sees, in pixels, at least 32. Keras has
            "imagenet" weights for 128, 160, 192 and 224.
        weights: "imagenet" (Keras' own, downloaded once), a local file of weights of
            `keras.applications.MobileNet(include_top=False)`, or None for random ones.
        alpha: width of the network. None is what the file holds, else 0.25.

    Returns:
        A model `(batch, height, width, 3)` in [0, 1] to `(batch, 1024 * alpha)` features.

    Raises:
        ValueError: a size under 32; weights that cannot be had, or of another width.
    """
    if image_size < 32:
        raise ValueError(f"Expected `image_size` of at least 32. Received: {image_size}")
    weights = check_weights(weights)
    alpha = _alpha(weights, alpha)
    try:
        network = keras.applications.MobileNet(
            include_top=False,
            weights=weights,
            alpha=alpha,
            input_shape=(image_size, image_size, 3),
            pooling="avg",
        )
    except Exception as error:  # network, file and format errors of many kinds
        raise missing_weights("MobileNet", "a file", error) from error
    network.trainable = False
    images = keras.Input((None, None, 3))
    x = layers.Rescaling(2.0, offset=-1.0)(resized(images, image_size, antialias=True))
    return keras.Model(images, network(x), name="mobilenet_encoder")


def _alpha(weights: str | None, alpha: float | None) -> float:
    """The width asked for, once it is seen to be that of the file."""
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
    """The width of the MobileNet whose weights a file holds.

    Raises:
        ValueError: no file of weights, or of another network.
    """
    try:
        with h5py.File(path) as file:
            shapes: list[tuple[int, ...]] = []
            file.visititems(lambda _, item: shapes.append(getattr(item, "shape", ())))
    except OSError as error:
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
