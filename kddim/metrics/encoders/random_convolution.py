"""Random features: an encoder that needs no weights."""

import functools

import keras
import numpy as np
from keras import layers

from kddim.metrics.encoders.base import Encoder, float32, from_model


@float32()
def random_conv(
    channels: int = 3, widths: tuple[int, ...] = (32, 64, 128), cells: int = 4
) -> keras.Model:
    """A fixed random convolutional network: deterministic, and offline.

    Levels of random 3x3 filters and rectifiers, each averaged over the cells of a
    coarse grid, so that layout counts as well as texture. Random features tell
    distributions of images apart, but not as eyes do: their scores are honest only for
    comparing models on one data set.

    Args:
        channels: of the images; grey ones are repeated to it.
        widths: filters of each level.
        cells: rows and columns of the grid.

    Returns:
        A model on images in [0, 1] of any size from 5x5, to
        `(batch, sum(widths) * cells**2)` features. Its weights are the same on every
        machine and backend.
    """
    random = np.random.Generator(np.random.Philox(key=20240229))
    images = keras.Input((None, None, channels))
    x = layers.Rescaling(2.0, offset=-1.0)(images)
    pooled, weights = [], []
    for level, width in enumerate(widths):
        if level:
            x = layers.AveragePooling2D(2, padding="same")(x)
        kernel = random.standard_normal((3, 3, x.shape[-1], width))
        kernel *= np.sqrt(2.0 / (9 * x.shape[-1]))  # keeps the variance through rectifiers
        bias = 0.2 * random.standard_normal(width)
        convolution = layers.Conv2D(width, 3, padding="same", activation="relu")
        x = convolution(x)
        weights.append((convolution, [kernel, bias]))
        pooled.append(layers.Flatten()(layers.AdaptiveAveragePooling2D(cells)(x)))
    model = keras.Model(images, layers.Concatenate()(pooled), name="random_conv")
    for convolution, values in weights:
        convolution.set_weights(values)
    model.trainable = False
    return model


def random_conv_encoder() -> Encoder:
    """`random_conv` for images of any number of channels; grey ones count as colour."""

    @functools.cache
    def network(channels):
        return from_model(random_conv(channels), "random_conv")

    return Encoder("random_conv", lambda x: network(max(3, x.shape[-1])).function(_at_least_3(x)))


def _at_least_3(images: np.ndarray) -> np.ndarray:
    missing = 3 - images.shape[-1]
    return images if missing <= 0 else np.concatenate([images] + [images[..., :1]] * missing, -1)
