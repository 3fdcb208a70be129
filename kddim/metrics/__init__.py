"""Figures of quality, on features and on images."""

from kddim.metrics.encoders import Encoder, inception_v3, random_conv
from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.frechet_distance import frechet_deviation, frechet_distance
from kddim.metrics.kernel_distance import kernel_distance, polynomial_mmd
from kddim.metrics.kid import KID
from kddim.metrics.nearest_neighbours import nearest_neighbours
from kddim.metrics.precision_recall import density_coverage, precision_recall

__all__ = [
    "KID",
    "Encoder",
    "FeatureStatistics",
    "density_coverage",
    "frechet_deviation",
    "frechet_distance",
    "inception_v3",
    "kernel_distance",
    "nearest_neighbours",
    "polynomial_mmd",
    "precision_recall",
    "random_conv",
]
