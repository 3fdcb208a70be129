"""The residual UNet of the keras.io example."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from kddim.checks import check_image_size, is_integer
from kddim.networks.blocks import (
    attention_block,
    check_attention_levels,
    check_normalization,
    residual_block,
)
from kddim.networks.layers import Conv2D, LabelEmbedding, SinusoidalEmbedding, UpSampling2D
from kddim.networks.sizes import check_size


def residual_unet(
    image_size: int | tuple[int, int],
    widths: Sequence[int] = (32, 64, 96, 128),
    block_depth: int = 2,
    *,
    channels: int = 3,
    num_classes: int | None = None,
    patch_size: int = 1,
    attention_levels: Sequence[int] = (),
    normalization: str = "batch",
    embedding_dims: int = 32,
    embedding_max_frequency: float = 1000.0,
    name: str = "residual_unet",
) -> keras.Model:
    """Build a UNet of residual blocks that is conditioned on the variance of the noise.

    By default, this is the network of the keras.io example "Denoising Diffusion Implicit
    Models", with the same layers and weights in the same order: residual blocks with batch
    normalisation (without centre and scale) and swish, average pooling on the way down, and
    bilinear upsampling on the way up. The last convolution starts at zero, so that an untrained
    network predicts zero.

    Four options go beyond the example. With classes, the network has a third input, the labels of
    the images. Each label is a trained vector, which reaches the network beside the embedding of the
    noise, and again in each residual block. Patches let the network compute on an image of
    `patch_size` times fewer rows and columns, where the same time pays for wider levels.
    Self-attention relates distant parts of an image. Group normalisation uses the statistics of
    single images, and suits batches that are too small for batch statistics.

    Args:
        image_size: Side length in pixels, or `(height, width)`. Height and width must be
            divisible by `patch_size * 2**(len(widths) - 1)`.
        widths: Number of channels of each level, from the finest to the coarsest.
        block_depth: Number of residual blocks per level, at least 1.
        channels: Number of channels of the images.
        num_classes: Number of classes, at least 2. None builds a network without labels.
        patch_size: Side length of the patches. The first convolution maps each patch of
            `patch_size` by `patch_size` pixels to one position of the finest level, and the
            last one, transposed, maps it back. With 1, both are 1x1 convolutions.
        attention_levels: Levels with self-attention after each residual block, from 0 (finest)
            to `len(widths) - 1` (coarsest). An attention block starts as the identity, and its
            heads have at most 64 channels. Its memory grows with the fourth power of the side
            length, so choose coarse levels.
        normalization: "batch" or "group". The number of groups is the largest one up to 32
            that divides the channels and leaves at least four channels per group.
        embedding_dims: Length of the embedding of the noise variance, an even int of at
            least 4, and of that of the label.
        embedding_max_frequency: Highest frequency of the embedding; the lowest is 1.
        name: Name of the model.

    Returns:
        Functional Keras model `[noisy_images, noise_variances] -> prediction`. The images and
        the prediction have shape `(batch, height, width, channels)`, the variances
        `(batch, 1, 1, 1)`. The prediction is float32 under every dtype policy. With classes, the
        inputs are `[noisy_images, noise_variances, labels]`, with int32 labels `(batch,)`. A
        negative one stands for no label.

    Raises:
        ValueError: If the size is not divisible, an option is empty or below 1, an attention
            level is out of range or repeats, the normalisation is unknown, or the network is
            too large for the free memory.

    Example:
        `residual_unet(64, attention_levels=(2, 3), normalization="group")`

    Reference:
        Ho et al. 2020 (arXiv:2006.11239) and Dhariwal and Nichol 2021 (arXiv:2105.05233) for
        attention; Wu and He 2018 (arXiv:1803.08494) for group normalisation; Hoogeboom et al.
        2023 (arXiv:2301.11093), section 3.2, for patches.
    """
    height, width = check_image_size(image_size)
    widths = check_structure((height, width), widths, block_depth, channels, patch_size)
    attention_levels = check_attention_levels(attention_levels, len(widths))
    check_normalization(normalization)
    noisy_images = keras.Input((height, width, channels), name="noisy_images")
    noise_variances = keras.Input((1, 1, 1), name="noise_variances")

    e = SinusoidalEmbedding(embedding_dims, embedding_max_frequency)(noise_variances)
    grid = (height // patch_size, width // patch_size)
    e = layers.UpSampling2D(grid, interpolation="nearest")(e)
    x = Conv2D(widths[0], kernel_size=patch_size, strides=patch_size)(noisy_images)
    inputs, conditions, vectors = [noisy_images, noise_variances], [e], None
    if num_classes is not None:
        labels = keras.Input((), dtype="int32", name="labels")
        vectors = LabelEmbedding(num_classes, embedding_dims)(labels)
        conditions.append(layers.UpSampling2D(grid, interpolation="nearest")(vectors))
        inputs.append(labels)
    x = layers.Concatenate()([x, *conditions])

    numbers = itertools.count()

    def block(x: Any, level: int) -> Any:
        """Add a residual block of a level, and attention if the level has it."""
        x = residual_block(x, widths[level], normalization, vectors)
        if level not in attention_levels:
            return x
        return attention_block(x, normalization, name=f"attention_{next(numbers)}")

    x = _down_and_up(x, len(widths), block_depth, block)
    # The prediction is float32 under mixed precision, too.
    last = {"kernel_initializer": "zeros", "dtype": "float32"}
    if patch_size == 1:
        x = Conv2D(channels, kernel_size=1, **last)(x)
    else:
        x = layers.Conv2DTranspose(channels, patch_size, strides=patch_size, **last)(x)
    return keras.Model(inputs, x, name=name)


def _down_and_up(
    x: Any, num_levels: int, block_depth: int, block: Callable[[Any, int], Any]
) -> Any:
    """Return `x` after blocks from the finest level to the coarsest and back.

    The output of each block on the way down is concatenated to the input of a block on the way
    up.

    Args:
        x: Symbolic tensor.
        num_levels: Number of levels.
        block_depth: Number of blocks per level.
        block: Function `(x, level) -> x`.
    """
    skips: list[Any] = []
    for level in range(num_levels - 1):
        for _ in range(block_depth):
            x = block(x, level)
            skips.append(x)
        x = layers.AveragePooling2D(pool_size=2)(x)
    for _ in range(block_depth):
        x = block(x, num_levels - 1)
    for level in reversed(range(num_levels - 1)):
        x = UpSampling2D(size=2, interpolation="bilinear")(x)
        for _ in range(block_depth):
            x = layers.Concatenate()([x, skips.pop()])
            x = block(x, level)
    return x


def check_structure(
    size: tuple[int, int],
    widths: Sequence[int],
    block_depth: int,
    channels: int,
    patch_size: int = 1,
) -> tuple[int, ...]:
    """Return `widths` as a tuple.

    Args:
        size: Height and width of the images.
        widths: Number of channels of each level.
        block_depth: Number of residual blocks per level.
        channels: Number of channels of the images.
        patch_size: Side length of the patches.

    Raises:
        ValueError: If an option is below 1, if the image size is not divisible by
            `patch_size * 2**(len(widths) - 1)`, or if the network is too large for the free memory.
    """
    if not isinstance(widths, (tuple, list)):
        raise ValueError(f"Expected `widths` as a sequence of ints. Received: {widths!r}")
    options = {"block_depth": block_depth, "channels": channels, "patch_size": patch_size}
    received = ", ".join(f"{name}={value!r}" for name, value in options.items())
    if not all(map(is_integer, (*widths, *options.values()))):
        raise ValueError(
            "Expected ints as widths, block_depth, channels and patch_size. "
            f"Received: widths={widths}, {received}"
        )
    widths = tuple(int(w) for w in widths)
    if not widths or min(*widths, *options.values()) < 1:
        raise ValueError(
            "Expected at least one width, and widths, block_depth, channels and patch_size of at "
            f"least 1. Received: widths={widths}, {received}"
        )
    factor = patch_size * 2 ** (len(widths) - 1)
    if size[0] % factor or size[1] % factor:
        patches = "" if patch_size == 1 else f"patch_size={patch_size} and "
        formula = "2**(len(widths) - 1)" if patch_size == 1 else "patch_size * 2**(len(widths) - 1)"
        raise ValueError(
            f"Expected an image size divisible by {factor} ({formula}, for {patches}"
            f"{len(widths)} widths). Received: {size[0]}x{size[1]}. "
            "Use another size or fewer widths."
        )
    check_size((size[0] // patch_size, size[1] // patch_size), widths, block_depth, channels)
    return widths
