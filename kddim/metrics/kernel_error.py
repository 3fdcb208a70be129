"""Kernel distance over all features with its standard error, in float64 NumPy."""

from typing import Any

import numpy as np

from kddim.metrics.feature_checks import check_features
from kddim.metrics.kernel_distance import PolynomialKernel

_KERNEL = PolynomialKernel()


def mmd_with_error(
    real: Any, generated: Any, groups: int = 10, *, seed: int = 0
) -> tuple[float, float]:
    """Compute `polynomial_mmd` with the cubic kernel and gamma 1/d, and its standard error.

    The standard error is that of the delete-a-group jackknife. The features of both sets are
    dealt to G groups at random. With `M_g` the estimate without group g of either set, the
    error is `sqrt((G - 1) / G * sum_g (M_g - mean M)^2)` (Kott, 2001). It estimates how much
    the value varies between other samples of both sets of the same sizes. Near a distance of
    zero, where the estimator is degenerate, it is too large by up to a factor of `sqrt(2)`.

    Args:
        real: Features of real images, `(n, d)`.
        generated: Features of generated images, `(m, d)`.
        groups: Number of groups, at least 2. At most half of the smaller set are used.
        seed: Seed of the dealing.

    Returns:
        The estimate and its standard error. The error is NaN if a set has fewer than four
        features.

    Raises:
        ValueError: If a set has fewer than two features, the widths differ, or a value is not
            finite.
    """
    x, y = check_features(real, generated)
    fewest = min(len(x), len(y))
    groups = max(2, min(groups, fewest // 2))
    random = np.random.default_rng(seed)
    parts = [
        np.array_split(features[random.permutation(len(features))], groups) for features in (x, y)
    ]
    counts = np.array([[len(part) for part in side] for side in parts])
    within = [_sums(side, side) for side in parts]
    for sums, side in zip(within, parts):
        sums[np.diag_indices(groups)] -= [_KERNEL.diagonal_sum(part) for part in side]
    between = _sums(*parts)

    def estimate(kept: np.ndarray) -> float:
        """Return the unbiased estimate from the groups with the given indices."""
        n, m = counts[:, kept].sum(1)
        square = np.ix_(kept, kept)
        means = [sums[square].sum() / (k * (k - 1.0)) for sums, k in zip(within, (n, m))]
        return float(means[0] + means[1] - 2.0 * between[square].sum() / (n * m))

    value = estimate(np.arange(groups))
    if fewest < 4:
        return value, float("nan")
    values = [estimate(np.delete(np.arange(groups), group)) for group in range(groups)]
    return value, float(np.sqrt((groups - 1) * np.var(values)))


def _sums(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """Return the sums of the kernel over all pairs of a group of `a` with a group of `b`."""
    return np.array([[_KERNEL.sum(part, other) for other in b] for part in a])
