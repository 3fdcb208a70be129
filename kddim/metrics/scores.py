"""Figures of quality of generated images, from the features of two sets of images."""

from collections.abc import Sequence

import numpy as np

from kddim.metrics.estimators import Estimator, Unbiased
from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.precision_recall import density_coverage, precision_recall

METRICS = ("kid", "fid", "prdc")


def check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Return `metrics` as a tuple.

    Raises:
        ValueError: If `metrics` is empty, or a name is not in `METRICS`.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(
            f"Expected metrics among {', '.join(map(repr, METRICS))}. Received: {list(metrics)}"
        )
    return tuple(metrics)


def scores(
    real: FeatureSet,
    generated: FeatureSet,
    metrics: Sequence[str] = ("kid",),
    estimator: type[Estimator] = Unbiased,
) -> dict[str, float]:
    """Compute figures of quality, each with its standard error or standard deviation.

    KID, precision, recall, density and coverage are computed from the features that are kept,
    FID from the statistics of all features.

    Args:
        real: Features of at least 4 real images.
        generated: Features of at least 4 generated images.
        metrics: Names among "kid", "fid" and "prdc".
        estimator: Estimator of KID and FID.

    Returns:
        Numbers by name. "kid" gives `kid` and `kid_std`, its standard error by the jackknife
        ("unbiased") or its standard deviation over parts of the images; and
        `kid_subsets_mean` and `kid_subsets_std`, mean and standard deviation over the parts.
        "fid" gives `fid` and `fid_std`, its standard error by the jackknife. "prdc" gives
        `precision`, `recall`, `density` and `coverage`, and `precision_std`, `recall_std` and
        `coverage_std`, their standard errors as shares for given manifolds.

    Raises:
        ValueError: If a metric is unknown, or a set has too few images for it.
    """
    metrics = check_metrics(metrics)
    fewest = min(real.count, generated.count)
    if fewest < 4:
        raise ValueError(f"Expected at least 4 images in each set. Received: {fewest}")
    figures = estimator(real, generated)
    found: dict[str, float] = {}
    if "kid" in metrics:
        found |= dict(zip(("kid", "kid_std"), figures.kid_with_error))
        found |= dict(zip(("kid_subsets_mean", "kid_subsets_std"), figures.kid_parts))
    if "fid" in metrics:
        groups = min(10, len(generated.features) // 2)
        found |= {"fid": figures.fid, "fid_std": figures.fid_error(groups)}
    if "prdc" in metrics:
        found |= _prdc(real.features, generated.features)
    return found


def _prdc(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    precision, recall = precision_recall(real, generated)
    density, coverage = density_coverage(real, generated)
    found = {"precision": precision, "recall": recall, "density": density, "coverage": coverage}
    for name, judged in (("precision", generated), ("recall", real), ("coverage", real)):
        found[f"{name}_std"] = float(np.sqrt(found[name] * (1.0 - found[name]) / len(judged)))
    return found


def remarks(
    real: FeatureSet, generated: FeatureSet, metrics: Sequence[str], estimator: type[Estimator]
) -> list[str]:
    """Return sentences about anything odd in the images or in the figures.

    Args:
        real: Features of real images.
        generated: Features of generated images.
        metrics: Names among "kid", "fid" and "prdc".
        estimator: Estimator of KID and FID.
    """
    figures = estimator(real, generated)
    found = [*real.remarks, *generated.remarks]
    found += figures.kid_remarks if "kid" in metrics else []
    found += figures.fid_remarks if "fid" in metrics else []
    if real.image_size and generated.image_size and real.image_size != generated.image_size:
        found.append(
            f"the real images are {real.image_size} and the generated ones "
            f"{generated.image_size}: the score holds what the smaller lack in detail"
        )
    if real.fingerprint and real.fingerprint == generated.fingerprint:
        found.append(
            "the two sets are the same images: KID, which takes them for independent ones, "
            "falls below zero"
        )
    return list(dict.fromkeys(found))
