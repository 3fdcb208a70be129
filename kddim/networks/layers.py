"""Layers that the networks and the model share."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import backend
from kddim.images import check_images, iterate_batches


@keras.saving.register_keras_serializable(package="kddim")
class Conv2D(keras.layers.Conv2D):
    """Keras' convolution, without the copies that Keras makes around it with PyTorch.

    It has Keras' name, because Keras finds weights in a file by the names of classes.
    """

    def convolution_op(self, inputs, kernel):
        if is_plain(self):
            return backend.convolve(inputs, kernel)
        return super().convolution_op(inputs, kernel)


def is_plain(convolution: keras.layers.Conv2D) -> bool:
    """Whether `backend.convolve` computes what a layer convolves."""
    padded = convolution.padding == "same" or tuple(convolution.kernel_size) == (1, 1)
    return (
        padded
        and convolution.data_format == "channels_last"
        and set(convolution.strides) == set(convolution.dilation_rate) == {1}
        and convolution.groups == 1
    )


@keras.saving.register_keras_serializable(package="kddim")
class SinusoidalEmbedding(keras.layers.Layer):
    """Sines and cosines of a number at geometrically spaced frequencies.

    `[sin(2 pi f_i x), cos(2 pi f_i x)]`, with `f_i` from 1 to `max_frequency`: the
    noise-level embedding of the keras.io example. It is computed in float32 under
    every dtype policy: at 1,000 turns a unit, half precision would keep no phase.

    Args:
        dims: length of the embedding, even, at least 4.
        max_frequency: the highest frequency, in turns per unit, above 1.

    Shapes: `(..., 1)` to `(..., dims)`.
    """

    def __init__(self, dims: int = 32, max_frequency: float = 1000.0, **kwargs: Any):
        kwargs.pop("dtype", None)
        super().__init__(dtype="float32", **kwargs)
        if dims < 4 or dims % 2:
            raise ValueError(f"Expected an even `dims` of at least 4. Received: {dims}")
        self.dims = dims
        self.max_frequency = max_frequency
        # The float32 operations of the example, in an order that gives its very
        # numbers: one float32 rounding at 1,000 turns is half a milliradian of phase.
        exponents = np.linspace(0.0, np.log(np.float32(max_frequency)), dims // 2, dtype="float32")
        frequencies = np.exp(exponents.astype("float64")).astype("float32")
        self._angular_speeds = np.float32(2.0 * np.pi) * frequencies

    def call(self, inputs):
        angles = ops.convert_to_tensor(self._angular_speeds) * inputs
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.dims)

    def get_config(self):
        return {**super().get_config(), "dims": self.dims, "max_frequency": self.max_frequency}


@keras.saving.register_keras_serializable(package="kddim")
class SpatialAttention(keras.layers.Layer):
    """Dot-product attention of every position of an image to every position.

    Per head, of `d` channels: `softmax(queries keys^T / sqrt(d)) values`. It has no
    weights: the projections are layers around it.

    Args:
        num_heads: heads, at least 1, that divide the channels.

    Shapes: queries, keys and values, each `(batch, height, width, channels)`, in a list,
    to the same.

    Raises:
        ValueError: heads below 1, or, on the first call, that do not divide the channels.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), Eq. 1.
    """

    def __init__(self, num_heads: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        if num_heads < 1:
            raise ValueError(f"Expected `num_heads` of at least 1. Received: {num_heads}")
        self.num_heads = int(num_heads)

    def build(self, input_shape):
        channels = input_shape[0][-1]
        if channels % self.num_heads:
            raise ValueError(
                f"Expected channels divisible by {self.num_heads}, the number of heads. "
                f"Received: {channels}. Use other heads."
            )

    def call(self, inputs):
        _, height, width, channels = inputs[0].shape
        heads = (-1, height * width, self.num_heads, channels // self.num_heads)
        queries, keys, values = (ops.reshape(x, heads) for x in inputs)
        # Scaled before the product, which could leave the range of float16.
        queries = queries / math.sqrt(queries.shape[-1])
        attended = ops.dot_product_attention(queries, keys, values, scale=1.0)
        return ops.reshape(attended, (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.saving.register_keras_serializable(package="kddim")
class ImageNormalization(keras.layers.Normalization):
    """Images in [0, 1] to zero mean and unit variance per channel.

    A `keras.layers.Normalization` over the last axis, in float32 under every dtype
    policy. Its statistics are read from variables at every call, so that a compiled
    step sees those of a later `adapt` or `load_weights` too.

    Shapes: `(batch, height, width, channels)` to the same.
    """

    def __init__(self, **kwargs: Any):
        kwargs.pop("dtype", None)
        kwargs.setdefault("axis", -1)
        super().__init__(dtype="float32", **kwargs)

    def adapt(self, data: Any) -> None:
        """Measures mean and variance of each channel over a data set.

        Args:
            data: images in [0, 1], `(batch, height, width, channels)`: an array, or
                anything that yields batches, with or without labels: `tf.data`,
                `keras.utils.PyDataset`, a torch `DataLoader`, an iterable. It is read
                once, from beginning to end; sums are kept in float64.

        Raises:
            ValueError: no image, another number of channels than the layer's, values
                that are not finite or outside [0, 1].
        """
        count, total, squares = 0, 0.0, 0.0
        for images in iterate_batches(data):
            shape = self._build_input_shape[1:] if self.built else (None, None, None)
            images = check_images(images, (None, None, shape[-1])).astype("float64")
            if not self.built:
                self.build(images.shape)
            pixels = images.reshape(-1, images.shape[-1])
            # Shifted by a half, which the mean of pixels is near: less cancellation.
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
        """Whether the statistics were measured or loaded, not just initialised."""
        mean, variance = np.asarray(self.adapt_mean), np.asarray(self.adapt_variance)
        return bool(int(self.count) > 0 or np.any(mean != 0.0) or np.any(variance != 1.0))

    def call(self, inputs):
        scale = ops.maximum(ops.sqrt(self.adapt_variance.value), keras.config.epsilon())
        return (ops.cast(inputs, "float32") - self.adapt_mean.value) / scale

    def denormalize(self, inputs: Any) -> Any:
        """The inverse of a call, without clipping."""
        deviation = ops.sqrt(self.adapt_variance.value)
        return self.adapt_mean.value + ops.cast(inputs, "float32") * deviation
