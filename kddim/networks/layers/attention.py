"""Attention between the pixels of an image."""

import math
from typing import Any

import keras
from keras import ops


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
        """Check that the heads divide the channels."""
        channels = input_shape[0][-1]
        if channels % self.num_heads:
            raise ValueError(
                f"Expected a number of channels divisible by {self.num_heads}, the number of "
                f"heads. Received: {channels} channels. Use another number of heads."
            )

    def call(self, inputs):
        """Return the values that each pixel attends to."""
        _, height, width, channels = inputs[0].shape
        heads = (-1, height * width, self.num_heads, channels // self.num_heads)
        queries, keys, values = (ops.reshape(x, heads) for x in inputs)
        # Scale before the product, which could overflow in float16.
        queries = queries / math.sqrt(queries.shape[-1])
        attended = ops.dot_product_attention(queries, keys, values, scale=1.0)
        return ops.reshape(attended, (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        """Return the shape of the queries."""
        return tuple(input_shape[0])

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "num_heads": self.num_heads}
