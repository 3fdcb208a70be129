"""The Gaussian with the mean and the main components of a data set, and its exact flow."""

import base64
import math
from typing import Any, Self

import numpy as np
from keras import ops

from kddim.batches import iterate_batches
from kddim.images import check_images

NUM_COMPONENTS = 32
_MOST_BLOCKS = 8  # along each side


class GaussianImages:
    """Normal distribution with the coarse statistics of normalised images.

    Images are divided into blocks, at most 8 along each side. The distribution has the mean of
    the blocks, the variances along the main components of the blocks, and the variance `rest` in all
    other directions.

    At high noise, this is nearly all that a noisy image says about its image: the best prediction
    of a network is that of a Gaussian (Wang and Vastola, arXiv 2412.09726). `follow` solves its
    probability-flow ODE exactly.

    Args:
        mean: Mean of the blocks, `(rows, columns, channels)`.
        components: Orthonormal directions in the space of the blocks, `(number, rows, columns,
            channels)`.
        variances: Variances of whole images along these directions, `(number,)`.
        rest: Variance in each other direction, at least 0.

    Raises:
        ValueError: If the shapes do not fit, a value is not finite, or a variance is negative.
    """

    def __init__(self, mean: Any, components: Any, variances: Any, rest: float):
        self.mean, self.components, self.variances = (
            np.asarray(values, "float32") for values in (mean, components, variances)
        )
        self.rest = float(rest)
        fits = self.mean.ndim == 3 and self.components.shape[1:] == self.mean.shape
        if not fits or self.variances.shape != self.components.shape[:1]:
            raise ValueError(
                "Expected a mean (rows, columns, channels), components of this shape, and one "
                f"variance for each. Received: shapes {self.mean.shape}, {self.components.shape} "
                f"and {self.variances.shape}"
            )
        values = (self.mean, self.components, self.variances, self.rest)
        if not all(np.isfinite(v).all() for v in values) or min(self.rest, *self.variances) < 0.0:
            raise ValueError(
                "Expected finite values, and variances of at least 0. Received: others"
            )

    @classmethod
    def fit(cls, data: Any, normalizer: Any) -> Self:
        """Return the distribution of a data set.

        Args:
            data: Images in [0, 1], `(batch, height, width, channels)`: an array or an iterable of
                batches, as for `DiffusionModel.normalizer.adapt`.
            normalizer: The adapted normaliser of a model.

        Raises:
            ValueError: If there are fewer than two images.
        """
        count, size, squares, shape = 0, 0, 0.0, (0, 0, 0)
        total, products = np.zeros(()), np.zeros(())
        for batch in iterate_batches(data):
            images = np.asarray(normalizer(check_images(batch)), "float64")
            blocks = _blocks(images, *map(_number_of_blocks, images.shape[1:3]))
            shape, flat = blocks.shape[1:], blocks.reshape(len(blocks), -1)
            count += len(images)
            size = math.prod(images.shape[1:])
            squares += np.sum(images**2)
            total, products = total + flat.sum(axis=0), products + flat.T @ flat
        if count < 2:
            raise ValueError(f"Expected at least two images. Received: {count}")
        mean = total / count
        variances, directions = np.linalg.eigh(products / count - np.outer(mean, mean))
        number = min(NUM_COMPONENTS, len(mean), size - 1)
        variances, directions = np.maximum(variances[-number:], 0.0), directions[:, -number:]
        left = squares / count - mean @ mean - variances.sum()
        area = math.sqrt(size / len(mean))
        found = cls(
            mean.reshape(shape) / area,
            directions.T.reshape(number, *shape),
            variances,
            max(left, 0.0) / (size - number),
        )
        # As it comes back from a file, so that a saved model generates the same images.
        return cls.from_config(found.get_config())

    def get_config(self) -> dict[str, Any]:
        """Return JSON values. Arrays but the variances are base64 text of float16 numbers."""
        return {
            "shape": list(self.components.shape),
            "mean": _text_of(self.mean),
            "components": _text_of(self.components),
            "variances": [float(value) for value in self.variances],
            "rest": self.rest,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the distribution that `get_config` described.

        Args:
            config: Its values.

        Raises:
            ValueError: If a value is missing, of another kind, or does not fit.
        """
        try:
            shape = tuple(config["shape"])
            mean, components = (_numbers_of(config[name]) for name in ("mean", "components"))
            return cls(
                mean.reshape(shape[1:]),
                components.reshape(shape),
                config["variances"],
                config["rest"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"Expected the Gaussian of a model. Received: a damaged one ({error!r})"
            ) from error

    def follow(
        self, noisy_images: Any, rates: tuple[float, float], next_rates: tuple[float, float]
    ) -> Any:
        """Return where the probability-flow ODE leads noisy images, at another noise level.

        A direction of variance `v` is scaled by `sqrt(next_signal**2 * v + next_noise**2)` over
        `sqrt(signal**2 * v + noise**2)`, around the mean times the signal rate (arXiv 2412.09726,
        the solution for a Gaussian, in this package's variance-preserving form).

        Args:
            noisy_images: Float tensor `(batch, height, width, channels)`.
            rates: Noise rate and signal rate of the noisy images, the noise rate above 0.
            next_rates: Those of the result.

        Returns:
            Tensor of the same shape and type.
        """
        (noise, signal), (next_noise, next_signal) = rates, next_rates

        def scale(variance: Any) -> Any:
            """Return the factor of a direction."""
            before = signal**2 * variance + noise**2
            return np.sqrt((next_signal**2 * variance + next_noise**2) / before)

        rest, shape = scale(self.rest), self.mean.shape
        height, width = noisy_images.shape[1:3]
        dtype = noisy_images.dtype
        if height % shape[0] or width % shape[1] or noisy_images.shape[3] != shape[2]:
            raise ValueError(
                f"Expected images that can be divided into {shape[0]}x{shape[1]} blocks of "
                f"{shape[2]} channels. Received: {tuple(noisy_images.shape[1:])}"
            )
        block = height // shape[0], width // shape[1]
        area = math.sqrt(math.prod(block))
        directions = self.components.reshape(len(self.components), -1)
        centre = ops.convert_to_tensor(self.mean.reshape(-1) * area * signal, dtype)
        flat = ops.reshape(_blocks(noisy_images, *shape[:2]), (-1, math.prod(shape))) - centre
        along = ops.matmul(flat, ops.convert_to_tensor(directions.T, dtype))
        along = along * ops.convert_to_tensor(scale(self.variances) - rest, dtype)
        change = ops.matmul(along, ops.convert_to_tensor(directions, dtype)) / area
        change = ops.reshape(change, (-1, *shape))
        change = change + ops.convert_to_tensor(self.mean * (next_signal - signal * rest), dtype)
        change = ops.repeat(ops.repeat(change, block[0], axis=1), block[1], axis=2)
        return noisy_images * ops.convert_to_tensor(rest, dtype) + change


def _blocks(images: Any, rows: int, columns: int) -> Any:
    """Return the means of blocks, times the root of their area: coordinates of unit noise."""
    _, height, width, channels = images.shape
    shape = (-1, rows, height // rows, columns, width // columns, channels)
    area = math.sqrt(shape[2] * shape[4])
    if isinstance(images, np.ndarray):  # in float64, which not all backends have
        return images.reshape(shape).mean(axis=(2, 4)) * area
    return ops.mean(ops.reshape(images, shape), axis=(2, 4)) * area


def _number_of_blocks(side: int) -> int:
    return max(n for n in range(1, _MOST_BLOCKS + 1) if side % n == 0)


def _text_of(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f2").tobytes()).decode("ascii")


def _numbers_of(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f2")
