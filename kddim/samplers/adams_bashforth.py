"""The Adams-Bashforth method on predicted noises."""

import dataclasses

import keras
import numpy as np

from kddim.samplers.base import Clip, Rates
from kddim.samplers.multistep import Multistep
from kddim.samplers.times import Times


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class AdamsBashforth(Multistep):
    """Linear multistep sampling, one network call a step.

    With `y = noisy / signal_rate` and `sigma = noise_rate / signal_rate` the process is
    `dy = pred_noise dsigma` (DDIM paper, Eq. 14). The predicted noises of the last
    `order` steps are interpolated by a polynomial, here in the angle
    `phi = atan(sigma)`, which is integrated over the step against `dsigma`. Order 1 is
    DDIM. Differs from clear-diffusion-keras and PNDM (Liu et al., ICLR 2022, arXiv
    2202.09778), whose weights are those of equal steps: weights computed from the grid
    keep their order on every grid.

    Args:
        order: 1 to 4; the first steps are of lower order. Orders 3 and 4 want some ten
            steps: of fewer they extrapolate too far, most of all on "log_snr".
        times: see `Sampler`.
        clip: see `Sampler`.
    """

    order: int = 2
    times: Times = "uniform"
    clip: Clip = None

    highest_order = 4
    combines_noises = True

    def weights(self, rates: Rates) -> np.ndarray:
        """Integrals of the Lagrange basis over each step, divided by its `dsigma`."""
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
    nodes, weights = np.polynomial.legendre.leggauss(points)
    half = 0.5 * (end - start)
    return start + half * (nodes + 1.0), half * weights


def _lagrange(nodes: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
    """The basis polynomials of `nodes` at `points`."""
    return [
        np.prod([(points - other) / (node - other) for other in np.delete(nodes, i)], axis=0)
        * np.ones_like(points)
        for i, node in enumerate(nodes)
    ]
