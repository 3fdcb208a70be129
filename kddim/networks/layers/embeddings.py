"""Layers that turn numbers and labels into vectors."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kddim.checks import check_count, is_integer

MOST_DIMS = 2**16  # of an embedding, far beyond any that is used


@keras.saving.register_keras_serializable(package="kddim")
class LabelEmbedding(keras.layers.Layer):
    """Trained vectors, one per class and one for images without a label.

    The gradient is dense: `keras.layers.Embedding` has a sparse one with TensorFlow.

    Args:
        num_classes: Number of classes, at least 2.
        dims: Length of the vectors, at least 1.

    Input shape:
        `(batch,)`, integers in [0, num_classes), or negative for no label.

    Output shape:
        `(batch, 1, 1, dims)`.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, num_classes: int, dims: int = 32, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = check_count("num_classes", num_classes, 2, MOST_DIMS)
        self.dims = check_count("dims", dims, 1, MOST_DIMS)

    def build(self, input_shape):
        """Create the vectors."""
        self.vectors = self.add_weight(
            name="vectors",
            shape=(self.num_classes + 1, self.dims),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )

    def call(self, labels):
        """Return the vector of each label."""
        rows = ops.where(labels < 0, self.num_classes, labels)
        chosen = ops.one_hot(rows, self.num_classes + 1, dtype=self.compute_dtype)
        return ops.matmul(chosen, self.vectors)[:, None, None, :]

    def compute_output_shape(self, input_shape):
        """Return the shape of the vectors."""
        return (*input_shape, 1, 1, self.dims)

    def get_config(self):
        """Return the arguments of the constructor."""
        return super().get_config() | {"num_classes": self.num_classes, "dims": self.dims}


@keras.saving.register_keras_serializable(package="kddim")
class SinusoidalEmbedding(keras.layers.Layer):
    """Sines and cosines of a number at geometrically spaced frequencies.

    The embedding of `x` is `[sin(2 pi f_i x), cos(2 pi f_i x)]`, with frequencies `f_i` from 1
    to `max_frequency`, as in the keras.io example. It is computed in float32 under every dtype
    policy: at 1,000 turns per unit, half precision would lose the phase.

    Args:
        dims: Length of the embedding, an even int of at least 4.
        max_frequency: Highest frequency in turns per unit, above 1.

    Input shape:
        `(..., 1)`.

    Output shape:
        `(..., dims)`, float32.

    Raises:
        ValueError: If `dims` is odd, below 4 or above 65,536.
    """

    def __init__(self, dims: int = 32, max_frequency: float = 1000.0, **kwargs: Any):
        super().__init__(**kwargs | {"dtype": "float32"})
        if not is_integer(dims) or dims < 4 or dims % 2 or dims > MOST_DIMS:
            raise ValueError(f"Expected an even `dims` from 4 to {MOST_DIMS:,}. Received: {dims!r}")
        self.dims = dims
        self.max_frequency = max_frequency
        # These operations give the float32 numbers of the example bit for bit. Another
        # rounding of 1,000 turns would change the phase by half a milliradian.
        exponents = np.linspace(0.0, np.log(np.float32(max_frequency)), dims // 2, dtype="float32")
        frequencies = np.exp(exponents.astype("float64")).astype("float32")
        self._angular_speeds = np.float32(2.0 * np.pi) * frequencies

    def call(self, inputs):
        """Return the sines and the cosines of each number."""
        angles = ops.convert_to_tensor(self._angular_speeds) * inputs
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the shape of the embeddings."""
        return (*input_shape[:-1], self.dims)

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "dims": self.dims, "max_frequency": self.max_frequency}
