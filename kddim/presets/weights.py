"""Weights of a preset in one file, in half precision and without pickles."""

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kddim import npz

_WHAT = "the weights of a preset"
_MEAN, _VARIANCE = "normalizer/mean", "normalizer/variance"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same weights give the same bytes
_DTYPES = (np.dtype("float16"), np.dtype("float32"))


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights of a network, and the statistics of its normaliser.

    Attributes:
        network: Float32 arrays in the order of `network.get_weights()`.
        mean: Mean of each channel.
        variance: Variance of each channel.
    """

    network: Sequence[np.ndarray]
    mean: np.ndarray
    variance: np.ndarray

    def in_half_precision(self) -> "Weights":
        """Return the weights after rounding as in a file, in float32."""
        return dataclasses.replace(self, network=[_stored(w).astype("float32") for w in self.network])  # fmt: skip

    def write(self, path: Path) -> None:
        """Write the weights to an uncompressed `.npz` file.

        Kernels are float16. Vectors (biases, and the statistics and scales of normalisation),
        and kernels with values beyond those of float16, are float32.

        Args:
            path: File to write.
        """
        arrays = {_name(i): _stored(weight) for i, weight in enumerate(self.network)}
        arrays |= {_MEAN: _float32(self.mean), _VARIANCE: _float32(self.variance)}
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w") as file:
                    np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)  # fmt: skip


def read_shapes(path: Path) -> list[tuple[int, ...]]:
    """Return the shapes of the network's weights in a file, from its headers alone.

    Args:
        path: File to read.

    Raises:
        ValueError: If the file is damaged, or holds other arrays than weights.
    """
    found = npz.headers(path, what=_WHAT)
    for name, (_, dtype) in found.items():
        if dtype not in _DTYPES:
            raise ValueError(f"Expected float16 or float32 weights in {path}. Received: {name} of {dtype}")  # fmt: skip
    shapes: list[tuple[int, ...]] = []
    while _name(len(shapes)) in found:
        shapes.append(found[_name(len(shapes))][0])
    if len(found) != len(shapes) + 2 or not {_MEAN, _VARIANCE} <= set(found):
        raise ValueError(
            f"Expected the arrays {_name(0)} and so on, {_MEAN} and {_VARIANCE} in {path}. "
            f"Received: {list(found)[:4]}"
        )
    return shapes


def read_weights(path: Path) -> Weights:
    """Read a file that `Weights.write` wrote.

    Args:
        path: File to read.

    Raises:
        ValueError: If the file is damaged or too large for the free memory, or if a value is not
            finite.
    """
    count = len(read_shapes(path))
    arrays = {k: v.astype("float32") for k, v in npz.read_arrays(path, what=_WHAT).items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all() or (name == _VARIANCE and (array < 0.0).any()):
            raise ValueError(
                f"Expected finite weights, and variances of at least 0, in {path}. Received: "
                f"others in {name}"
            )
    network = [arrays[_name(i)] for i in range(count)]
    return Weights(network, arrays[_MEAN], arrays[_VARIANCE])


def _name(index: int) -> str:
    return f"network/{index:04d}"


def _stored(weight: np.ndarray) -> np.ndarray:
    """Return an array in the precision that a file holds it in."""
    weight = _float32(weight)
    if weight.ndim < 2:
        return weight
    with np.errstate(over="ignore"):
        half = weight.astype("float16")
    return half if np.isfinite(half).all() else weight


def _float32(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).astype("float32")
