"""Sizes of the residual UNet, computed from its options before anything is built."""

from collections.abc import Iterator, Sequence

import keras

from kddim.budget import check_memory

# Keras needs about 0.1 s per block to build a network, and much longer to compile it.
MOST_BLOCKS = 1000
_CHEAPEST_BYTES = 2  # per value in half precision


def count_values(
    widths: Sequence[int], block_depth: int, channels: int, embedding_dims: int = 32
) -> int:
    """Return the number of values in all variables of a residual UNet with batch normalisation.

    The count includes the moving averages of batch normalisation. Networks with attention have
    more values, and those with group normalisation slightly fewer.

    Args:
        widths: Number of channels of each level, from the finest to the coarsest.
        block_depth: Number of residual blocks per level.
        channels: Number of channels of the images.
        embedding_dims: Length of the embedding of the noise variance.
    """
    ends = _convolution(channels, widths[0]) + _convolution(widths[0], channels)
    first = widths[0] + embedding_dims
    return ends + sum(_block(*block) for block in _blocks(widths, block_depth, first))


def check_size(
    image_size: tuple[int, int], widths: Sequence[int], block_depth: int, channels: int
) -> None:
    """Raise if a residual UNet is too large to be built or to compute one image.

    Args:
        image_size: Height and width of the images.
        widths: Number of channels of each level, from the finest to the coarsest.
        block_depth: Number of residual blocks per level.
        channels: Number of channels of the images.

    Raises:
        ValueError: If the network has more than 1,000 residual blocks, or if its weights or
            the tensors of one image do not fit in the free memory.
    """
    blocks = (2 * len(widths) - 1) * block_depth
    if blocks > MOST_BLOCKS:
        raise ValueError(
            f"Expected a network of at most {MOST_BLOCKS:,} residual blocks, because larger ones "
            f"take minutes to build. Received: {blocks:,} (block_depth={block_depth} and "
            f"{len(widths)} widths). Use a smaller block_depth."
        )
    values = count_values(widths, block_depth, channels)
    way_out = "Use smaller widths or fewer channels."
    check_memory(4 * values, f"the {values:,} weights of the network", way_out)
    height, width = image_size
    # The network holds at least its input, with the embedding, and the skips of the finest level.
    held = channels + widths[0] * (1 + (block_depth if len(widths) > 1 else 0))
    check_memory(
        _CHEAPEST_BYTES * height * width * held,
        f"one image of {height}x{width} with {channels} channels in the network",
        "Use smaller images or widths.",
    )


def variable_bytes(network: keras.Model) -> int:
    """Return the number of bytes of all variables of a network."""
    return sum(_bytes_of(v.shape, v.dtype) for v in network.variables)


def _bytes_of(shape: Sequence[int], dtype: str) -> int:
    size = 1
    for side in shape:
        size *= int(side)
    return size * (2 if dtype in ("float16", "bfloat16") else 4)


def _blocks(widths: Sequence[int], block_depth: int, first: int) -> Iterator[tuple[int, int]]:
    """Yield the number of input channels and the width of each residual block, in order."""
    found, skips = first, []
    for width in widths[:-1]:
        for _ in range(block_depth):
            yield found, width
            found = width
            skips.append(width)
    for _ in range(block_depth):
        yield found, widths[-1]
        found = widths[-1]
    for width in reversed(widths[:-1]):
        for _ in range(block_depth):
            yield found + skips.pop(), width
            found = width


def _block(channels: int, width: int) -> int:
    """Return the number of values of a residual block."""
    residual = 0 if channels == width else _convolution(channels, width)
    averages = 2 * channels
    return residual + averages + _convolution(channels, width, 9) + _convolution(width, width, 9)


def _convolution(channels: int, filters: int, positions: int = 1) -> int:
    return positions * channels * filters + filters
