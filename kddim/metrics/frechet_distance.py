"""Fréchet distance between sets of features with its standard error, in float64 NumPy."""

from typing import Any, NamedTuple

import numpy as np

from kddim.metrics.feature_checks import check_finite
from kddim.metrics.feature_statistics import FeatureStatistics


class _Gaussian(NamedTuple):
    """Gaussian with mean `(d,)`, trace of the covariance and `root` `(d, r)` of the covariance.

    The covariance is `root root'`.
    """

    mean: np.ndarray
    trace: float
    root: np.ndarray


def frechet_distance(real: Any, generated: Any) -> float:
    """Compute the squared Fréchet distance between two Gaussians fitted to features.

    The distance is `|m_1 - m_2|^2 + Tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))`, with means m and
    covariances C (Dowson and Landau, 1982). With Inception features it is the FID (Heusel et
    al., NeurIPS 2017, arXiv 1706.08500).

    With `C_i = L_i L_i'`, the trace of the root is the sum of the singular values of `L_1' L_2`.
    That sum is real, never negative, and exact for singular covariances. The root of the product
    of the covariances, in contrast, has rounding errors of the size of the root of the
    floating-point precision. Nothing is added to the diagonals.

    The estimate is biased: it falls as the sets grow (Chong and Forsyth, CVPR 2020, arXiv
    1911.07023). Compare only values of equally many features.

    Args:
        real: Features of real images, `(n, d)`, or their `FeatureStatistics`.
        generated: Features of generated images, `(m, d)`, or their `FeatureStatistics`.

    Returns:
        The distance, at least 0.

    Raises:
        ValueError: If a set has fewer than two features, the widths differ, or a value is not
            finite.
    """
    return _distance(_gaussian(real, "real"), _gaussian(generated, "generated"))


def frechet_deviation(real: Any, generated: Any, groups: int = 10, *, seed: int = 0) -> float:
    """Compute the standard error of `frechet_distance` that comes from the generated features.

    The standard error is that of the delete-a-group jackknife. With `F_g` the distance without
    group g of G, it is `sqrt((G - 1) / G * sum_g (F_g - mean F)^2)` (Efron and Stein, 1981;
    Kott, 2001). It estimates how much the distance varies between other sets of as many
    generated features. The real features are taken as given, and the bias of the distance is
    not part of it.

    Args:
        real: Features of real images, `(n, d)`, or their `FeatureStatistics`.
        generated: Features of generated images, `(m, d)`.
        groups: Number of groups that the generated features are dealt to at random, at least 2.
        seed: Seed of the dealing.

    Returns:
        The standard error, in units of the distance.

    Raises:
        ValueError: If there are fewer than 2 groups, or fewer than 2 features without one of
            them.
    """
    features = np.asarray(generated)
    if features.ndim != 2:
        raise ValueError(
            "Expected generated features (n, d), since their statistics cannot be taken apart. "
            f"Received: shape {features.shape}"
        )
    count = len(features)
    if groups < 2 or count - -(-count // groups) < 2:
        raise ValueError(
            "Expected at least 2 groups, and 2 features where one is left out. "
            f"Received: {groups} groups of {count} features"
        )
    fixed = _gaussian(real, "real")
    order = np.random.default_rng(seed).permutation(count)
    groups = min(groups, count)  # groups beyond that are empty
    values = [
        _distance(fixed, _gaussian(np.delete(features, order[g::groups], axis=0), "generated"))
        for g in range(groups)
    ]
    return float(np.sqrt((groups - 1) * np.var(values)))


def _distance(a: _Gaussian, b: _Gaussian) -> float:
    if len(a.mean) != len(b.mean):
        raise ValueError(
            "Expected two sets of features of one width. "
            f"Received: real {len(a.mean)}, generated {len(b.mean)}"
        )
    shift = a.mean - b.mean
    root_trace = np.linalg.svd(a.root.T @ b.root, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + a.trace + b.trace - 2.0 * root_trace))


def _gaussian(features: Any, side: str) -> _Gaussian:
    """Return the Gaussian fitted to a set of features, or to its statistics."""
    if not isinstance(features, FeatureStatistics):
        features = np.asarray(features)
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(
                f"Expected {side} features (n, d) with n of at least 2, or their "
                f"FeatureStatistics. Received: shape {features.shape}"
            )
        if len(features) <= features.shape[1]:
            return _gaussian_of_few(features)
        features = FeatureStatistics(features)
    covariance = features.covariance
    root = _root(covariance, features.count - 1)
    return _Gaussian(features.mean, float(np.trace(covariance)), root)


def _gaussian_of_few(features: np.ndarray) -> _Gaussian:
    """Return the Gaussian of at most d features, whose centred features are a root."""
    features = features.astype("float64")
    check_finite(features)
    mean = features.mean(0)
    root = (features - mean).T / np.sqrt(len(features) - 1.0)
    return _Gaussian(mean, float(np.sum(root * root)), root)


def _root(covariance: np.ndarray, rank: int) -> np.ndarray:
    """Return `root` `(d, r)` with `root root' = covariance` and r at most `rank`."""
    root = _cholesky(covariance) if rank >= len(covariance) else None
    if root is None:
        values, vectors = np.linalg.eigh(covariance)
        # Roots of rounding errors would add up: 1e-16 becomes 1e-8, two thousand times.
        noise = min(rank, len(values)) * np.finfo("float64").eps * max(values[-1], 0.0)
        kept = (values > noise) & (np.arange(len(values)) >= len(values) - rank)
        root = vectors[:, kept] * np.sqrt(values[kept])
    return root


def _cholesky(covariance: np.ndarray) -> np.ndarray | None:
    """Return the triangular root, which is fast, or None if the matrix is nearly singular."""
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return None
    return root if np.diag(root).min() ** 2 > 1e-10 * np.diag(covariance).max() else None
