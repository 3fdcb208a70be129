"""Scores of models and of sets of images, with their protocols."""

from kddim.evaluation.comparison import compare
from kddim.evaluation.references import make_reference
from kddim.evaluation.scoring import evaluate
from kddim.evaluation.sources import SPLITS, RealImages, real_images
from kddim.metrics.reference import Reference
from kddim.metrics.scores import METRICS, check_metrics

__all__ = [
    "METRICS",
    "SPLITS",
    "RealImages",
    "Reference",
    "check_metrics",
    "compare",
    "evaluate",
    "make_reference",
    "real_images",
]
