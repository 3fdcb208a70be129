"""Kernel distance over all features with its standard error, in float64 NumPy."""

from typing import Any

import numpy as np

from kddim.metrics.feature_checks import check_features

_ENTRIES = 1 << 24  # largest number of entries of the kernel matrix in memory: 134 MB


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
    groups = max(2, min(groups, min(len(x), len(y)) // 2))
    random = np.random.default_rng(seed)
    parts = [
        np.array_split(features[random.permutation(len(features))], groups) for features in (x, y)
    ]
    sums = _Sums(parts[0], parts[1])
    if min(len(x), len(y)) < 4:
        return sums.estimate(None), float("nan")
    values = [sums.estimate(group) for group in range(groups)]
    return sums.estimate(None), float(np.sqrt((groups - 1) * np.var(values)))


class _Sums:
    """Sums of the kernel between groups, from which every estimate follows."""

    def __init__(self, real: list[np.ndarray], generated: list[np.ndarray]):
        self.counts = np.array([[len(part) for part in side] for side in (real, generated)])
        self.within = [_sums(side, side) for side in (real, generated)]
        self.between = _sums(real, generated)
        for side, sums in zip((real, generated), self.within):
            sums[np.diag_indices(len(side))] -= [_diagonal(part) for part in side]

    def estimate(self, without: int | None) -> float:
        """Return the estimate without one group of either set, or with all if it is None."""
        keep = np.array([group != without for group in range(self.counts.shape[1])])
        n, m = self.counts[:, keep].sum(1)
        square = np.ix_(keep, keep)
        within = [
            sums[square].sum() / (count * (count - 1.0)) for sums, count in zip(self.within, (n, m))
        ]
        return float(within[0] + within[1] - 2.0 * self.between[square].sum() / (n * m))


def _sums(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """Return the sums of the kernel over all pairs of a group of `a` with a group of `b`."""
    found = np.zeros((len(a), len(b)))
    for row, part in enumerate(a):
        for column, other in enumerate(b):
            step = max(1, _ENTRIES // len(other))
            for start in range(0, len(part), step):
                base = part[start : start + step] @ other.T / other.shape[1] + 1.0
                found[row, column] += np.sum(base * base * base)
    return found


def _diagonal(part: np.ndarray) -> float:
    base = np.einsum("ij,ij->i", part, part) / part.shape[1] + 1.0
    return float(np.sum(base**3))
