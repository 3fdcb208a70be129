"""The embedded data set of 1,797 labelled handwritten digits."""

from importlib import resources

import numpy as np


def load_digits() -> np.ndarray:
    """Return the test set of the UCI handwritten digits, which scikit-learn contains too.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
    Machine Learning Repository, 1998, doi 10.24432/C50P49, licence CC BY 4.0.

    Returns:
        NumPy float32 array `(1797, 8, 8, 1)` in [0, 1], in steps of 1/16. Strokes are bright.
    """
    return (_read("images") / 16.0).astype("float32")[..., None]


def load_digit_labels() -> np.ndarray:
    """Return the labels of the images of `load_digits`, int32 `(1797,)` in [0, 9]."""
    return _read("labels").astype("int32")


def _read(name: str) -> np.ndarray:
    with resources.files("kddim.data").joinpath("digits.npz").open("rb") as file:
        return np.load(file)[name]
