"""Fidelity and variety apart: precision and recall, density and coverage."""

from typing import Any

import numpy as np

from kddim.metrics.nearest_neighbours import check_neighbours, check_pair, distance_blocks


def precision_recall(real: Any, generated: Any, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al., NeurIPS 2019, arXiv 1904.06991).

    A set's manifold is the union of balls, one around each of its features, each
    reaching to that feature's k-th nearest neighbour in the set. Precision is the share
    of generated features on the manifold of the real ones: fidelity. Recall is the share
    of real features on the manifold of the generated ones: variety (Eq. 1 and 2).

    Compare only values of equally many features: both rise with them. The paper uses
    50,000 of each and k = 3. Distances are computed in blocks, twice over: 10,000
    features of 2,048 dimensions a side take about a minute on two cores.

    Args:
        real: features `(n, d)`.
        generated: features `(m, d)`.
        k: the neighbour that sets a ball's radius, below n and m; the feature itself
            does not count.

    Returns:
        `(precision, recall)`, each in [0, 1].

    Raises:
        ValueError: sets of different widths, or with k features or fewer; NaN.
    """
    real, generated = check_pair(real, generated, "real features", "generated features")
    real_radii = _radii(real, k, "real")
    generated_radii = _radii(generated, k, "generated")
    precise, recalled = [], np.zeros(len(real), bool)
    for rows, squares in distance_blocks(generated, real):
        precise.append((squares <= real_radii).any(1))
        recalled |= (squares <= generated_radii[rows, None]).any(0)
    return float(np.concatenate(precise).mean()), float(recalled.mean())


def density_coverage(real: Any, generated: Any, k: int = 5) -> tuple[float, float]:
    """Density and coverage (Naeem et al., ICML 2020, arXiv 2002.09797).

    Balls stand around real features only, so that outliers among the generated ones
    enlarge nothing. Density is the mean number of balls that hold a generated feature,
    over k: fidelity, above 1 where generated features crowd. Coverage is the share of
    balls that hold a generated feature: variety (Eq. 3 and 4).

    Args:
        real: features `(n, d)`.
        generated: features `(m, d)`.
        k: the neighbour that sets a ball's radius, below n.

    Returns:
        `(density, coverage)`; density is 0 at least, coverage in [0, 1].

    Raises:
        ValueError: sets of different widths, k real features or fewer, NaN.
    """
    real, generated = check_pair(real, generated, "real features", "generated features")
    radii = _radii(real, k, "real")
    held, covered = 0, np.zeros(len(real), bool)
    for _, squares in distance_blocks(generated, real):
        inside = squares < radii  # strictly, as the authors count
        held += int(inside.sum())
        covered |= inside.any(0)
    return held / (k * len(generated)), float(covered.mean())


def _radii(features: np.ndarray, k: int, side: str) -> np.ndarray:
    """Squared distance of each feature to its k-th neighbour, itself left out."""
    check_neighbours(k, len(features) - 1, f"other {side} features")
    radii = []
    for rows, squares in distance_blocks(features, features):
        own = np.arange(len(features))[rows]
        squares[np.arange(len(own)), own] = -1.0  # first, whatever rounding says
        radii.append(np.partition(squares, k, axis=1)[:, k].copy())
    return np.concatenate(radii)
