"""DPM-Solver++, multistep."""

import dataclasses

import keras
import numpy as np

from kddim.samplers.base import Clip, Rates
from kddim.samplers.multistep import Multistep
from kddim.samplers.times import Times


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class DPMSolverPP(Multistep):
    """DPM-Solver++ (Lu et al., arXiv 2211.01095), multistep, on predicted images.

    In `lambda = log(signal_rate / noise_rate)` the process is linear in the predicted
    image, weighted by `exp(lambda)`; the predictions of the last `order` steps give its
    derivatives. Order 1 is DDIM; order 2 is the paper's 2M (Algorithm 2); order 3 is
    its third-order continuation. One network call a step. A last step to a clean image
    (infinite lambda) is of first order.

    Order 2 is the `solver_type="midpoint"` of diffusers. Order 3 is not that of diffusers,
    which halves the term of the second divided difference and so is of second order.

    Args:
        order: 1 to 3; the first steps are of lower order.
        times: see `Sampler`.
        clip: see `Sampler`.
    """

    order: int = 2
    times: Times = "uniform"
    clip: Clip = None

    highest_order = 3
    combines_noises = False

    def weights(self, rates: Rates) -> np.ndarray:
        """Of 2M: `1 + r` and `-r`, with `r = h / (2 h_before)`, `h` the step of lambda."""
        with np.errstate(divide="ignore"):
            lambdas = np.log(rates.signal) - np.log(rates.noise)
            last = np.log(rates.next_signal[-1]) - np.log(rates.next_noise[-1])
        steps = np.diff(np.append(lambdas, last))
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
    """Corrections to the weights of the last three predictions, from divided differences.

    The integral of `exp(lambda)` times the quadratic through them, over a step `h`
    after steps `h1` and `h2`, divided by the integral of `exp(lambda)` alone.
    """
    newest, older = np.array([1.0, -1.0, 0.0]) / h1, np.array([0.0, 1.0, -1.0]) / h2
    second = (newest - older) / (h1 + h2)  # half of the second derivative
    first = newest + h1 * second
    total = -np.expm1(-h)  # of exp(s - h) over 0 <= s <= h
    moment_1 = h - total
    moment_2 = h**2 - 2.0 * moment_1
    return (moment_1 * first + moment_2 * second) / total
