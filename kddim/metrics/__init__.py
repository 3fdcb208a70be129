"""Figures of quality, on features and on images."""

from kddim.metrics.encoders import Encoder, inception_v3, random_conv
from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.frechet_distance import frechet_deviation, frechet_distance
from kddim.metrics.kernel_distance import kernel_distance, polynomial_mmd
from kddim.metrics.kid import KID

__all__ = [
    "KID",
    "Encoder",
    "FeatureStatistics",
    "frechet_deviation",
    "frechet_distance",
    "inception_v3",
    "kernel_distance",
    "polynomial_mmd",
    "random_conv",
]
