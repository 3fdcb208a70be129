"""Costs of steps along accurate trajectories, and the cheapest path of a number of steps.

The method is that of GITS (Chen, Zhou, Wang, Chen and Yin 2024, arXiv 2405.11326): a matrix of the
errors of all possible steps, and dynamic programming over it. There, the cost of a step is the
error of one Euler step. Here it is the error of the best combination of the last two predictions,
so that a cost belongs to three points.
"""

import numpy as np

from kddim.tuning.trajectories import Trajectories


def step_costs(trajectories: Trajectories) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of all possible steps from points of accurate trajectories.

    Returns:
        `(first, others)`: `first[k]` is the error of a step from point 0 to point `k`, which
        knows one prediction. `others[i, j, k]` is the error of a step from point `j` to point
        `k` after one from `i` to `j`, with the weights that make it smallest. Errors are root
        mean squares per pixel in the frame of `y`. Steps that do not go forward cost infinity.
    """
    gram, sigmas = trajectories.gram, trajectories.sigmas
    points = len(sigmas) - 1
    # Noise predictions follow the images in the matrix. The clean end has none.
    noises = gram[points + 1 :, points + 1 :]
    crossed = gram[: points + 1, points + 1 :]
    lengths = sigmas[None, :] - sigmas[:, None]  # [j, k]
    squares = np.diag(gram)[: points + 1]
    # Products of the step from j to k, y_k - y_j, with itself and with the predictions at i.
    moves = squares[:, None] + squares[None, :] - 2.0 * gram[: points + 1, : points + 1]
    along = crossed[None, :, :] - crossed[:, None, :]  # [j, k, i]

    first = np.full(points + 1, np.inf)
    length = lengths[0, 1:]
    first[1:] = moves[0, 1:] - 2.0 * length * along[0, 1:, 0] + length**2 * noises[0, 0]

    i, j, k = (a.ravel() for a in np.meshgrid(*[np.arange(points + 1)] * 3, indexing="ij"))
    forward = (i < j) & (j < k)
    i, j, k = i[forward], j[forward], k[forward]
    # Least squares with two unknowns, by Cramer's rule. The weights absorb the length.
    a, b, c = noises[j, j], noises[i, j], noises[i, i]
    u, v = along[j, k, j], along[j, k, i]
    tiny = np.finfo("float64").tiny  # an untrained network predicts zeros, which explain nothing
    determinant = np.maximum(a * c - b**2, np.maximum(1e-12 * a * c, tiny))
    explained = (c * u**2 - 2.0 * b * u * v + a * v**2) / determinant
    others = np.full((points + 1,) * 3, np.inf)
    others[i, j, k] = np.maximum(moves[j, k] - explained, 0.0)
    return np.sqrt(np.maximum(first, 0.0)), np.sqrt(others)


def shortest_path(first: np.ndarray, others: np.ndarray, steps: int) -> list[int]:
    """Return the points of the path from the first to the last point whose steps cost least.

    Args:
        first: Costs of the first step, `(points,)`.
        others: Costs of the other steps, `(points, points, points)`, as of `step_costs`.
        steps: Number of steps, 1 to `points - 1`.

    Returns:
        `steps + 1` increasing indices of points.

    Raises:
        ValueError: If there is no path with so many steps.
    """
    points = len(first)
    # costs[j, k]: the least cost of a path whose last step goes from j to k.
    costs = np.full((points, points), np.inf)
    costs[0] = first
    choices = []
    for _ in range(steps - 1):
        totals = costs[:, :, None] + others
        choices.append(totals.argmin(axis=0))
        costs = totals.min(axis=0)
    ends = costs[:, -1]
    if not np.isfinite(ends.min()):
        raise ValueError(
            f"Expected 1 to {points - 1} steps between {points} points. Received: {steps}"
        )
    path = [points - 1, int(ends.argmin())]
    for choice in reversed(choices):
        path.append(int(choice[path[-1], path[-2]]))
    return path[::-1]
