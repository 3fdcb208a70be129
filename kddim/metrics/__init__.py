"""Figures of quality, on features and on images."""

from kddim.metrics.encoders import (
    Encoder,
    inception_v3,
    mobilenet,
    pt_inception,
    random_conv,
)
from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.fid import FID
from kddim.metrics.frechet_distance import frechet_deviation, frechet_distance
from kddim.metrics.kernel_distance import kernel_distance, polynomial_mmd
from kddim.metrics.kid import KID
from kddim.metrics.nearest_neighbours import nearest_neighbours
from kddim.metrics.precision_recall import density_coverage, precision_recall

__all__ = [
    "FID",
    "KID",
    "Encoder",
    "FeatureStatistics",
    "density_coverage",
    "frechet_deviation",
    "frechet_distance",
    "inception_v3",
    "kernel_distance",
    "mobilenet",
    "nearest_neighbours",
    "polynomial_mmd",
    "precision_recall",
    "pt_inception",
    "random_conv",
]
