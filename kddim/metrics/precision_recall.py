"""Fidelity and variety, measured apart: precision and recall, density and coverage."""

from typing import Any

import numpy as np

from kddim.metrics.feature_checks import check_features
from kddim.metrics.nearest_neighbours import check_neighbours, distance_blocks


def precision_recall(real: Any, generated: Any, k: int = 3) -> tuple[float, float]:
    """Compute improved precision and recall.

    The manifold of a set is the union of balls around its features, each of which reaches to
    the k-th nearest neighbour of its feature within the set. Precision, a measure of fidelity,
    is the share of generated features on the manifold of the real ones. Recall, a measure of
    variety, is the share of real features on the manifold of the generated ones (Kynkäänniemi
    et al., NeurIPS 2019, arXiv 1904.06991, Eq. 1 and 2).

    Both rise with the number of features: compare only values of equally many. The paper uses
    50,000 features per side and k = 3. Distances are computed in blocks, and twice: 10,000
    features of 2,048 dimensions per side take about a minute on two cores.

    Args:
        real: Features of real images, `(n, d)`.
        generated: Features of generated images, `(m, d)`.
        k: Number of the neighbour that sets the radius of a ball, below n and m. The feature
            itself does not count.

    Returns:
        `(precision, recall)`, each in [0, 1].

    Raises:
        ValueError: If the widths differ, a set has at most k features, or a value is not
            finite.
    """
    real, generated = check_features(real, generated, least=1)
    real_radii = _radii(real, k, "real")
    generated_radii = _radii(generated, k, "generated")
    precise, recalled = [], np.zeros(len(real), bool)
    for rows, squares in distance_blocks(generated, real):
        precise.append((squares <= real_radii).any(1))
        recalled |= (squares <= generated_radii[rows, None]).any(0)
    return float(np.concatenate(precise).mean()), float(recalled.mean())


def density_coverage(real: Any, generated: Any, k: int = 5) -> tuple[float, float]:
    """Compute density and coverage.

    Balls surround real features only, so that outliers among the generated features enlarge no
    ball. Density, a measure of fidelity, is the mean number of balls that hold a generated
    feature, divided by k. It exceeds 1 if generated features crowd together. Coverage, a
    measure of variety, is the share of balls that hold a generated feature (Naeem et al., ICML
    2020, arXiv 2002.09797, Eq. 3 and 4).

    Args:
        real: Features of real images, `(n, d)`.
        generated: Features of generated images, `(m, d)`.
        k: Number of the neighbour that sets the radius of a ball, below n.

    Returns:
        `(density, coverage)`. Density is at least 0, coverage is in [0, 1].

    Raises:
        ValueError: If the widths differ, there are at most k real features, or a value is not
            finite.
    """
    real, generated = check_features(real, generated, least=1)
    radii = _radii(real, k, "real")
    held, covered = 0, np.zeros(len(real), bool)
    for _, squares in distance_blocks(generated, real):
        inside = squares < radii  # strictly, as in the authors' code
        held += int(inside.sum())
        covered |= inside.any(0)
    return held / (k * len(generated)), float(covered.mean())


def _radii(features: np.ndarray, k: int, side: str) -> np.ndarray:
    """Return the squared distance of each feature to its k-th neighbour besides itself."""
    check_neighbours(k, len(features) - 1, f"other {side} features")
    radii = []
    for rows, squares in distance_blocks(features, features):
        own = np.arange(len(features))[rows]
        squares[np.arange(len(own)), own] = -1.0  # comes first, whatever the rounding errors
        radii.append(np.partition(squares, k, axis=1)[:, k].copy())
    return np.concatenate(radii)
