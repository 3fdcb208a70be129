"""Random features, an encoder that needs no weights."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from kddim.backend import to_numpy
from kddim.budget import check_memory, free_memory
from kddim.metrics.encoders.base import Encoder, float32, from_model

_LEAST = 5  # side in pixels that the network needs
_BYTES_PER_PIXEL = 800  # 510 with JAX, 430 with PyTorch and 730 with TensorFlow, measured


@float32()
def random_conv(
    channels: int = 3, widths: tuple[int, ...] = (32, 64, 128), cells: int = 4
) -> keras.Model:
    """Build a fixed random convolutional network, which needs no download.

    It has several levels of random 3x3 filters and rectifiers. Each level is averaged over the
    cells of a coarse grid, so that layout counts as well as texture. Random features tell
    distributions of images apart, but not as people do: use their scores only to compare models
    on one data set.

    Args:
        channels: Number of channels of the images.
        widths: Number of filters of each level.
        cells: Number of rows and of columns of the grid.

    Returns:
        A model from images `(batch, height, width, channels)` in [0, 1], at least 5x5, to
        features `(batch, sum(widths) * cells**2)`. Its weights are the same on every machine
        and backend.
    """
    random = np.random.Generator(np.random.Philox(key=20240229))
    images = keras.Input((None, None, channels))
    x = layers.Rescaling(2.0, offset=-1.0)(images)
    pooled = []
    for level, width in enumerate(widths):
        if level:
            x = layers.AveragePooling2D(2, padding="same")(x)
        kernel = random.standard_normal((3, 3, x.shape[-1], width))
        kernel *= np.sqrt(2.0 / (9 * x.shape[-1]))  # rectifiers keep the variance
        bias = 0.2 * random.standard_normal(width)
        convolution = layers.Conv2D(width, 3, padding="same", activation="relu")
        x = convolution(x)
        convolution.set_weights([kernel, bias])
        pooled.append(layers.Flatten()(layers.AdaptiveAveragePooling2D(cells)(x)))
    model = keras.Model(images, layers.Concatenate()(pooled), name="random_conv")
    model.trainable = False
    return model


def random_conv_encoder(image_size: int | None, weights: Any, antialias: bool) -> Encoder:
    """Return `random_conv` for images of any size and number of channels.

    The arguments are those of all encoders and are not used. Images of one or two channels are
    filled up to three with their first. The pixels of images below 5x5 are repeated.
    """

    @functools.cache
    def network(channels):
        """Return the encoder of images with so many channels."""
        return from_model(random_conv(channels), "random_conv")

    return Encoder(
        "random_conv",
        lambda images: _encode(
            network(max(3, images.shape[-1])).function, _large_enough(_at_least_3(images))
        ),
        options={},
    )


def _encode(function: Callable[[np.ndarray], Any], images: np.ndarray) -> Any:
    """Encode images at once, or in parts if they are so large that memory would not suffice."""
    height, width = images.shape[1:3]
    size = _BYTES_PER_PIXEL * height * width
    check_memory(
        size,
        f"one image of {height}x{width} in random_conv",
        "Choose an --image-size, or another --encoder.",
    )
    step = max(1, free_memory() // (2 * size))
    if step >= len(images):
        return function(images)
    parts = [images[start : start + step] for start in range(0, len(images), step)]
    return np.concatenate([to_numpy(function(part)) for part in parts])


def _at_least_3(images: np.ndarray) -> np.ndarray:
    missing = 3 - images.shape[-1]
    return images if missing <= 0 else np.concatenate([images] + [images[..., :1]] * missing, -1)


def _large_enough(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        images = images.repeat(max(1, -(-_LEAST // images.shape[axis])), axis)
    return images
