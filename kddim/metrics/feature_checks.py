"""Checks of sets of features."""

from typing import Any

import numpy as np


def check_finite(*arrays: np.ndarray) -> None:
    """Raise an error if an array holds NaN or infinity.

    Args:
        *arrays: Arrays of any shape.

    Raises:
        ValueError: If a value is not finite.
    """
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("Expected finite features. Received: NaN or infinity among them")


def check_features(
    first: Any, second: Any, names: tuple[str, str] = ("real", "generated"), least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of features as float64 matrices.

    Args:
        first: Features `(n, d)`.
        second: Features `(m, d)`.
        names: Names of the sets for the error message.
        least: Smallest number of features in a set.

    Raises:
        ValueError: If the sets are no matrices of one width, have fewer than `least` rows, or
            hold NaN or infinity.
    """
    x, y = np.asarray(first, "float64"), np.asarray(second, "float64")
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < least:
        raise ValueError(
            f"Expected two sets of features (n, d) with one d and n of at least {least}. "
            f"Received: {names[0]} {x.shape}, {names[1]} {y.shape}"
        )
    check_finite(x, y)
    return x, y
