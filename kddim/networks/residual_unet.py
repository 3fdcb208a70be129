"""The residual UNet of the keras.io example."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from kddim.checks import check_image_size
from kddim.networks.blocks import (
    attention_block,
    check_attention_levels,
    check_normalization,
    residual_block,
)
from kddim.networks.layers import Conv2D, SinusoidalEmbedding


def residual_unet(
    image_size: int | tuple[int, int],
    widths: Sequence[int] = (32, 64, 96, 128),
    block_depth: int = 2,
    *,
    channels: int = 3,
    attention_levels: Sequence[int] = (),
    normalization: str = "batch",
    embedding_dims: int = 32,
    embedding_max_frequency: float = 1000.0,
    name: str = "residual_unet",
) -> keras.Model:
    """A UNet of residual blocks, conditioned on the variance of the noise.

    The network of the keras.io example "Denoising Diffusion Implicit Models", layer
    for layer and weight for weight in the same order: residual blocks with batch
    normalisation (no centre, no scale) and swish, average pooling down, bilinear
    upsampling up, and a last convolution that starts at zero, so that an untrained
    network predicts zero.

    Two options lead away from the example, and are off by default: self-attention, which
    lets distant parts of an image agree, and group normalisation, whose statistics are
    those of one image, for batches too small for batch statistics.

    Args:
        image_size: height and width in pixels, divisible by `2**(len(widths) - 1)`;
            an int or `(height, width)`.
        widths: channels of each level, the finest first.
        block_depth: residual blocks a level, at least 1.
        channels: channels of the images.
        attention_levels: levels, 0 the finest and `len(widths) - 1` the coarsest, with a
            self-attention block after each of their residual blocks, on the way down and
            on the way up (Ho et al. 2020; Dhariwal and Nichol 2021). A block starts as
            the identity, has heads of at most 64 channels, and compares all pairs of
            positions: memory grows with the fourth power of the side, so choose coarse
            levels.
        normalization: "batch", or "group": the largest number of groups up to 32 that
            divides the channels and leaves at least four a group (Wu and He 2018),
            without centre and scale too.
        embedding_dims: length of the noise embedding.
        embedding_max_frequency: its highest frequency; its lowest is 1.
        name: the model's name.

    Returns:
        A functional model `[noisy_images (batch, height, width, channels),
        noise_variances (batch, 1, 1, 1)] -> prediction`, of the images' shape, float32.

    Raises:
        ValueError: a size that is not divisible, an empty or non-positive option,
            attention levels that the network does not have or that repeat, an unknown
            normalisation.

    Example: `residual_unet(64, attention_levels=(2, 3), normalization="group")`.
    """
    height, width = check_image_size(image_size)
    widths = check_structure((height, width), widths, block_depth, channels)
    attention_levels = check_attention_levels(attention_levels, len(widths))
    check_normalization(normalization)
    noisy_images = keras.Input((height, width, channels), name="noisy_images")
    noise_variances = keras.Input((1, 1, 1), name="noise_variances")

    e = SinusoidalEmbedding(embedding_dims, embedding_max_frequency)(noise_variances)
    e = layers.UpSampling2D((height, width), interpolation="nearest")(e)
    x = Conv2D(widths[0], kernel_size=1)(noisy_images)
    x = layers.Concatenate()([x, e])

    numbers = itertools.count()

    def block(x: Any, level: int) -> Any:
        x = residual_block(x, widths[level], normalization)
        if level not in attention_levels:
            return x
        return attention_block(x, normalization, name=f"attention_{next(numbers)}")

    x = _down_and_up(x, len(widths), block_depth, block)
    # The prediction leaves the network in float32 under mixed precision too.
    x = Conv2D(channels, kernel_size=1, kernel_initializer="zeros", dtype="float32")(x)
    return keras.Model([noisy_images, noise_variances], x, name=name)


def _down_and_up(
    x: Any, num_levels: int, block_depth: int, block: Callable[[Any, int], Any]
) -> Any:
    """The U: blocks from the finest level to the coarsest and back, joined by skips."""
    skips: list[Any] = []
    for level in range(num_levels - 1):
        for _ in range(block_depth):
            x = block(x, level)
            skips.append(x)
        x = layers.AveragePooling2D(pool_size=2)(x)
    for _ in range(block_depth):
        x = block(x, num_levels - 1)
    for level in reversed(range(num_levels - 1)):
        x = layers.UpSampling2D(size=2, interpolation="bilinear")(x)
        for _ in range(block_depth):
            x = layers.Concatenate()([x, skips.pop()])
            x = block(x, level)
    return x


def check_structure(
    size: tuple[int, int], widths: Sequence[int], block_depth: int, channels: int
) -> tuple[int, ...]:
    """`widths` as a tuple, once they are seen to fit the image size.

    Raises:
        ValueError: they do not, or an option is below 1.
    """
    if not isinstance(widths, (tuple, list)):
        raise ValueError(f"Expected `widths` as a sequence of ints. Received: {widths!r}")
    widths = tuple(int(w) for w in widths)
    if not widths or min(widths) < 1 or block_depth < 1 or channels < 1:
        raise ValueError(
            "Expected at least one width, and widths, block_depth and channels of at least 1. "
            f"Received: widths={widths}, block_depth={block_depth}, channels={channels}"
        )
    factor = 2 ** (len(widths) - 1)
    if size[0] % factor or size[1] % factor:
        raise ValueError(
            f"Expected an image size divisible by {factor} (2**(len(widths) - 1), for "
            f"{len(widths)} widths). Received: {size[0]}x{size[1]}. "
            "Use another size or fewer widths."
        )
    return widths
