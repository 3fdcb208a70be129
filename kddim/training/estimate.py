"""Parameters, operations and memory of a residual UNet, computed from its settings.

Nothing is built, so that absurd settings cost nothing. The numbers follow the layers of
`kddim.networks.residual_unet`.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from kddim.budget import check_memory
from kddim.checks import check_image_size
from kddim.networks.blocks import attention_heads

EMBEDDING_DIMS = 32  # the default of `residual_unet`
_FLOAT32, _HALF = 4, 2
_MIXED_DTYPES = ("mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a part of a network.

    Attributes:
        parameters: Number of weights, with those that are not trained.
        multiply_adds: Number of multiplications, each with an addition, per image.
        activations: Number of values per image that the gradients need.
        output: Number of values per image that the part hands on.
    """

    parameters: int = 0
    multiply_adds: int = 0
    activations: int = 0
    output: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
        return Cost(*(one + another for one, another in pairs))


def network_cost(config: Any) -> Cost:
    """Return the cost of the network of resolved settings, which have `channels`.

    Args:
        config: A `ResolvedConfig`. Channels of None count as 3.
    """
    return sum(_parts(config), Cost())


def training_memory(config: Any, dtype: str = "float32") -> dict[str, int]:
    """Return the estimated memory in bytes of a training step, by its parts.

    The weights, their average, the gradients and the two moments of AdamW are float32. The
    activations of the batch are those that the gradients need, and the workspace holds the
    gradients of the largest block. Memory of the framework itself is left out.

    Args:
        config: A `ResolvedConfig`.
        dtype: Dtype policy of the network.
    """
    parts = list(_parts(config))
    weights = _FLOAT32 * sum(part.parameters for part in parts)
    each = config.batch_size * (_HALF if dtype in _MIXED_DTYPES else _FLOAT32)
    largest = max(part.activations for part in parts)
    kept = sum(part.output if config.remat else part.activations for part in parts)
    averages = 1 + 2 * config.power_ema
    return {
        "weights": weights,
        "average of the weights": averages * weights,
        "gradients": weights,
        "optimiser": 2 * weights,
        "activations": each * kept,
        "workspace": each * largest * (2 if config.remat else 1),
    }


def check_fits(config: Any) -> None:
    """Raise if a run cannot fit in the free memory, however well it is computed.

    The bound is low: weights, and the outputs of blocks in half precision. Settings near it
    are left to the framework, whose accelerator may have memory of its own.

    Args:
        config: A `ResolvedConfig`.

    Raises:
        ValueError: If the weights, a batch, the images of a KID or the order of an epoch need
            more than the free memory.
    """
    height, width = check_image_size(config.image_size)
    channels = config.channels or 3
    parts = list(_parts(config))
    outputs = config.batch_size * sum(part.output for part in parts)
    size = f"{height}x{width}x{channels}"
    check_memory(
        5 * _FLOAT32 * sum(part.parameters for part in parts),
        f"a network with widths {config.widths} and block_depth {config.block_depth}",
        "Use smaller widths or a smaller block_depth.",
    )
    check_memory(
        _HALF * outputs + _FLOAT32 * config.batch_size * height * width * channels,
        f"a training step of batch_size {config.batch_size} with images of {size}",
        "Use a smaller batch_size, image_size or smaller widths.",
    )
    if config.kid_encoder != "none":
        check_memory(
            _FLOAT32 * config.kid_images * height * width * channels,
            f"{config.kid_images} images of {size} for KID",
            "Use a smaller kid_images.",
        )
    check_memory(
        8 * config.batch_size * (config.steps_per_epoch or 1),
        f"the order of the images of {config.steps_per_epoch} steps_per_epoch",
        "Use fewer steps per epoch, and more epochs.",
    )


def _parts(config: Any) -> Iterator[Cost]:
    """Yield the cost of each layer and block of a residual UNet, from the input to the output."""
    sides, channels = check_image_size(config.image_size), config.channels or 3
    patch = config.patch_size**2
    pixels = [sides[0] * sides[1] // patch // 4**level for level in range(len(config.widths))]
    widths, last = config.widths, len(config.widths) - 1
    yield _convolution(pixels[0], channels, widths[0], taps=patch)
    # The vectors of the labels themselves are few, and their number is that of the classes.
    embedded = EMBEDDING_DIMS * (1 + config.labels)
    yield Cost(activations=pixels[0] * embedded)
    current, skips = widths[0] + embedded, []
    for level in range(last):
        for _ in range(config.block_depth):
            yield from _block(config, level, pixels[level], current)
            current = widths[level]
            skips.append(current)
        yield Cost(output=pixels[level + 1] * current)
    for _ in range(config.block_depth):
        yield from _block(config, last, pixels[last], current)
        current = widths[last]
    for level in reversed(range(last)):
        yield Cost(activations=pixels[level] * current)
        for _ in range(config.block_depth):
            together = current + skips.pop()
            yield Cost(activations=pixels[level] * together)
            yield from _block(config, level, pixels[level], together)
            current = widths[level]
    yield _transposed(pixels[0], current, channels, patch)


def _block(config: Any, level: int, pixels: int, inputs: int) -> Iterator[Cost]:
    """Yield the cost of a residual block, and of the attention behind it."""
    width = config.widths[level]
    if config.labels:
        yield Cost(parameters=(EMBEDDING_DIMS + 1) * width, activations=pixels * width)
    cost = _normalisation(config, pixels, inputs)
    cost += _convolution(pixels, inputs, width, taps=9)
    cost += Cost(activations=pixels * width)  # of swish
    cost += _convolution(pixels, width, width, taps=9)
    if inputs != width:
        cost += _convolution(pixels, inputs, width)
    yield dataclasses.replace(cost, output=pixels * width)
    if level in config.attention_levels:
        yield _attention(config, pixels, width)


def _attention(config: Any, pixels: int, width: int) -> Cost:
    heads, head_width = attention_heads(width)
    inner = heads * head_width
    cost = _normalisation(config, pixels, width)
    for _ in range(3):  # queries, keys and values
        cost += _convolution(pixels, width, inner)
    cost += Cost(parameters=-inner)  # keys have no bias
    cost += Cost(0, 2 * pixels**2 * inner, 2 * heads * pixels**2)
    cost += _convolution(pixels, inner, width)
    return dataclasses.replace(cost, output=pixels * width)


def _convolution(pixels: int, inputs: int, outputs: int, taps: int = 1) -> Cost:
    weights, values = inputs * outputs * taps, pixels * outputs
    return Cost(weights + outputs, pixels * weights, values, values)


def _transposed(pixels: int, inputs: int, outputs: int, taps: int) -> Cost:
    weights, values = inputs * outputs * taps, pixels * taps * outputs
    return Cost(weights + outputs, pixels * weights, values, values)


def _normalisation(config: Any, pixels: int, channels: int) -> Cost:
    statistics = 2 * channels if config.normalization == "batch" else 0
    return Cost(statistics, 0, pixels * channels)
