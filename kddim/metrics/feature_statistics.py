"""Count, mean and covariance of features that come in blocks, in one pass and in float64."""

from typing import Any

import numpy as np

from kddim.metrics.feature_checks import check_finite

_BLOCK = 4096  # number of features that are centred and multiplied at once


class FeatureStatistics:
    """Mean and covariance of features that need not be kept.

    Two blocks A and B, with counts n, means m and scatter matrices `S = sum (x - m)(x - m)'`,
    are merged by

        m = m_A + (n_B / n) (m_B - m_A)
        S = S_A + S_B + (n_A n_B / n) (m_B - m_A)(m_B - m_A)'

    which never squares a large mean (Chan, Golub and LeVeque, "Updating formulae and a pairwise
    algorithm for computing sample variances", 1979).

    Args:
        features: First block of features, `(n, d)`, or None to start without any.

    Attributes:
        count: Number of features.
        mean: Mean of the features, float64 `(d,)`. Empty if there are no features.

    Example:
        >>> statistics = FeatureStatistics()
        >>> for batch in batches:
        ...     statistics.update(encoder(batch))
        >>> statistics.count, statistics.mean, statistics.covariance
    """

    def __init__(self, features: Any = None):
        self.count = 0
        self.mean = np.zeros(0)
        self._scatter = np.zeros((0, 0))
        if features is not None:
            self.update(features)

    @classmethod
    def from_moments(cls, count: int, mean: Any, covariance: Any) -> "FeatureStatistics":
        """Return statistics with known moments, such as those of a file.

        Args:
            count: Number of features that the moments were computed from, at least 2.
            mean: Mean `(d,)`.
            covariance: Unbiased covariance `(d, d)`, as `numpy.cov` computes it.

        Raises:
            ValueError: If the shapes do not fit, the covariance is not symmetric, or a value is
                not finite.
        """
        mean, covariance = np.array(mean, "float64"), np.array(covariance, "float64")
        if count < 2 or mean.ndim != 1 or covariance.shape != mean.shape * 2:
            raise ValueError(
                "Expected a count of at least 2, a mean (d,) and a covariance (d, d). "
                f"Received: count={count}, shapes {mean.shape} and {covariance.shape}"
            )
        check_finite(mean, covariance)
        if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9 * covariance.max()):
            raise ValueError(
                "Expected a symmetric covariance. Received: differences of up to "
                f"{np.abs(covariance - covariance.T).max():.4g} from its transpose"
            )
        return cls()._set(int(count), mean, covariance * (count - 1.0))

    def update(self, features: Any) -> None:
        """Add a block of features.

        Args:
            features: Features `(n, d)`, with any n.

        Raises:
            ValueError: If the shape or the width does not fit, or a value is not finite.
        """
        features = np.asarray(features)
        width = len(self.mean) if self.count else features.shape[-1]
        if features.ndim != 2 or features.shape[1] != width:
            wanted = str(width) if self.count else "d"
            raise ValueError(
                f"Expected features of shape (n, {wanted}). Received: shape {features.shape}"
            )
        for start in range(0, len(features), _BLOCK):
            self._absorb(_block(features[start : start + _BLOCK]))

    def merge(self, other: "FeatureStatistics") -> "FeatureStatistics":
        """Return the statistics of the features of both, and leave both unchanged.

        Args:
            other: Statistics of other features of the same width.

        Raises:
            ValueError: If the widths differ.
        """
        merged = FeatureStatistics()
        for part in (self, other):
            merged._absorb(part)
        return merged

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance, float64 `(d, d)`.

        Raises:
            ValueError: If there are fewer than two features.
        """
        if self.count < 2:
            raise ValueError(
                f"Expected at least 2 features for a covariance. Received: {self.count}"
            )
        return self._scatter / (self.count - 1.0)

    def _absorb(self, other: "FeatureStatistics") -> None:
        if not other.count:
            return
        if not self.count:
            self.mean, self._scatter = np.zeros_like(other.mean), np.zeros_like(other._scatter)
        if len(self.mean) != len(other.mean):
            raise ValueError(
                f"Expected statistics of {len(self.mean)} features. Received: {len(other.mean)}"
            )
        count = self.count + other.count
        shift = other.mean - self.mean
        self._scatter += other._scatter
        self._scatter += np.outer(shift * (self.count * other.count / count), shift)
        self.mean += other.count / count * shift
        self.count = count

    def _set(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> "FeatureStatistics":
        self.count, self.mean, self._scatter = count, mean, scatter
        return self


def _block(features: np.ndarray) -> FeatureStatistics:
    """Return the statistics of one block, which is centred before it is squared."""
    features = features.astype("float64")
    check_finite(features)
    mean = features.mean(0)
    features -= mean
    return FeatureStatistics()._set(len(features), mean, features.T @ features)
