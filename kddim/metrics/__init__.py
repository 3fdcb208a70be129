"""Figures of quality of features and of images."""

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
from kddim.metrics.kernel_error import mmd_with_error
from kddim.metrics.kid import KID
from kddim.metrics.nearest_neighbours import nearest_neighbours
from kddim.metrics.precision_recall import density_coverage, precision_recall
from kddim.metrics.reference import Reference
from kddim.metrics.reference_files import load_reference, save_reference

__all__ = [
    "FID",
    "KID",
    "Encoder",
    "FeatureStatistics",
    "Reference",
    "density_coverage",
    "frechet_deviation",
    "frechet_distance",
    "inception_v3",
    "kernel_distance",
    "load_reference",
    "mmd_with_error",
    "mobilenet",
    "nearest_neighbours",
    "polynomial_mmd",
    "precision_recall",
    "pt_inception",
    "random_conv",
    "save_reference",
]
