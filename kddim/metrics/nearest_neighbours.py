"""Nearest neighbours among features, in blocks."""

from collections.abc import Iterator
from typing import Any

import numpy as np

_BLOCK = 1 << 24  # distances in memory at once: 128 MB


def nearest_neighbours(queries: Any, references: Any, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k references nearest to each query, by Euclidean distance.

    With the features of generated images as queries and of training images as
    references, it shows whether a model copies.

    Args:
        queries: `(n, d)` features.
        references: `(m, d)` features.
        k: neighbours of each query, from 1 to m.

    Returns:
        `indices` `(n, k)` of references, nearest first, equal distances in the order
        of the references; `distances` `(n, k)`, float64, in units of the features.

    Raises:
        ValueError: sets of different widths, k out of range, NaN.
    """
    queries, references = check_pair(queries, references, "queries", "references")
    check_neighbours(k, len(references), "references")
    found = [_smallest(block, k) for _, block in distance_blocks(queries, references)]
    indices = np.concatenate([i for i, _ in found])
    return indices, np.sqrt(np.concatenate([squares for _, squares in found]))


def _smallest(squares: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of the k smallest entries of each row, in order."""
    bounds = np.partition(squares, k - 1, axis=1)[:, k - 1 : k]
    # Sorting only candidates: ties at the bound must not be left to chance.
    indices = np.empty((len(squares), k), "int64")
    for row, (values, bound) in enumerate(zip(squares, bounds[:, 0])):
        candidates = np.flatnonzero(values <= bound)
        indices[row] = candidates[np.argsort(values[candidates], kind="stable")[:k]]
    return indices, np.take_along_axis(squares, indices, axis=1)


def distance_blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances from rows of `a` to all of `b`, so many rows at a time.

    `|a - b|^2 = |a|^2 + |b|^2 - 2 a.b` in float64, of features from which a common
    mean is taken first: the error is about 1e-16 of the squared spread.

    Yields:
        The rows, and the squared distances `(rows, len(b))`.
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


def check_pair(a: Any, b: Any, *names: str) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features as float64 matrices of one width.

    Raises:
        ValueError: they are not, or hold NaN or infinity.
    """
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not (len(a) and len(b)):
        raise ValueError(
            f"Expected {names[0]} (n, d) and {names[1]} (m, d) with one d. "
            f"Received: shapes {a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("Expected finite features. Received: NaN or infinity among them")
    return a, b


def check_neighbours(k: int, most: int, of: str) -> None:
    """Raises:
    ValueError: k is below 1 or above `most`.
    """
    if not 1 <= k <= most:
        raise ValueError(
            f"Expected `k` from 1 to {most}, the number of {of} to choose from. Received: {k}"
        )
