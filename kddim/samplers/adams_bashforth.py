"""The Adams-Bashforth method on predicted noises."""

import dataclasses

import keras
import numpy as np

from kddim.samplers.base import Rates
from kddim.samplers.multistep import Multistep


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class AdamsBashforth(Multistep):
    """Adams-Bashforth method with one network call per step.

    With `y = noisy / signal_rate` and `sigma = noise_rate / signal_rate`, the process is the
    differential equation `dy = pred_noise dsigma` (DDIM paper, Eq. 14). A polynomial in the angle
    `phi = atan(sigma)` interpolates the predicted noises of the last `order` steps, and is
    integrated over the step with respect to sigma. Order 1 is DDIM.

    Differs from clear-diffusion-keras and from PNDM (Liu, Ren, Lin and Zhao, ICLR 2022, arXiv
    2202.09778), which use the weights of equal steps. Weights that are computed from the grid
    reach their order on every grid.

    Args:
        order: Order of the method, 1 to 4. The first steps have a lower order. Orders 3 and 4
            need about ten steps. With fewer they extrapolate too far, especially with
            `times="log_snr"`.
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If `order` is not 1 to 4, or if `times` or `clip` is invalid.
    """

    highest_order = 4
    combined = "noise"

    def weights(self, rates: Rates) -> np.ndarray:
        """Return the integrals of the Lagrange basis over each step, divided by its sigma range."""
        angles = np.arctan2(rates.noise, rates.signal)
        next_angles = np.arctan2(rates.next_noise, rates.next_signal)
        weights = np.zeros((len(angles), self.order))
        for step, (angle, next_angle) in enumerate(zip(angles, next_angles)):
            nodes = angles[step::-1][: self.order]
            points, quadrature = _gauss_legendre(angle, next_angle)
            measure = quadrature / np.cos(points) ** 2  # dsigma = dphi / cos(phi)**2
            integrals = [measure @ basis for basis in _lagrange(nodes, points)]
            weights[step, : len(nodes)] = np.array(integrals) / np.sum(measure)
        return weights


def _gauss_legendre(start: float, end: float, points: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes and the weights of Gauss-Legendre quadrature from `start` to `end`."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    half = 0.5 * (end - start)
    return start + half * (nodes + 1.0), half * weights


def _lagrange(nodes: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
    """Return the value at `points` of each Lagrange basis polynomial of `nodes`."""
    return [
        np.prod([(points - other) / (node - other) for other in np.delete(nodes, i)], axis=0)
        * np.ones_like(points)
        for i, node in enumerate(nodes)
    ]
