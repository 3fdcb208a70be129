"""Layers of Keras that compute the same faster, through `kddim.backend`."""

import keras
from keras import ops

from kddim import backend


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
        """Return the convolution of images, with bias and activation."""
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
        """Return normalised images, and move the averages in training."""
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
        """Return the larger images."""
        if self.interpolation == "bilinear" and self.data_format == "channels_last":
            return backend.upsample(inputs, self.size)
        return super().call(inputs)
