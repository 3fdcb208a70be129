"""Layers of the networks and of the model."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import backend
from kddim.batches import iterate_batches
from kddim.checks import check_count, is_integer
from kddim.images import check_images

MOST_DIMS = 2**16  # of an embedding, far beyond any that is used


@keras.saving.register_keras_serializable(package="kddim")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, faster with PyTorch, and in training with TensorFlow.

    With PyTorch, Keras copies the images to another memory layout and back around each
    convolution. This layer does without the copies if the stride and the dilation are 1, the
    padding is "same" and the channels come last. Such a layer also computes the gradient of its
    swish in one pass over the memory, with TensorFlow on a CPU. Arguments and results are those
    of `keras.layers.Conv2D`. The class has the same name, because Keras finds weights in a saved
    file by the names of classes.
    """

    def call(self, inputs):
        if self.activation is not keras.activations.silu or not is_plain(self):
            return super().call(inputs)
        outputs = self.convolution_op(inputs, self.kernel)
        if self.use_bias:
            outputs = ops.add(outputs, ops.reshape(self.bias, (1, 1, 1, self.filters)))
        return backend.swish(outputs)

    def convolution_op(self, inputs, kernel):
        """Return the convolution of `inputs` with `kernel`, without bias and activation."""
        if is_plain(self):
            return backend.convolve(inputs, kernel)
        return super().convolution_op(inputs, kernel)


def is_plain(convolution: keras.layers.Conv2D) -> bool:
    """Return True if `kddim.backend.convolve` computes the convolution of a layer."""
    padded = convolution.padding == "same" or tuple(convolution.kernel_size) == (1, 1)
    return (
        padded
        and convolution.data_format == "channels_last"
        and set(convolution.strides) == set(convolution.dilation_rate) == {1}
        and convolution.groups == 1
    )


@keras.saving.register_keras_serializable(package="kddim")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, faster in training with TensorFlow.

    The batch is normalised in one operation (`kddim.backend.normalize_batch`) if the channels
    come last, no mask is given, and the layer neither renormalises nor synchronises devices.
    Arguments and results are those of `keras.layers.BatchNormalization`, and so is the name of
    the class (see `Conv2D`). If several devices compute a step, the statistics are those of the
    whole batch, as on one device.
    """

    def call(self, inputs, training=None, mask=None):
        if backend.in_replica() and not self.synchronized:
            self.synchronized: bool = True  # not for good: files for other frameworks
            try:
                return self.call(inputs, training=training, mask=mask)
            finally:
                self.synchronized = False
        last = self.axis in (-1, len(inputs.shape) - 1)
        plain = last and mask is None and not self.renorm and not self.synchronized
        found = None
        if training and self.trainable and plain:
            found = backend.normalize_batch(inputs, self.gamma, self.beta, self.epsilon)
        if found is None:
            return super().call(inputs, training=training, mask=mask)
        outputs, *statistics = found
        for average, value in zip((self.moving_mean, self.moving_variance), statistics):
            old = ops.cast(average, "float32")
            average.assign(old * self.momentum + value * (1.0 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable(package="kddim")
class UpSampling2D(keras.layers.UpSampling2D):
    """`keras.layers.UpSampling2D`, faster in half precision with TensorFlow.

    Bilinear interpolation is computed by `kddim.backend.upsample` if the channels come last.
    Arguments and results are those of `keras.layers.UpSampling2D`.
    """

    def call(self, inputs):
        if self.interpolation == "bilinear" and self.data_format == "channels_last":
            return backend.upsample(inputs, self.size)
        return super().call(inputs)


@keras.saving.register_keras_serializable(package="kddim")
class LabelEmbedding(keras.layers.Layer):
    """Trained vectors, one per class and one for images without a label.

    The gradient is dense: `keras.layers.Embedding` has a sparse one with TensorFlow.

    Args:
        num_classes: Number of classes, at least 2.
        dims: Length of the vectors, at least 1.

    Input shape:
        `(batch,)`, integers in [0, num_classes), or negative for no label.

    Output shape:
        `(batch, 1, 1, dims)`.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, num_classes: int, dims: int = 32, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = check_count("num_classes", num_classes, 2, MOST_DIMS)
        self.dims = check_count("dims", dims, 1, MOST_DIMS)

    def build(self, input_shape):
        self.vectors = self.add_weight(
            name="vectors",
            shape=(self.num_classes + 1, self.dims),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )

    def call(self, labels):
        rows = ops.where(labels < 0, self.num_classes, labels)
        chosen = ops.one_hot(rows, self.num_classes + 1, dtype=self.compute_dtype)
        return ops.matmul(chosen, self.vectors)[:, None, None, :]

    def compute_output_shape(self, input_shape):
        return (*input_shape, 1, 1, self.dims)

    def get_config(self):
        return super().get_config() | {"num_classes": self.num_classes, "dims": self.dims}


@keras.saving.register_keras_serializable(package="kddim")
class SinusoidalEmbedding(keras.layers.Layer):
    """Sines and cosines of a number at geometrically spaced frequencies.

    The embedding of `x` is `[sin(2 pi f_i x), cos(2 pi f_i x)]`, with frequencies `f_i` from 1
    to `max_frequency`, as in the keras.io example. It is computed in float32 under every dtype
    policy: at 1,000 turns per unit, half precision would lose the phase.

    Args:
        dims: Length of the embedding, an even int of at least 4.
        max_frequency: Highest frequency in turns per unit, above 1.

    Input shape:
        `(..., 1)`.

    Output shape:
        `(..., dims)`, float32.

    Raises:
        ValueError: If `dims` is odd, below 4 or above 65,536.
    """

    def __init__(self, dims: int = 32, max_frequency: float = 1000.0, **kwargs: Any):
        super().__init__(**kwargs | {"dtype": "float32"})
        if not is_integer(dims) or dims < 4 or dims % 2 or dims > MOST_DIMS:
            raise ValueError(f"Expected an even `dims` from 4 to {MOST_DIMS:,}. Received: {dims!r}")
        self.dims = dims
        self.max_frequency = max_frequency
        # These operations give the float32 numbers of the example bit for bit. Another
        # rounding of 1,000 turns would change the phase by half a milliradian.
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
    """Dot-product attention of every pixel of an image to every pixel.

    Each head of `d` channels computes `softmax(queries keys^T / sqrt(d)) values`. The layer has
    no weights; projections are layers around it.

    Args:
        num_heads: Number of heads, at least 1. It must divide the number of channels.

    Input shape:
        List of queries, keys and values, each `(batch, height, width, channels)`.

    Output shape:
        `(batch, height, width, channels)`.

    Raises:
        ValueError: If `num_heads` is below 1 or, on the first call, does not divide the
            number of channels.

    Reference:
        Vaswani et al. 2017, "Attention is all you need" (arXiv:1706.03762), Eq. 1.
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
                f"Expected a number of channels divisible by {self.num_heads}, the number of "
                f"heads. Received: {channels} channels. Use another number of heads."
            )

    def call(self, inputs):
        _, height, width, channels = inputs[0].shape
        heads = (-1, height * width, self.num_heads, channels // self.num_heads)
        queries, keys, values = (ops.reshape(x, heads) for x in inputs)
        # Scale before the product, which could overflow in float16.
        queries = queries / math.sqrt(queries.shape[-1])
        attended = ops.dot_product_attention(queries, keys, values, scale=1.0)
        return ops.reshape(attended, (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads}


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
        scale = ops.maximum(ops.sqrt(self.adapt_variance.value), keras.config.epsilon())
        return (ops.cast(inputs, "float32") - self.adapt_mean.value) / scale

    def denormalize(self, inputs: Any) -> Any:
        """Return images from normalised images, without clipping them to [0, 1]."""
        deviation = ops.sqrt(self.adapt_variance.value)
        return self.adapt_mean.value + ops.cast(inputs, "float32") * deviation
