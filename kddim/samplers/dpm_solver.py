"""The multistep form of DPM-Solver++."""

import dataclasses

import keras
import numpy as np

from kddim.samplers.base import Rates
from kddim.samplers.multistep import Multistep


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class DPMSolverPP(Multistep):
    """Multistep DPM-Solver++ with one network call per step (Lu et al., arXiv 2211.01095).

    With `lambda = log(signal_rate / noise_rate)`, the exact step from lambda_s to lambda_t is
    `next_noisy = next_noise_rate / noise_rate * noisy + next_noise_rate * integral of
    exp(lambda) * pred_image dlambda`. The predicted images of the last `order` steps give the
    derivatives of `pred_image` in its Taylor expansion. Order 1 is DDIM. Order 2 is 2M of the
    paper (Algorithm 2), and order 3 continues it by one more derivative. A last step to a clean
    image, where lambda is infinite, has order 1.

    Order 2 equals `solver_type="midpoint"` of diffusers. Order 3 differs from that of diffusers,
    where the term of the second divided difference is half as large and the method is of second
    order only.

    Args:
        order: Order of the method, 1 to 3. The first steps have a lower order.
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If `order` is not 1 to 3, or if `times` or `clip` is invalid.
    """

    highest_order = 3
    combined = "image"

    def weights(self, rates: Rates) -> np.ndarray:
        """Return the weights of the last predictions.

        For order 2 they are `1 + r` and `-r`, with `r = h / (2 * h_before)`. `h` is the step of
        lambda, and `h_before` the previous one.
        """
        with np.errstate(divide="ignore"):
            lambdas = np.log(rates.signal) - np.log(rates.noise)
            steps = np.log(rates.next_signal) - np.log(rates.next_noise) - lambdas
        weights = np.zeros((len(steps), self.order))
        weights[:, 0] = 1.0
        for step, h in enumerate(steps):
            order = min(self.order, step + 1) if np.isfinite(h) else 1
            if order == 2:
                half = 0.5 * h / steps[step - 1]
                weights[step, :2] += (half, -half)
            elif order == 3:
                weights[step] += _third_order(h, steps[step - 1], steps[step - 2])
        return weights


def _third_order(h: float, h1: float, h2: float) -> np.ndarray:
    """Return what order 3 adds to the weights `(1, 0, 0)` of the last three predictions.

    The weights are the integral over the step of `exp(lambda)` times the quadratic polynomial
    through the three predictions, divided by the integral of `exp(lambda)`.

    Args:
        h: Step of lambda.
        h1: Step of lambda before it.
        h2: Step of lambda before `h1`.

    Returns:
        Float64 array `(3,)`, the latest prediction first.
    """
    newest, older = np.array([1.0, -1.0, 0.0]) / h1, np.array([0.0, 1.0, -1.0]) / h2
    second = (newest - older) / (h1 + h2)  # Half of the second derivative.
    first = newest + h1 * second
    total = -np.expm1(-h)  # Integral of exp(s - h) over 0 <= s <= h. The moments have s and s**2.
    moment_1 = h - total
    moment_2 = h**2 - 2.0 * moment_1
    return (moment_1 * first + moment_2 * second) / total
