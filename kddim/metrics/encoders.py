"""Feature encoders: from images in [0, 1] to features.

Encoders live outside the model: one inside it would end up in every checkpoint.
"""

import contextlib
import dataclasses
import functools
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kddim.backend import compile_step, to_numpy

log = logging.getLogger("kddim")

_INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A function from images to features, and the words that say which.

    Args:
        description: stands in the protocol of every score, such as
            "inception_v3 (imagenet, 75x75)".
        function: from a NumPy batch `(n, height, width, channels)` in [0, 1] to
            features `(n, d)`.
        channels: that the function takes; None is any.
    """

    description: str
    function: Callable[[np.ndarray], Any]
    channels: int | None = None

    def __call__(self, images: Any, batch_size: int = 64) -> np.ndarray:
        """Features of images.

        Args:
            images: `(n, height, width, channels)` in [0, 1]. Grey images are repeated
                to three channels where the encoder wants three.
            batch_size: images at once; the last batch is padded to it.

        Returns:
            float32 `(n, d)`.

        Raises:
            ValueError: images with channels that the encoder does not take, or an
                encoder that does not give one vector an image.
        """
        images = self._with_channels(to_numpy(images))
        if not np.isfinite(images).all():
            raise ValueError(
                "Expected finite images to encode. Received: NaN or infinity among them"
            )
        batch_size = min(batch_size, len(images))
        features = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            padding = [(0, batch_size - len(batch))] + [(0, 0)] * 3
            encoded = to_numpy(self.function(np.pad(batch, padding).astype("float32")))
            if encoded.ndim != 2 or len(encoded) != batch_size:
                raise ValueError(
                    f"Expected the encoder to give features ({batch_size}, d). "
                    f"Received: shape {encoded.shape} from {self.description}"
                )
            features.append(encoded[: len(batch)].astype("float32"))
        return np.concatenate(features)

    def _with_channels(self, images: np.ndarray) -> np.ndarray:
        found = images.shape[-1]
        if self.channels in (None, found):
            return images
        if found == 1:
            return np.repeat(images, self.channels, axis=-1)
        raise ValueError(
            f"Expected images of {self.channels} channels (or 1) for {self.description}. "
            f"Received: {found} channels"
        )


def get(identifier: Any, image_size: int = 75) -> Encoder:
    """An encoder from a name, a Keras model or a callable.

    Args:
        identifier: "inception_v3" (Keras' ImageNet weights, which Keras downloads once,
            or finds in its cache); "random_conv"; "auto" (the first where its weights
            can be had, else, after a line in the log, the second); a Keras model on
            [0, 1] images; a callable to `(batch, features)`; or an `Encoder`.
        image_size: that Inception sees, at least 75.

    Raises:
        ValueError: an unknown name, or Inception weights that cannot be had.
    """
    if isinstance(identifier, Encoder):
        return identifier
    if isinstance(identifier, str) and identifier in ("auto", "inception_v3"):
        _check_inception_size(image_size)
    if isinstance(identifier, str) and identifier == "auto":
        return _auto(image_size)
    if identifier == "inception_v3":
        model = inception_v3(image_size)
        return from_model(model, f"inception_v3 (imagenet, {image_size}x{image_size})")
    if identifier == "random_conv":
        return _random_conv_encoder()
    if isinstance(identifier, keras.Model):
        return from_model(identifier, identifier.name)
    if callable(identifier):
        return Encoder(getattr(identifier, "__name__", type(identifier).__name__), identifier)
    raise ValueError(
        'Unknown encoder: expected "inception_v3", "random_conv", "auto", a Keras model or a '
        f"callable. Received: {identifier!r}"
    )


def _check_inception_size(image_size: int) -> None:
    if image_size < 75:
        raise ValueError(f"Expected `image_size` of at least 75. Received: {image_size}")


def _auto(image_size: int) -> Encoder:
    try:
        with _short_timeout():
            return get("inception_v3", image_size)
    except ValueError as error:
        log.warning(
            "no Inception weights (%s): KID uses the encoder random_conv, whose values compare "
            "only within one data set",
            str(error).rsplit("Received: ", 1)[-1],
        )
        return get("random_conv")


@contextlib.contextmanager
def _short_timeout(seconds: float = 10.0) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def from_model(model: keras.Model, description: str) -> Encoder:
    """A Keras model on [0, 1] images as an encoder, compiled once a batch shape."""
    channels = None
    if len(getattr(model, "inputs", None) or []) == 1:
        channels = model.inputs[0].shape[-1]

    @functools.cache
    def compiled():
        return compile_step(lambda images: model(images, training=False), model.variables)

    def encode(images):
        images = ops.convert_to_tensor(images)
        if not model.built:  # weights made inside the compiled step would be lost with it
            model(images[:1], training=False)
        return compiled()(images)

    return Encoder(description, encode, channels)


def _random_conv_encoder() -> Encoder:
    """`random_conv` for images of any number of channels; grey ones count as colour."""

    @functools.cache
    def network(channels):
        return from_model(random_conv(channels), "random_conv")

    return Encoder("random_conv", lambda x: network(max(3, x.shape[-1])).function(_at_least_3(x)))


def _at_least_3(images: np.ndarray) -> np.ndarray:
    missing = 3 - images.shape[-1]
    return images if missing <= 0 else np.concatenate([images] + [images[..., :1]] * missing, -1)


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """Layers built inside compute in float32, whatever the policy of the run."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@_float32()
def inception_v3(
    image_size: int = 75, weights: str | os.PathLike | None = "imagenet"
) -> keras.Model:
    """InceptionV3 without its classifier, averaged over positions.

    Images are resized (bilinear, not antialiased, as in the keras.io example) and
    scaled to [-1, 1].

    Args:
        image_size: side that the network sees, in pixels, at least 75.
        weights: "imagenet" (Keras' own, downloaded once), a local file of weights of
            `keras.applications.InceptionV3(include_top=False)`, or None for random ones.

    Returns:
        A model `(batch, height, width, 3)` in [0, 1] to `(batch, 2048)` features.

    Raises:
        ValueError: a size under 75; weights that cannot be downloaded or read.
    """
    _check_inception_size(image_size)
    if weights is not None and weights != "imagenet":
        weights = os.fspath(weights)
        if not Path(weights).is_file():
            raise ValueError(
                f'Expected "imagenet", None or a file. Received: {weights}, no such file'
            )
    try:
        network = keras.applications.InceptionV3(
            include_top=False,
            weights=weights,
            input_shape=(image_size, image_size, 3),
            pooling="avg",
        )
    except Exception as error:  # network, file and format errors of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            "Expected Inception weights: a network connection, the file "
            f"{_INCEPTION_FILE} in Keras' cache, or `weights` as a local file. Received: {reason}"
        ) from error
    network.trainable = False
    images = keras.Input((None, None, 3))
    x = layers.Resizing(image_size, image_size)(images)
    x = layers.Rescaling(2.0, offset=-1.0)(x)
    return keras.Model(images, network(x), name="inception_encoder")


@_float32()
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
