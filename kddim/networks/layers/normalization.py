"""Normalisation of images by the statistics of a data set."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kddim.batches import iterate_batches
from kddim.images import check_images


@keras.saving.register_keras_serializable(package="kddim")
class ImageNormalization(keras.layers.Normalization):
    """Normalisation of images in [0, 1] to zero mean and unit variance per channel.

    This is `keras.layers.Normalization` over the last axis, in float32 under every dtype
    policy. It reads its statistics from variables at each call, so that steps compiled
    earlier use the statistics of a later `adapt` or `load_weights`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        The same, float32.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs | {"dtype": "float32"})

    def adapt(self, data: Any) -> None:
        """Compute the mean and the variance of each channel over a data set.

        Args:
            data: Images in [0, 1] of shape `(batch, height, width, channels)`: an array, or
                an iterable of batches with or without labels, such as a `tf.data.Dataset`, a
                `keras.utils.PyDataset` or a torch `DataLoader`. It is read once. Sums are
                kept in float64.

        Raises:
            ValueError: If there are no images, if their number of channels is not that of the
                layer, or if a value is not finite or outside [0, 1].
        """
        count, total, squares = 0, 0.0, 0.0
        for images in iterate_batches(data):
            shape = self._build_input_shape[1:] if self.built else (None, None, None)
            images = check_images(images, (None, None, shape[-1])).astype("float64")
            if not self.built:
                self.build(images.shape)
            pixels = images.reshape(-1, images.shape[-1])
            # Means of pixels are near 0.5: subtract it, so that less precision is lost.
            count += len(pixels)
            total = total + (pixels - 0.5).sum(axis=0)
            squares = squares + ((pixels - 0.5) ** 2).sum(axis=0)
        if not count:
            raise ValueError("Expected at least one batch of images to adapt to. Received: none")
        mean = total / count
        self.adapt_mean.assign(mean + 0.5)
        self.adapt_variance.assign(np.maximum(squares / count - mean**2, 0.0))
        self.count.assign(1)
        self.finalize_state()

    @property
    def adapted(self) -> bool:
        """True if the statistics were computed or loaded, not only initialised."""
        mean, variance = np.asarray(self.adapt_mean), np.asarray(self.adapt_variance)
        return bool(
            int(np.asarray(self.count)) > 0 or np.any(mean != 0.0) or np.any(variance != 1.0)
        )

    def call(self, inputs):
        """Return normalised images in float32."""
        return (ops.cast(inputs, "float32") - self.adapt_mean.value) / self.scales

    @property
    def scales(self) -> Any:
        """Numbers that centred channels are divided by, above zero: a tensor `(channels,)`."""
        return ops.maximum(ops.sqrt(self.adapt_variance.value), keras.config.epsilon())

    def denormalize(self, inputs: Any) -> Any:
        """Return images from normalised images, without clipping them to [0, 1]."""
        deviation = ops.sqrt(self.adapt_variance.value)
        return self.adapt_mean.value + ops.cast(inputs, "float32") * deviation
