"""Kernel distances between sets of features, in float64 NumPy."""

import dataclasses
from typing import Any

import numpy as np

from kddim.metrics.feature_checks import check_features

_BLOCK = 2048  # number of rows of the kernel matrix that are computed at once
_ENTRIES = 1 << 25  # largest number of its entries that are in memory at once: 268 MB


@dataclasses.dataclass(frozen=True)
class PolynomialKernel:
    """Kernel `k(x, y) = (gamma x.y + coef)**degree`, whose values are only summed.

    Args:
        degree: Degree of the kernel.
        gamma: Scale of the kernel. None is `1 / d`.
        coef: Constant term of the kernel.
    """

    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0

    def sum(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return the sum over all pairs of a row of `x` with a row of `y`, computed in blocks.

        Args:
            x: Features `(n, d)`, float64.
            y: Features `(m, d)`, float64.
        """
        total, rows = 0.0, max(1, min(_BLOCK, _ENTRIES // len(y)))
        for start in range(0, len(x), rows):
            total += np.sum(self._values(x[start : start + rows] @ y.T, x.shape[1]))
        return total

    def diagonal_sum(self, x: np.ndarray) -> float:
        """Return the sum over the pairs of a row of `x` with itself.

        Args:
            x: Features `(n, d)`, float64.
        """
        return np.sum(self._values(np.einsum("ij,ij->i", x, x), x.shape[1]))

    def _values(self, products: np.ndarray, width: int) -> np.ndarray:
        base = (1.0 / width if self.gamma is None else self.gamma) * products + self.coef
        if self.degree != int(self.degree) or not 1 <= self.degree <= 8:
            return base**self.degree
        power = base.copy()  # products take a fifth of the time of NumPy's general power
        for _ in range(int(self.degree) - 1):
            power *= base
        return power


def polynomial_mmd(
    real: Any, generated: Any, degree: int = 3, gamma: float | None = None, coef: float = 1.0
) -> float:
    """Compute the unbiased squared maximum mean discrepancy with a polynomial kernel.

    With the kernel `k(x, y) = (gamma x.y + coef)**degree`, the estimate is the mean of `k` over
    pairs of different real features, plus its mean over pairs of different generated features,
    minus twice its mean over pairs of a real and a generated feature (Gretton et al., JMLR
    2012, Lemma 6). With Inception features it is the kernel inception distance (Binkowski et
    al., ICLR 2018, arXiv 1801.01401). It can be negative.

    Kernel matrices are computed in blocks, so that memory does not grow with their size.

    Args:
        real: Features of real images, `(n, d)`.
        generated: Features of generated images, `(m, d)`. The numbers n and m may differ.
        degree: Degree of the kernel.
        gamma: Scale of the kernel. None is `1 / d`.
        coef: Constant term of the kernel.

    Returns:
        The estimate.

    Raises:
        ValueError: If a set has fewer than two features, the widths differ, or a value is not
            finite.
    """
    x, y = check_features(real, generated)
    kernel = PolynomialKernel(degree, gamma, coef)
    within = [
        (kernel.sum(side, side) - kernel.diagonal_sum(side)) / (len(side) * (len(side) - 1))
        for side in (x, y)
    ]
    return float(sum(within) - 2.0 * kernel.sum(x, y) / (len(x) * len(y)))


def kernel_distance(
    real: Any,
    generated: Any,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    degree: int = 3,
    gamma: float | None = None,
    coef: float = 1.0,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute mean and standard deviation of `polynomial_mmd` over random subsets.

    The literature reports KID as this mean.

    Args:
        real: Features of real images, `(n, d)`.
        generated: Features of generated images, `(m, d)`.
        subsets: Number of subsets, at least 1.
        subset_size: Number of features that are drawn from each set without replacement, from 2
            to the size of the smaller set.
        degree: Degree of the kernel.
        gamma: Scale of the kernel. None is `1 / d`.
        coef: Constant term of the kernel.
        seed: Seed of the random subsets.

    Returns:
        Mean and (population) standard deviation over the subsets.

    Raises:
        ValueError: If a set has fewer features than `subset_size`, the widths differ, or a
            value is not finite.
    """
    x, y = check_features(real, generated)
    if subsets < 1 or not 2 <= subset_size <= min(len(x), len(y)):
        raise ValueError(
            "Expected at least 1 subset, of 2 features up to the size of the smaller set "
            f"({min(len(x), len(y))}). Received: subsets={subsets}, subset_size={subset_size}"
        )
    random = np.random.default_rng(seed % 2**64)
    values = []
    for _ in range(subsets):
        chosen = [side[random.choice(len(side), subset_size, replace=False)] for side in (x, y)]
        values.append(polynomial_mmd(chosen[0], chosen[1], degree, gamma, coef))
    return float(np.mean(values)), float(np.std(values))
