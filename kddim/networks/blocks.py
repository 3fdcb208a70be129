"""The blocks that networks are made of: residual, self-attention, normalisation."""

import math
from typing import Any

from keras import layers

from kddim.networks.layers import Conv2D, SpatialAttention

NORMALIZATIONS = ("batch", "group")

# Groups as in Wu and He 2018, fewer where they would be of less than four channels.
MAX_GROUPS, MIN_GROUP_WIDTH = 32, 4

# Of one attention head, as in Dhariwal and Nichol 2021.
MAX_HEAD_WIDTH = 64


def residual_block(x: Any, width: int, normalization: str) -> Any:
    """`x + convolution(swish(convolution(normalised x)))`, the block of the example.

    Args:
        x: symbolic tensor `(batch, height, width, channels)`.
        width: channels of the result; where `x` has others, a 1x1 convolution maps them.
        normalization: "batch" or "group".
    """
    residual = x if x.shape[-1] == width else Conv2D(width, kernel_size=1)(x)
    x = normalize(x, normalization)
    x = Conv2D(width, kernel_size=3, padding="same", activation="swish")(x)
    x = Conv2D(width, kernel_size=3, padding="same")(x)
    return layers.Add()([x, residual])


def attention_block(x: Any, normalization: str, name: str) -> Any:
    """`x + projection(attention(normalised x))` over all positions.

    The projection starts at zero: an untrained block is the identity. Of `C` channels,
    it has about `4 C**2` weights, and scores of every position against every other,
    `(height * width)**2` a head and image.

    Args:
        x: symbolic tensor `(batch, height, width, channels)`.
        normalization: "batch" or "group".
        name: begins the names of the block's layers.

    Source: Ho et al. 2020 (arXiv 2006.11239), section 4; heads of at most 64 channels
    after Dhariwal and Nichol 2021 (arXiv 2105.05233), section 3.
    """
    heads, head_width = attention_heads(x.shape[-1])
    normalized = normalize(x, normalization, name=f"{name}_normalization")
    queries, keys, values = (
        # A bias of the keys would add the same to all scores of a query: softmax drops it.
        Conv2D(heads * head_width, 1, use_bias=part != "keys", name=f"{name}_{part}")(normalized)
        for part in ("queries", "keys", "values")
    )
    attended = SpatialAttention(heads, name=name)([queries, keys, values])
    projection = Conv2D(x.shape[-1], 1, kernel_initializer="zeros", name=f"{name}_projection")
    return layers.Add(name=f"{name}_sum")([x, projection(attended)])


def attention_heads(channels: int) -> tuple[int, int]:
    """`(heads, head width)`: as few heads as hold the channels, of at most 64 each."""
    heads = math.ceil(channels / MAX_HEAD_WIDTH)
    return heads, math.ceil(channels / heads)


def normalize(x: Any, normalization: str, name: str | None = None) -> Any:
    """Batch or group normalisation, without centre and scale.

    These would be redundant: a convolution with its own weights follows.
    """
    if normalization == "batch":
        return layers.BatchNormalization(center=False, scale=False, name=name)(x)
    groups = group_count(x.shape[-1])
    return layers.GroupNormalization(groups, center=False, scale=False, name=name)(x)


def group_count(channels: int) -> int:
    """The largest divisor of `channels` up to 32 that leaves four channels a group.

    1 where there is none, as for a prime number of channels.
    """
    most = min(MAX_GROUPS, channels // MIN_GROUP_WIDTH)
    return max((n for n in range(1, most + 1) if channels % n == 0), default=1)


def check_normalization(normalization: Any) -> str:
    """`normalization`, once it is seen to be known.

    Raises:
        ValueError: it is neither "batch" nor "group".
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"Unknown normalization: expected one of {', '.join(map(repr, NORMALIZATIONS))}. "
            f"Received: {normalization!r}"
        )
    return normalization


def check_attention_levels(attention_levels: Any, num_levels: int) -> tuple[int, ...]:
    """`attention_levels` as a tuple, once they are seen to be levels of the network.

    Raises:
        ValueError: they are no sequence of ints, leave [0, num_levels - 1], or repeat.
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
