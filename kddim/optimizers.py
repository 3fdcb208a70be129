"""Optimisers that Keras does not have."""

from typing import Any

import keras
from keras import ops

# Of the Newton-Schulz polynomial. It maps singular values in (0, 1] to about [0.7, 1.2].
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_MOMENTUM = 0.95
# Root of the mean square of an update in units of the learning rate, which that of AdamW has too.
_UPDATE_SIZE = 0.2
# The first and the last convolution of a network have the channels of the images on one side.
_MIN_CHANNELS = 8


@keras.saving.register_keras_serializable(package="kddim")
class Muon(keras.optimizers.AdamW):
    """AdamW, with orthogonal updates of the kernels of convolutions.

    The momentum of a kernel `(rows, columns, channels in, channels out)` is a matrix with a row for
    each input and a column for each output. Its singular values are replaced by about one before it
    is subtracted, so that directions with small gradients are learned as fast as those with large
    ones. The update is scaled to the size of those of AdamW, whose learning rate therefore fits.

    Kernels with fewer than 8 channels on a side, such as those of the first and the last
    convolution, biases and all other weights are updated by AdamW. Arguments are those of
    `keras.optimizers.AdamW`. `keras.optimizers.Muon` leaves the kernels of convolutions to AdamW.

    Example:
        `model.compile(optimizer=kddim.optimizers.Muon(2e-3, weight_decay=1e-4))`

    Reference:
        Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the scale of
        the update is that of Liu et al. 2025 (arXiv:2502.16982), section 2.2.
    """

    def __init__(self, learning_rate: Any = 1e-3, weight_decay: float = 1e-4, **kwargs: Any):
        super().__init__(learning_rate, weight_decay, **{"name": "muon"} | kwargs)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable with its gradient."""
        shape = tuple(variable.shape)
        if len(shape) != 4 or min(shape[2:]) < _MIN_CHANNELS:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self._momentums[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(momentum, _MOMENTUM * momentum + gradient)
        update = gradient + _MOMENTUM * momentum  # Nesterov's look ahead
        matrix = orthogonalize(ops.reshape(update, (-1, shape[3])))
        size = _UPDATE_SIZE * max(shape[0] * shape[1] * shape[2], shape[3]) ** 0.5
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, ops.reshape(matrix, shape) * (rate * size))


def orthogonalize(matrix: Any) -> Any:
    """Return a matrix with the singular vectors of another, and singular values of about one.

    Five steps of a Newton-Schulz iteration bring singular values above a hundredth of the Frobenius
    norm to between 0.7 and 1.2. Smaller ones stay smaller.

    The iteration multiplies the matrix with polynomials of its Gram matrix, which is small. They are
    multiplied with each other first, and with the matrix once.

    Args:
        matrix: Float tensor `(rows, columns)`.

    Reference:
        Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = ops.transpose(matrix) if tall else matrix
    x = x / (ops.sqrt(ops.sum(ops.square(x))) + 1e-7)
    gram = ops.matmul(x, ops.transpose(x))
    identity = ops.eye(x.shape[0], dtype=x.dtype)
    product = identity
    for step in range(_STEPS):
        polynomial = a * identity + b * gram + c * ops.matmul(gram, gram)
        product = polynomial if step == 0 else ops.matmul(polynomial, product)
        if step < _STEPS - 1:
            gram = ops.matmul(polynomial, ops.matmul(gram, polynomial))
    x = ops.matmul(product, x)
    return ops.transpose(x) if tall else x
