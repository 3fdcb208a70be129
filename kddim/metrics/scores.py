"""Figures of quality of one set of features beside another, under a protocol."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.frechet_distance import frechet_deviation, frechet_distance
from kddim.metrics.kernel_distance import kernel_distance, polynomial_mmd
from kddim.metrics.kernel_error import mmd_with_error
from kddim.metrics.precision_recall import density_coverage, precision_recall
from kddim.metrics.protocols import FID_PROTOCOLS, KID_PROTOCOLS, SUBSETS
from kddim.metrics.remarks import fid_remarks, kid_remarks, subset_size

METRICS = ("kid", "fid", "prdc")
BATCH = 64  # images of a batch of the keras.io example


def check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """`metrics` as a tuple of names in `METRICS`.

    Raises:
        ValueError: there is none, or an unknown one.
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
    protocol: str = "unbiased",
) -> dict[str, float]:
    """Figures of quality, each with its deviation.

    KID and `prdc` see the features that are kept, FID the statistics of all.

    Args:
        real: features of real images, at least 4.
        generated: features of generated images, likewise.
        metrics: among "kid", "fid" and "prdc".
        protocol: of KID: see `kddim.metrics.KID`.

    Returns:
        For "kid": `kid` and `kid_std` as the protocol has them: with "unbiased" over all
        images, with its standard error by the jackknife; else mean and standard
        deviation over subsets or batches; and `kid_subsets_mean`, `kid_subsets_std`. For
        "fid": `fid` and `fid_std`, its standard error by the jackknife. For "prdc":
        `precision`, `recall`, `density`, `coverage`, and for all but the density their
        standard errors as shares (`_std`), once the manifolds are given.

    Raises:
        ValueError: an unknown metric; too few images for it.
    """
    metrics = check_metrics(metrics)
    found: dict[str, float] = {}
    if "kid" in metrics:
        found |= _kid(real.features, generated.features, protocol)
    if "fid" in metrics:
        found |= {"fid": frechet_distance(real.summary, generated.summary)}
        found["fid_std"] = _fid_error(real, generated)
    if "prdc" in metrics:
        found |= _prdc(real.features, generated.features)
    return found


def _kid(real: np.ndarray, generated: np.ndarray, protocol: str) -> dict[str, float]:
    if protocol == "example":
        values = _batch_estimates(real, generated)
        mean, deviation = float(np.mean(values)), float(np.std(values))
        names = ("kid", "kid_std", "kid_subsets_mean", "kid_subsets_std")
        return dict(zip(names, (mean, deviation) * 2))
    size = subset_size(min(len(real), len(generated)), protocol)
    mean, deviation = kernel_distance(real, generated, subsets=SUBSETS, subset_size=size)
    subsets = {"kid_subsets_mean": mean, "kid_subsets_std": deviation}
    if protocol == "standard":
        return {"kid": mean, "kid_std": deviation} | subsets
    return dict(zip(("kid", "kid_std"), mmd_with_error(real, generated))) | subsets


def _batch_estimates(real: np.ndarray, generated: np.ndarray) -> list[float]:
    size = min(BATCH, len(real), len(generated))
    whole = min(len(real), len(generated)) // size * size
    return [
        polynomial_mmd(real[start : start + size], generated[start : start + size])
        for start in range(0, whole, size)
    ]


def _fid_error(real: FeatureSet, generated: FeatureSet) -> float:
    """From the features that are kept; of more images, the error falls with their root."""
    kept = generated.features
    error = frechet_deviation(real.summary, kept, min(10, len(kept) // 2))
    return error * float(np.sqrt(len(kept) / generated.count))


def _prdc(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    precision, recall = precision_recall(real, generated)
    density, coverage = density_coverage(real, generated)
    shares = {"precision": precision, "recall": recall, "coverage": coverage}
    errors = {
        f"{name}_std": float(np.sqrt(share * (1.0 - share) / number))
        for (name, share), number in zip(shares.items(), (len(generated), len(real), len(real)))
    }
    return {
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
    } | errors


def remarks(
    real: FeatureSet, generated: FeatureSet, metrics: Sequence[str], protocol: str
) -> list[str]:
    """What is odd about images and figures, in sentences."""
    smaller = min(real.count, generated.count)
    found = [*real.remarks, *generated.remarks]
    if "kid" in metrics:
        found += kid_remarks(protocol, min(len(real.features), len(generated.features)))
    if "fid" in metrics:
        found += fid_remarks(smaller, real.features.shape[1])
    return list(dict.fromkeys(found))


def describe_estimators(metrics: Sequence[str], protocol: str, smaller: int) -> dict[str, Any]:
    """How the figures were estimated, as part of their protocol."""
    found: dict[str, Any] = {"protocol": protocol}
    if "kid" in metrics:
        found["estimator"] = KID_PROTOCOLS[protocol]
        found["subsets"] = f"{SUBSETS} of {subset_size(smaller, protocol)}"
        if protocol == "example":
            size = min(BATCH, smaller)
            found["subsets"] = f"{smaller // size} batches of {size}"
    if "fid" in metrics:
        # FID has no third estimator: "unbiased" sees images as "example" does.
        name = protocol if protocol in FID_PROTOCOLS else "example"
        found["fid_estimator"] = FID_PROTOCOLS[name]
    return found
