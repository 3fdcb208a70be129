"""The generator of DCGAN, for comparisons of cost."""

import bisect
import functools
import math
from typing import Any

import keras
from keras import initializers, layers

from kddim.checks import check_count

LATENT_DIMS = 100
_KERNEL = 5
_SMALLEST = 4  # pixels of the first feature map
_WIDEST = 2**16


def dcgan_generator(
    image_shape: tuple[int, int, int],
    width: int = 1024,
    latent_dims: int = LATENT_DIMS,
    *,
    dtype: Any = None,
    name: str = "dcgan_generator",
) -> keras.Model:
    """Build the generator of a DCGAN with random weights.

    A dense layer turns a noise vector into a small feature map of about 4x4 pixels. Transposed 5x5
    convolutions of stride 2 double its size and halve its channels until it is an image. All but
    the last are followed by batch normalisation and ReLU, the last one by tanh.

    Args:
        image_shape: Shape `(height, width, channels)` of the images. If the height or the width
            is not divisible by the total stride, the images are cropped to it.
        width: Number of channels of the first feature map, at least 1.
        latent_dims: Length of the noise vector, at least 1.
        dtype: Dtype policy of the layers, such as "mixed_bfloat16". None is Keras' global policy.
        name: Name of the model.

    Returns:
        Functional Keras model from noise `(batch, latent_dims)` to float32 images `(batch, height,
        width, channels)` in [-1, 1].

    Raises:
        ValueError: If a number is out of range.

    Reference:
        Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional
        Generative Adversarial Networks", arXiv 1511.06434, Sec. 3 and Fig. 1. There, images have
        64x64 pixels and `width` is 1024.
    """
    width = check_count("width", width, 1, _WIDEST)
    latent_dims = check_count("latent_dims", latent_dims)
    rows, columns, _ = _first_shape(image_shape)
    options = {"use_bias": False, "kernel_initializer": initializers.RandomNormal(0.0, 0.02)}
    noise = keras.Input((latent_dims,), name="noise")
    first, *others = _widths(image_shape, width)
    x = layers.Dense(rows * columns * first, dtype=dtype, **options)(noise)
    x = layers.Reshape((rows, columns, first), dtype=dtype)(x)
    for channels in (*others, image_shape[2]):
        x = layers.BatchNormalization(dtype=dtype)(x)
        x = layers.ReLU(dtype=dtype)(x)
        x = layers.Conv2DTranspose(
            channels, _KERNEL, strides=2, padding="same", dtype=dtype, **options
        )(x)
    x = _cropped(x, image_shape, dtype)
    return keras.Model(noise, layers.Activation("tanh", dtype="float32")(x), name=name)


def _cropped(x: Any, image_shape: tuple[int, int, int], dtype: Any) -> Any:
    """Return images without the rows and columns beyond their shape."""
    excess = [have - want for have, want in zip(x.shape[1:3], image_shape)]
    if not any(excess):
        return x
    return layers.Cropping2D([(0, number) for number in excess], dtype=dtype)(x)


def dcgan_of_size(
    image_shape: tuple[int, int, int], num_parameters: int, *, dtype: Any = None
) -> keras.Model:
    """Build the DCGAN generator whose number of parameters is nearest to a given one.

    Args:
        image_shape: Shape `(height, width, channels)` of the images.
        num_parameters: Number of parameters as `keras.Model.count_params` counts them, at least 1.
        dtype: Dtype policy of the layers. None is Keras' global policy.
    """
    return dcgan_generator(image_shape, nearest_width(image_shape, num_parameters), dtype=dtype)


def nearest_width(image_shape: tuple[int, int, int], num_parameters: int) -> int:
    """Return the `width` of the generator whose number of parameters is nearest to a given one."""
    count = functools.partial(count_parameters, image_shape)
    above = bisect.bisect_left(range(1, _WIDEST), num_parameters, key=count) + 1
    return min(max(1, above - 1), above, key=lambda width: abs(count(width) - num_parameters))


def count_parameters(
    image_shape: tuple[int, int, int], width: int, latent_dims: int = LATENT_DIMS
) -> int:
    """Return the number of parameters of `dcgan_generator`, without building it."""
    rows, columns, _ = _first_shape(image_shape)
    widths = _widths(image_shape, width)
    kernels = sum(_KERNEL**2 * a * b for a, b in zip(widths, (*widths[1:], image_shape[2])))
    return latent_dims * rows * columns * widths[0] + kernels + 4 * sum(widths)


def _first_shape(image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return rows and columns of the first feature map, and how often its size is doubled."""
    height, width, _ = image_shape
    doublings = max(1, int(math.log2(max(2, min(height, width) / _SMALLEST))))
    return -(-height // 2**doublings), -(-width // 2**doublings), doublings


def _widths(image_shape: tuple[int, int, int], width: int) -> list[int]:
    """Return the numbers of channels of all feature maps, each about half of the one before."""
    doublings = _first_shape(image_shape)[2]
    return [-(-width // 2**number) for number in range(doublings)]
