"""Nearest neighbours among features, computed in blocks."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kddim.metrics.feature_checks import check_features

_BLOCK = 1 << 24  # number of distances in memory at once: 128 MB


def nearest_neighbours(queries: Any, references: Any, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Find the k references that are nearest to each query by Euclidean distance.

    With features of generated images as queries and features of training images as references,
    the distances show whether a model copies.

    Args:
        queries: Features `(n, d)`.
        references: Features `(m, d)`.
        k: Number of neighbours of each query, from 1 to m.

    Returns:
        `indices` of the references, int64 `(n, k)`, nearest first and equal distances in the
        order of the references, and `distances`, float64 `(n, k)`, in units of the features.

    Raises:
        ValueError: If the widths differ, k is out of range, or a value is not finite.
    """
    queries, references = check_features(queries, references, ("queries", "references"), 1)
    check_neighbours(k, len(references), "references")
    found = [_smallest(block, k) for _, block in distance_blocks(queries, references)]
    indices, squares = map(np.concatenate, zip(*found))
    return indices, np.sqrt(squares)


def _smallest(squares: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return columns and values of the k smallest entries of each row, smallest first."""
    bounds = np.partition(squares, k - 1, axis=1)[:, k - 1 : k]
    # `partition` leaves the order of ties at the bound open, so the candidates are sorted.
    indices = np.empty((len(squares), k), "int64")
    for row, (values, bound) in enumerate(zip(squares, bounds[:, 0])):
        candidates = np.flatnonzero(values <= bound)
        indices[row] = candidates[np.argsort(values[candidates], kind="stable")[:k]]
    return indices, np.take_along_axis(squares, indices, axis=1)


def distance_blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the squared distances from rows of `a` to all rows of `b`, block by block.

    Computes `|a - b|^2 = |a|^2 + |b|^2 - 2 a.b` in float64. The mean of `b` is subtracted from
    both sets first, so that the error is about 1e-16 of the squared spread.

    Args:
        a: Features `(n, d)`.
        b: Features `(m, d)`.

    Yields:
        Slice of the rows of `a`, and squared distances `(rows, m)`.
    """
    centre = b.mean(0)
    a, b = a - centre, b - centre
    squares = np.einsum("ij,ij->i", b, b)
    step = max(1, _BLOCK // len(b))
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        block = a[rows] @ b.T
        block *= -2.0
        block += squares
        block += np.einsum("ij,ij->i", a[rows], a[rows])[:, None]
        yield rows, np.maximum(block, 0.0, out=block)


def check_neighbours(k: int, most: int, of: str) -> None:
    """Raise an error if k is out of range.

    Args:
        k: Number of neighbours.
        most: Largest number allowed.
        of: Name of the candidates for the error message.

    Raises:
        ValueError: If k is below 1 or above `most`.
    """
    if not 1 <= k <= most:
        raise ValueError(
            f"Expected `k` from 1 to {most}, the number of {of} to choose from. Received: {k}"
        )
