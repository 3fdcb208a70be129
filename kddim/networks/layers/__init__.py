"""Layers of the networks and of the model."""

from kddim.networks.layers.attention import SpatialAttention
from kddim.networks.layers.embeddings import LabelEmbedding, SinusoidalEmbedding
from kddim.networks.layers.fast import BatchNormalization, Conv2D, UpSampling2D, is_plain
from kddim.networks.layers.normalization import ImageNormalization

__all__ = [
    "BatchNormalization",
    "Conv2D",
    "ImageNormalization",
    "LabelEmbedding",
    "SinusoidalEmbedding",
    "SpatialAttention",
    "UpSampling2D",
    "is_plain",
]
