"""Encoders: functions from images in [0, 1] to features, with their descriptions."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim.backend import compile_step, to_numpy

SEEN = "seen"  # name of the layer that holds the images as the network of an encoder sees them


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Function from images to features, with its description.

    Args:
        description: Words for the protocol of a score, such as "inception_v3 (imagenet, 75x75)".
        function: Function from a NumPy batch `(n, height, width, channels)` in [0, 1] to
            features `(n, d)`.
        channels: Number of channels that the function takes. None takes any.
        options: Options from which `encoders.rebuild` builds the encoder again. None if it has
            no name.
        stages: The function in two parts: one that resizes images to the size that the network
            sees, and the network. None if there are no such parts.
    """

    description: str
    function: Callable[[np.ndarray], Any]
    channels: int | None = None
    options: Mapping[str, Any] | None = None
    stages: tuple[Callable[[np.ndarray], Any], Callable[[np.ndarray], Any]] | None = None

    def __call__(self, images: Any, batch_size: int = 64) -> np.ndarray:
        """Return the features of images.

        Args:
            images: Images `(n, height, width, channels)` in [0, 1]. Grey images are repeated to
                three channels if the encoder takes three.
            batch_size: Number of images that are encoded at once. The last batch is padded.

        Returns:
            Features `(n, d)`, float32.

        Raises:
            ValueError: If the encoder does not take images of this number of channels, an image
                is not finite, or the encoder does not return one vector per image.
        """
        return self._in_batches(self.function, self._checked(images), batch_size)

    def of_any_sizes(self, images: Sequence[np.ndarray], batch_size: int = 64) -> np.ndarray:
        """Return the features of images whose sizes differ.

        A network that resizes its images is not compiled again for each size.

        Args:
            images: Images `(height, width, channels)` in [0, 1].
            batch_size: Number of images that are encoded at once.

        Returns:
            Features `(n, d)`, float32, in the order of the images.

        Raises:
            ValueError: If the encoder cannot take the images, as in `__call__`.
        """
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(images):
            rows.setdefault(image.shape, []).append(row)
        groups = [np.stack([images[row] for row in group]) for group in rows.values()]
        if self.stages is None:
            found = np.concatenate([self(group, batch_size) for group in groups])
        else:
            see, encode = self.stages
            seen = [to_numpy(see(self._checked(group))) for group in groups]
            found = self._in_batches(encode, np.concatenate(seen), batch_size)
        return found[np.argsort([row for group in rows.values() for row in group])]

    def _checked(self, images: Any) -> np.ndarray:
        images = to_numpy(images)
        found = images.shape[-1]
        if self.channels not in (None, found):
            if found != 1:
                raise ValueError(
                    f"Expected images of {self.channels} channels (or 1) for {self.description}. "
                    f"Received: {found} channels"
                )
            images = np.repeat(images, self.channels, axis=-1)
        if not np.isfinite(images).all():
            raise ValueError(
                "Expected finite images to encode. Received: NaN or infinity among them"
            )
        return images.astype("float32", copy=False)

    def _in_batches(self, function: Callable, images: np.ndarray, batch_size: int) -> np.ndarray:
        batch_size = min(batch_size, len(images))
        features = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            padding = [(0, batch_size - len(batch))] + [(0, 0)] * 3
            encoded = to_numpy(function(np.pad(batch, padding)))
            if encoded.ndim != 2 or len(encoded) != batch_size:
                raise ValueError(
                    f"Expected the encoder to give features ({batch_size}, d). "
                    f"Received: shape {encoded.shape} from {self.description}"
                )
            features.append(encoded[: len(batch)].astype("float32"))
        return np.concatenate(features)


def from_model(
    model: keras.Model, description: str, options: Mapping[str, Any] | None = None
) -> Encoder:
    """Return a Keras model as an encoder, compiled once per shape of batches.

    A layer named "seen" separates the layers that resize images from the network.

    Args:
        model: Model from images `(n, height, width, channels)` in [0, 1] to features `(n, d)`.
        description: Words for the protocol of a score.
        options: Options from which the encoder can be built again.
    """
    channels = None
    if len(getattr(model, "inputs", None) or []) == 1:
        channels = model.inputs[0].shape[-1]
    return Encoder(description, _compiled(model), channels, options, _stages(model))


def _stages(model: keras.Model) -> Any:
    if SEEN not in [layer.name for layer in getattr(model, "layers", [])]:
        return None
    seen = model.get_layer(SEEN).output
    # Not compiled, since it would be compiled for each size of images and computes little.
    see = keras.Model(model.input, seen)
    return (
        lambda images: see(ops.convert_to_tensor(images)),
        _compiled(keras.Model(seen, model.output)),
    )


def _compiled(model: keras.Model) -> Callable[[np.ndarray], Any]:
    @functools.cache
    def compiled():
        return compile_step(lambda images: model(images, training=False), model.variables)

    def encode(images):
        images = ops.convert_to_tensor(images)
        if not model.built:  # the compiled step would lose weights that it creates
            model(images[:1], training=False)
        return compiled()(images)

    return encode


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """Let layers that are built in this context compute in float32, whatever the policy is."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def weights_name(weights: str | os.PathLike | None) -> str:
    """Return the name of a file of weights, or "imagenet" for None."""
    return "imagenet" if weights is None else Path(weights).name


def check_weights(weights: str | os.PathLike | None) -> str | None:
    """Return `weights` as Keras takes them.

    Args:
        weights: "imagenet", None or a file.

    Raises:
        ValueError: If it is a file that does not exist.
    """
    if weights is None or weights == "imagenet":
        return weights  # type: ignore[return-value]
    if not Path(weights).is_file():
        raise ValueError(
            f'Expected "imagenet", None or a file. Received: {os.fspath(weights)}, no such file'
        )
    return os.fspath(weights)
