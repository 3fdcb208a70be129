"""Blocks of networks: residual blocks, self-attention blocks and normalisation."""

import math
from typing import Any

from keras import layers

from kddim.checks import check_choice
from kddim.networks.layers import BatchNormalization, Conv2D, SpatialAttention

NORMALIZATIONS = ("batch", "group")

# Wu and He 2018 use 32 groups. Groups here have at least four channels.
MAX_GROUPS, MIN_GROUP_WIDTH = 32, 4

# Channels of one attention head, as in Dhariwal and Nichol 2021.
MAX_HEAD_WIDTH = 64


def residual_block(x: Any, width: int, normalization: str, vectors: Any = None) -> Any:
    """Return `x + convolution(swish(convolution(normalised x)))`, as in the keras.io example.

    With labels, a vector per image is added before the swish.

    Args:
        x: Symbolic tensor `(batch, height, width, channels)`.
        width: Number of channels of the result. If `x` has another number, a 1x1 convolution
            changes it.
        normalization: "batch" or "group".
        vectors: Symbolic tensor `(batch, 1, 1, dims)`, the embedded labels, or None.

    Returns:
        Symbolic tensor `(batch, height, width, width of the block)`.
    """
    residual = x if x.shape[-1] == width else Conv2D(width, kernel_size=1)(x)
    x = normalize(x, normalization)
    if vectors is None:
        x = Conv2D(width, kernel_size=3, padding="same", activation="swish")(x)
    else:
        x = Conv2D(width, kernel_size=3, padding="same")(x)
        x = layers.Add()([x, Conv2D(width, kernel_size=1)(vectors)])
        x = layers.Activation("swish")(x)
    x = Conv2D(width, kernel_size=3, padding="same")(x)
    return layers.Add()([x, residual])


def attention_block(x: Any, normalization: str, name: str) -> Any:
    """Return `x + projection(attention(normalised x))`, with attention over all pixels.

    The projection starts at zero, so that an untrained block is the identity. With `C`
    channels, the block has about `4 C**2` weights and computes `(height * width)**2` scores
    per head and image.

    Args:
        x: Symbolic tensor `(batch, height, width, channels)`.
        normalization: "batch" or "group".
        name: Beginning of the names of the block's layers.

    Returns:
        Symbolic tensor of the shape of `x`.

    Reference:
        Ho et al. 2020 (arXiv:2006.11239), section 4. Heads of at most 64 channels follow
        Dhariwal and Nichol 2021 (arXiv:2105.05233), section 3.
    """
    heads, head_width = attention_heads(x.shape[-1])
    normalized = normalize(x, normalization, name=f"{name}_normalization")
    queries, keys, values = (
        # A bias of the keys would shift all scores of a query alike, and softmax ignores that.
        Conv2D(heads * head_width, 1, use_bias=part != "keys", name=f"{name}_{part}")(normalized)
        for part in ("queries", "keys", "values")
    )
    attended = SpatialAttention(heads, name=name)([queries, keys, values])
    projection = Conv2D(x.shape[-1], 1, kernel_initializer="zeros", name=f"{name}_projection")
    return layers.Add(name=f"{name}_sum")([x, projection(attended)])


def attention_heads(channels: int) -> tuple[int, int]:
    """Return the number of heads and their width: as few heads as possible, each at most 64."""
    heads = math.ceil(channels / MAX_HEAD_WIDTH)
    return heads, math.ceil(channels / heads)


def normalize(x: Any, normalization: str, name: str | None = None) -> Any:
    """Return `x` after batch or group normalisation, without trainable centre and scale.

    The convolution that follows has weights of its own, which make the two redundant.

    Args:
        x: Symbolic tensor `(batch, height, width, channels)`.
        normalization: "batch" or "group".
        name: Name of the layer, or None.
    """
    if normalization == "batch":
        return BatchNormalization(center=False, scale=False, name=name)(x)
    groups = group_count(x.shape[-1])
    return layers.GroupNormalization(groups, center=False, scale=False, name=name)(x)


def group_count(channels: int) -> int:
    """Return the largest number of groups that fits a number of channels.

    It is at most 32, divides `channels`, and leaves at least four channels per group. If there
    is no such number, as for a prime number of channels, it is 1.
    """
    most = min(MAX_GROUPS, channels // MIN_GROUP_WIDTH)
    return max((n for n in range(1, most + 1) if channels % n == 0), default=1)


def check_normalization(normalization: Any) -> str:
    """Return `normalization`.

    Raises:
        ValueError: If it is neither "batch" nor "group".
    """
    return check_choice("normalization", normalization, NORMALIZATIONS)


def check_attention_levels(attention_levels: Any, num_levels: int) -> tuple[int, ...]:
    """Return `attention_levels` as a tuple.

    Args:
        attention_levels: Sequence of different ints in [0, num_levels - 1].
        num_levels: Number of levels of the network.

    Raises:
        ValueError: If they are no sequence of ints, out of range, or if one repeats.
    """
    levels = attention_levels
    if not isinstance(levels, (tuple, list)) or not all(
        hasattr(level, "__index__") and not isinstance(level, bool) for level in levels
    ):
        raise ValueError(
            "Expected `attention_levels` as a sequence of ints, such as (2, 3). "
            f"Received: {levels!r}"
        )
    levels = tuple(int(level) for level in levels)
    if len(set(levels)) < len(levels) or not all(0 <= level < num_levels for level in levels):
        raise ValueError(
            f"Expected different `attention_levels` from 0 (finest) to {num_levels - 1} "
            f"(coarsest, for {num_levels} widths). Received: {levels}"
        )
    return levels
